"""What stands before the records of a DBN file: its metadata, checked and in our own words.

Metadata is decoded by `databento_dbn`, the code of those who define it. Its lengths and counts are
held against each other here before: that decoder allocates whatever length a header claims, panics
where one is too short, and passes over what is too long, be it records.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import databento_dbn

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.market.dates import day_number, from_day_number

PRELUDE_BYTES = 8
"""`DBN`, the version, and the length of the metadata that follows (little endian)."""

KNOWN_VERSIONS = range(1, 4)

MAX_METADATA_BYTES = 16 * 1024 * 1024
"""The metadata of every future of CME takes some 2 MB; a length beyond this is a damaged one."""

_LARGEST_INT64 = 2**63 - 1

_NAME_BYTES_OF_VERSION_1 = 22
_NAME_BYTES_AT = 45
_COUNTS_AT = 104
_PADDING = 8


@dataclass(frozen=True, slots=True)
class InstrumentNames:
    """The symbol of each instrument id by date: an id alone names nothing, since ids are re-used.

    by_id   id -> (first day, day after the last, symbol); days since 1970-01-01
    """

    by_id: Mapping[int, tuple[tuple[int, int, str], ...]]
    _spells: dict[int, _Spells] = field(default_factory=dict, init=False, repr=False, compare=False)

    def name(self, instrument_id: int, day: int) -> str | None:
        """The symbol of `instrument_id` on `day` (days since 1970-01-01); None if it has none.

        Raises:
            RefusedFileError: the file gives it two.
        """
        if instrument_id not in self._spells:
            self._spells[instrument_id] = _Spells.of(self.by_id.get(instrument_id, ()))
        names = self._spells[instrument_id].names(day)
        if len(names) > 1:
            raise RefusedFileError(
                f"its symbol mapping calls instrument {instrument_id} on {from_day_number(day)} "
                f"both {names[0]} and {names[1]}; download the two symbols in files of their own"
            )
        return names[0] if names else None

    def by_name(self) -> dict[str, list[tuple[int, int, int]]]:
        """symbol -> (id, first day, day after the last); days since 1970-01-01."""
        intervals: dict[str, list[tuple[int, int, int]]] = {}
        for instrument_id, days in self.by_id.items():
            for first, end, name in days:
                intervals.setdefault(name, []).append((instrument_id, first, end))
        return intervals


@dataclass(frozen=True, slots=True)
class _Spells:
    """What one instrument is called from each of some days on, until the next.

    Told once for all days, since a damaged header may list thousands of intervals that overlap.
    """

    starts: list[int]
    called: list[tuple[str, ...]]

    @classmethod
    def of(cls, intervals: Iterable[tuple[int, int, str]]) -> _Spells:
        """From (first day, day after the last, symbol); of several symbols at once, two."""
        changes = sorted(
            change
            for first, end, name in intervals
            if first < end
            for change in ((first, 1, name), (end, -1, name))
        )
        spells = cls([], [])
        current: dict[str, int] = {}
        for day, change, name in changes:
            current[name] = current.get(name, 0) + change
            if not current[name]:
                del current[name]
            if not spells.starts or spells.starts[-1] != day:
                spells.starts.append(day)
                spells.called.append(())
            spells.called[-1] = tuple(sorted(islice(current, 2)))
        return spells

    def names(self, day: int) -> tuple[str, ...]:
        """None, one, or two of them."""
        at = bisect_right(self.starts, day)
        return self.called[at - 1] if at else ()


@dataclass(frozen=True, slots=True)
class DbnHeader:
    """The metadata of a DBN file.

    schema      None for a live recording of several schemas
    stype_in    what the symbols were asked for as: parent, continuous, raw_symbol, ...
    start_ns, end_ns   what the file was asked to hold: [start, end), nanoseconds since the epoch,
                UTC; end_ns None where the header leaves it open
    symbols     as they were asked for
    ts_out      whether each record carries a send timestamp as well
    """

    version: int
    dataset: str
    schema: str | None
    stype_in: str | None
    stype_out: str
    start_ns: int
    end_ns: int | None
    symbols: tuple[str, ...]
    ts_out: bool
    mappings: Mapping[str, list[Any]] = field(repr=False)

    def names(self) -> InstrumentNames:
        """The symbol of each instrument id, whichever way round the file maps them.

        Raises:
            RefusedFileError: the file doesn't map instrument ids to symbols.
        """
        by_id: dict[int, list[tuple[int, int, str]]] = {}
        asked_by_id = self.stype_in == "instrument_id"
        if (self.stype_out == "instrument_id") == asked_by_id:
            raise RefusedFileError(
                f"it maps {self.stype_in or 'nothing'} to {self.stype_out}, so its instrument ids "
                "have no symbols; download it with stype_out=instrument_id"
            )
        for asked, intervals in self.mappings.items():
            for interval in intervals:
                number, name = asked, interval["symbol"]
                if not asked_by_id:
                    number, name = name, number
                if not interval["symbol"]:  # a gap: the symbol was nothing at that time
                    continue
                if not (number.isascii() and number.isdecimal()):
                    raise RefusedFileError(
                        f"its symbol mapping gives {name} the instrument id {number!r}, which is "
                        "not a number; download the file again"
                    )
                if name:
                    days = day_number(interval["start_date"]), day_number(interval["end_date"])
                    by_id.setdefault(int(number), []).append((*days, name))
        return InstrumentNames({number: tuple(days) for number, days in by_id.items()})

    def mapped_symbols(self) -> Iterable[str]:
        """Every symbol of the mapping, on either side of it."""
        for asked, intervals in self.mappings.items():
            yield asked
            yield from (interval["symbol"] for interval in intervals)


def metadata_length(prelude: bytes) -> int:
    """How many bytes of metadata follow the `PRELUDE_BYTES` at the start of a file.

    Raises:
        RefusedFileError: the file isn't DBN, or claims a length that can't be.
    """
    if prelude[:3] != b"DBN":
        raise RefusedFileError(describe_foreign_content(prelude))
    if len(prelude) < PRELUDE_BYTES:
        raise RefusedFileError("it is cut short within its header; download it again")
    if prelude[3] not in KNOWN_VERSIONS:
        raise RefusedFileError(
            f"it is DBN version {prelude[3]}; versions {KNOWN_VERSIONS[0]} to "
            f"{KNOWN_VERSIONS[-1]} can be read"
        )
    length = int.from_bytes(prelude[4:8], "little")
    if length > MAX_METADATA_BYTES:
        raise RefusedFileError(
            f"its header claims {length:,} bytes of metadata, which no file has; it is damaged, "
            "download it again"
        )
    return length


def decode_header(prelude: bytes, metadata: bytes) -> DbnHeader:
    """The header made of its first `PRELUDE_BYTES` and the metadata that follows them.

    Raises:
        RefusedFileError: it can't be decoded.
    """
    _require_exact(prelude[3], metadata)
    try:
        decoded = databento_dbn.Metadata.decode(prelude + metadata)
        end = decoded.end
        header = DbnHeader(
            version=prelude[3],
            dataset=decoded.dataset,
            schema=None if decoded.schema is None else str(decoded.schema),
            stype_in=None if decoded.stype_in is None else str(decoded.stype_in),
            stype_out=str(decoded.stype_out),
            start_ns=min(decoded.start, _LARGEST_INT64),
            end_ns=None if end is None or end > _LARGEST_INT64 else end,
            symbols=tuple(decoded.symbols),
            ts_out=decoded.ts_out,
            mappings=decoded.mappings,
        )
    except (databento_dbn.DBNError, ValueError, OverflowError) as error:
        raise RefusedFileError(
            f"its header is damaged ({' '.join(str(error).split())}); download it again"
        ) from error
    for text in (header.dataset, *header.symbols, *header.mapped_symbols()):
        if not text.isprintable():
            raise RefusedFileError(
                f"its header is damaged: {text[:40]!r} is no name; download it again"
            )
    return header


def _require_exact(version: int, metadata: bytes) -> None:
    """Raise `RefusedFileError` unless what `metadata` lists takes exactly the bytes it has.

    The layout is that of DBN: names of a fixed width in three lists, then each symbol's intervals.
    """
    try:
        width = _NAME_BYTES_OF_VERSION_1
        if version > 1:
            (width,) = struct.unpack_from("<H", metadata, _NAME_BYTES_AT)
        at = _COUNTS_AT
        for _ in ("symbols", "partial", "not found"):
            at += 4 + struct.unpack_from("<I", metadata, at)[0] * width
        (symbols,) = struct.unpack_from("<I", metadata, at)
        at += 4
        for _ in range(symbols):
            at += width
            at += 4 + struct.unpack_from("<I", metadata, at)[0] * (8 + width)
    except struct.error:
        at = len(metadata) + 1
    if not at <= len(metadata) < at + _PADDING or any(metadata[at:]):
        raise RefusedFileError(
            f"its header is damaged: what it lists doesn't fill its {len(metadata):,} bytes of "
            "metadata, or takes more; download it again"
        )


def describe_foreign_content(start: bytes) -> str:
    """What a file that isn't DBN seems to be, from its first bytes (decompressed, if it was)."""
    if not start:
        return "it is empty: a download that failed or hasn't begun; download it again"
    for magic, what in _FOREIGN:
        if start.startswith(magic):
            return f"it is {what}, not DBN; download it with encoding dbn"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start):
        return "it is text (CSV or JSON), not DBN; download it with encoding dbn"
    if len(start) >= 2 and start[1] in _RECORD_TYPES and start[0] * 4 >= _SHORTEST_RECORD:
        return (
            f"it has no DBN header and starts with a record (rtype {start[1]}): it is a fragment, "
            "and instrument ids mean nothing without the header's symbol mapping; download the "
            "whole file"
        )
    return "it is not DBN: it starts with none of the signatures of that format"


_FOREIGN = (
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\xef\xbb\xbf", "text"),
)

_SHORTEST_RECORD = 16
_RECORD_TYPES = frozenset(
    [0x00, 0x01, 0x0A, *range(0x11, 0x19), *range(0x20, 0x25), 0xA0, 0xB1, *range(0xC0, 0xC5)]
)
