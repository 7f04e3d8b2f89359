"""What a file holds, told by the plainest code there is: no numpy, no blocks, one row at a time.

The product's reading is held against this. Nothing of the product is used; only the text of the
header is taken apart by `databento_dbn`, as the product does.
"""

from __future__ import annotations

import re
import struct
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import databento_dbn
import zstandard

MOST_UNPACKED = 48 << 20
_LEAST_HEADER = 128
_MOST_METADATA = 16 << 20
_WIDEST_WINDOW = 1 << 27
_MOST_BARS_A_DAY = 7_200
_LARGEST = 2**63 - 1
_EPOCH = date(1970, 1, 1)
_DAY = 86_400 * 10**9
_OUTRIGHT = re.compile("([A-Z0-9]{1,8})[FGHJKMNQUVXZ][0-9]{1,2}")
_CONTINUOUS = re.compile("([A-Z0-9]{1,8})[.][cnv][.][0-9]{1,3}")

_ROOTED = (_OUTRIGHT, _CONTINUOUS, re.compile("([A-Z0-9]{1,8})[.]FUT"))


class Unusable(Exception):  # noqa: N818 a verdict, not a fault
    """The file can't be believed."""


class Row(NamedTuple):
    """A bar as the file has it: `ts` its OPEN in ns, prices in units of 1e-9."""

    ts: int
    open: int
    high: int
    low: int
    close: int
    volume: int


class Contract(NamedTuple):
    """What a bar is of: `name` is `#id` for an instrument of a `continuous` symbol."""

    root: str
    name: str
    continuous: str | None


@dataclass(frozen=True, slots=True)
class PlainFile:
    """The bars of each contract on each date, in file order, and what the header says.

    start, end   [start, end) in ns since the epoch; end None where the header leaves it open
    roots        of the bars, and of what was asked for
    """

    bars: dict[tuple[date, Contract], list[Row]]
    record_count: int
    dataset: str
    stype_in: str
    symbols: tuple[str, ...]
    start: int
    end: int | None
    roots: frozenset[str]


def read(content: bytes) -> PlainFile:
    """The bars of the file whose bytes are `content`.

    Raises:
        Unusable: it can't be believed.
    """
    unpacked = _unpack(content)
    metadata, end = _metadata(unpacked)
    names = _names(metadata)
    records = unpacked[end:]
    if len(records) % 56:
        raise Unusable("half a record")
    bars: defaultdict[tuple[date, Contract], list[Row]] = defaultdict(list)
    seen: Counter[tuple[str, date]] = Counter()
    for length, kind, _, number, ts, *prices, volume in struct.iter_unpack("<BBHIQqqqqQ", records):
        if (length, kind) != (14, 33):
            raise Unusable("another kind of record")
        if not metadata.start <= ts < (metadata.end or 2**64) or ts > _LARGEST:
            raise Unusable("outside the range")
        if ts % (60 * 10**9):
            raise Unusable("off the minute")
        if volume > 10**12:
            raise Unusable("impossible volume")
        day = _EPOCH + timedelta(days=ts // _DAY)
        called = {name for n, first, last, name in names if n == number and first <= day < last}
        if len(called) != 1:
            raise Unusable("no name, or several")
        [name] = called
        if outright := _OUTRIGHT.fullmatch(name):
            contract: Contract | None = Contract(outright[1], name, None)
        elif str(metadata.stype_in) != "continuous":
            contract = None
        elif found := _CONTINUOUS.fullmatch(name):
            contract = Contract(found[1], f"#{number}", name)
        else:
            raise Unusable("no continuous symbol")
        seen[contract.name if contract else name, day] += 1
        if seen[contract.name if contract else name, day] > _MOST_BARS_A_DAY:
            raise Unusable("too many bars")
        if contract is not None:
            bars[day, contract].append(Row(ts, *prices, volume))
    return PlainFile(
        dict(bars),
        len(records) // 56,
        metadata.dataset,
        str(metadata.stype_in),
        tuple(metadata.symbols),
        metadata.start,
        metadata.end,
        frozenset(contract.root for _, contract in bars) | _roots(metadata.symbols),
    )


def broken_rules(row: Row, floor: int) -> set[str]:
    """The rules of a clean bar that `row` breaks by itself; `floor` in units of 1e-9."""
    prices = row[1:5]
    rules = {
        "UNDEFINED_PRICE": _LARGEST in prices,
        "OHLC_INTEGRITY": row.high < max(prices) or row.low > min(prices),
        "NEGATIVE_PRICE": min(prices) < 0,
        "PRICE_LT_1000": min(prices) < floor,
    }
    return {rule for rule, broken in rules.items() if broken}


class Told(NamedTuple):
    """Bars told apart: those that stand, and the others with the rules they break."""

    accepted: list[Row]
    rejected: list[tuple[Row, frozenset[str]]]


def legacy(rows: list[Row]) -> Told:
    """What the legacy table makes of a contract's `rows` of a date; both parts in order of time."""
    return _tell(rows, ignored={"PRICE_LT_1000"}, floor=0)


def clean(rows: list[Row], floor: int) -> Told:
    """What the clean table makes of bars of the legacy table."""
    return _tell(rows, ignored=set(), floor=floor)


def _tell(rows: list[Row], ignored: set[str], floor: int) -> Told:
    told = Told([], [])
    in_order = sorted(rows, key=lambda row: row.ts)
    last = {row.ts: at for at, row in enumerate(in_order) if not broken_rules(row, floor) - ignored}
    for at, row in enumerate(in_order):
        broken = broken_rules(row, floor) - ignored
        if not broken and last[row.ts] != at:
            broken = {"DUPLICATE_MINUTE"}
        if broken:
            told.rejected.append((row, frozenset(broken)))
        else:
            told.accepted.append(row)
    return told


def _unpack(content: bytes) -> bytes:
    if content[1:4] == b"\x2a\x4d\x18" and content[8:11] == b"DBZ":
        raise Unusable("DBZ")
    if content[:4] != b"\x28\xb5\x2f\xfd" and not _skippable(content):
        return content
    unpacked = b""
    frames = 0
    while content:
        if _skippable(content):
            size = 8 + int.from_bytes(content[4:8], "little")
            if len(content) < max(8, size):
                raise Unusable("cut in a skippable frame")
            content = content[size:]
            continue
        piece, content = _frame(content)
        unpacked += piece
        frames += 1
        if len(unpacked) > MOST_UNPACKED:
            raise Unusable("a bomb")
    if not frames:
        raise Unusable("no data")
    return unpacked


def _skippable(content: bytes) -> bool:
    return len(content) >= 4 and content[0] & 0xF0 == 0x50 and content[1:4] == b"\x2a\x4d\x18"


def _frame(content: bytes) -> tuple[bytes, bytes]:
    """What the first frame unpacks to, and what follows it."""
    if content[:4] != b"\x28\xb5\x2f\xfd":
        raise Unusable("not zstd")
    with suppress(zstandard.ZstdError):
        if zstandard.get_frame_parameters(content[:18]).window_size > _WIDEST_WINDOW:
            raise Unusable("a window wider than memory")
    decoder = zstandard.ZstdDecompressor().decompressobj()
    pieces, size, at = [], 0, 0
    try:
        while at < len(content) and not decoder.eof and size <= MOST_UNPACKED:
            pieces.append(decoder.decompress(content[at : at + 256]))
            size += len(pieces[-1])
            at += 256
    except zstandard.ZstdError as error:
        raise Unusable("damaged frame") from error
    if size > MOST_UNPACKED:
        raise Unusable("a bomb")
    if not decoder.eof:
        raise Unusable("half a frame")
    return b"".join(pieces), decoder.unused_data + content[at:]


def _metadata(unpacked: bytes) -> tuple[Any, int]:
    if unpacked[:3] != b"DBN" or len(unpacked) < 8 or unpacked[3] not in {1, 2, 3}:
        raise Unusable("not DBN")
    end = 8 + int.from_bytes(unpacked[4:8], "little")
    if not _LEAST_HEADER <= end <= min(len(unpacked), _MOST_METADATA):
        raise Unusable("half a header")
    try:
        metadata = databento_dbn.Metadata.decode(unpacked[:end])
    except databento_dbn.DBNError as error:
        raise Unusable("damaged header") from error
    texts = [metadata.dataset, *metadata.symbols, *metadata.mappings]
    texts += [i["symbol"] for found in metadata.mappings.values() for i in found]
    if any(not text.isprintable() for text in texts):
        raise Unusable("a name with a character no name has")
    width = 22 if unpacked[3] == 1 else int.from_bytes(unpacked[53:55], "little")
    used = (
        112 + 16 + width * (len(metadata.symbols) + len(metadata.partial) + len(metadata.not_found))
    )
    for found in metadata.mappings.values():
        used += width + 4 + len(found) * (8 + width)
    if not used <= end < used + 8 or any(unpacked[used:end]):
        raise Unusable("more header than there is")
    if str(metadata.schema) != "ohlcv-1m" or metadata.ts_out or not metadata.dataset.strip():
        raise Unusable("another promise")
    if metadata.end is not None and metadata.end <= metadata.start:
        raise Unusable("no range")
    return metadata, end


def _roots(symbols: list[str]) -> frozenset[str]:
    found = (pattern.fullmatch(name) for pattern in _ROOTED for name in symbols)
    return frozenset(match[1] for match in found if match)


def _names(metadata: Any) -> list[tuple[int, date, date, str]]:
    by_id = str(metadata.stype_in) == "instrument_id"
    if (str(metadata.stype_out) == "instrument_id") == by_id:
        raise Unusable("no ids")
    names = []
    for asked, found in metadata.mappings.items():
        for interval in found:
            number, name = (asked, interval["symbol"]) if by_id else (interval["symbol"], asked)
            if not interval["symbol"]:
                continue
            if not (number.isascii() and number.isdecimal()):
                raise Unusable("an id that is no number")
            if name:
                names.append((int(number), interval["start_date"], interval["end_date"], name))
    return names


def moment(ts: int) -> datetime:
    """The instant `ts` (ns since the epoch), which lies on a second."""
    return datetime.fromtimestamp(ts // 10**9, UTC)
