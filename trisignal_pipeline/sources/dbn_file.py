"""A DBN file of 1-minute bars: verified once, then read by contract and date.

A file is inspected before anything of it is believed. It is verified if it is whole, holds what
its header says and nothing else, and every record can be named; otherwise it is refused, with the
reason. Reading then trusts the verdict, so long as the file is the one that was inspected.

What can't be seen from inside: an uncompressed file that was cut exactly between two records, or
one of several zstd frames between two of them.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.market.bars import Bars, Int32s, Int64s, concatenate
from trisignal_pipeline.market.contracts import root_of
from trisignal_pipeline.market.dates import DateRange, contiguous_ranges, day_number, iso_minute
from trisignal_pipeline.sources.contract_days import ContractDay, ContractDays
from trisignal_pipeline.sources.dbn_header import DbnHeader
from trisignal_pipeline.sources.file_content import (
    FileContent,
    opened,
    require_unchanged,
    signature,
)
from trisignal_pipeline.sources.records import SCHEMA, DbnStream, Records, is_zstd


@dataclass(frozen=True, slots=True)
class DbnFile:
    """A verified file.

    path, size, mtime_ns   as it was when inspected; sha256 of its bytes as they lie on disk
    start_ns, end_ns       the range it was asked to hold: [start, end), nanoseconds since the
                           epoch, UTC; end_ns None where the header leaves it open
    first_ns, last_ns      open of its first and its last bar; None without records
    in_time_order          no bar opens before the one that precedes it in the file
    stype_in, symbols      what was asked for, and in which symbology; None for a live recording
    days                   outrights and continuous symbols' instruments by date; no spreads
    is_closed              whether its form shows that nothing is missing at its end
    folder                 the raw folder it lies below, out of which it must not lead
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str
    dataset: str
    schema: str
    stype_in: str | None
    dbn_version: int
    start_ns: int
    end_ns: int | None
    first_ns: int | None
    last_ns: int | None
    in_time_order: bool
    record_count: int
    symbols: tuple[str, ...]
    days: tuple[ContractDay, ...]
    is_closed: bool = True
    folder: Path | None = None

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots it has bars of, in order of the alphabet."""
        return tuple(sorted({day.root for day in self.days}))


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that can't be used, and what could be learned of it all the same.

    reason      one line: what it is or what is wrong with it, and what to do
    dataset, schema, stype_in, dbn_version, start_ns, end_ns, symbols, roots
                of its header; None or empty where the header can't be read
    name_dates  the dates in its file name, where the header can't be read: what it may have held
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str | None
    reason: str
    dataset: str | None = None
    schema: str | None = None
    stype_in: str | None = None
    dbn_version: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    symbols: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    name_dates: DateRange | None = None


class InspectedFile(Protocol):
    """A file as the catalogue knows it."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it had when it was inspected."""
        ...

    @property
    def mtime_ns(self) -> int:
        """When it had last been written, nanoseconds since the epoch."""
        ...

    @property
    def folder(self) -> Path | None:
        """The raw folder, out of which it must not lead; None for a file that is in none."""
        ...

    @property
    def in_time_order(self) -> bool:
        """Whether no bar opens before the one that precedes it."""
        ...


def inspect(path: Path, folder: Path | None = None) -> DbnFile | RefusedFile:
    """Verify the file at `path`, in one pass and bounded memory.

    Whatever its content, the answer is a verdict, not an exception.

    Raises:
        RefusedFileError: it leads out of `folder`: it was not looked into.
        FileChangedError: it was written to or replaced meanwhile: no verdict would hold.
        MissingFileError: it is gone.
        ConfigurationError: it can't be read by this user.
    """
    with opened(path, folder) as (handle, found):
        content = FileContent(handle)
        header: DbnHeader | None = None
        contracts: ContractDays | None = None
        reason: str | None = None
        try:
            stream = content.stream()
            header = stream.header
            _check_header(header)
            contracts = ContractDays(header)
            for block in stream.blocks():
                contracts.add(block)
        except RefusedFileError as refusal:
            reason = str(refusal)
        sha256 = content.finish()
        # Content that comes out of a broken container proves nothing, so its fault goes first.
        if fault := content.fault():
            reason = f"{fault}; download it again"
        require_unchanged(path, found.st_size, found.st_mtime_ns)
        size, mtime_ns = found.st_size, found.st_mtime_ns
    if reason is not None or header is None or contracts is None:
        return _refused(path, size, mtime_ns, sha256, reason or "it can't be read", header)
    return DbnFile(
        path=path,
        size=size,
        mtime_ns=mtime_ns,
        sha256=sha256,
        dataset=header.dataset,
        schema=SCHEMA,
        stype_in=header.stype_in,
        dbn_version=header.version,
        start_ns=header.start_ns,
        end_ns=header.end_ns,
        first_ns=contracts.first_ns,
        last_ns=contracts.last_ns,
        in_time_order=contracts.in_time_order,
        record_count=contracts.record_count,
        symbols=header.symbols,
        days=contracts.days(),
        is_closed=content.is_closed,
        folder=folder,
    )


def refuse(file: DbnFile | RefusedFile, reason: str) -> RefusedFile:
    """`file`, refused for `reason`, with what was learned of it."""
    if isinstance(file, RefusedFile):
        return replace(file, reason=reason)
    return RefusedFile(
        file.path,
        file.size,
        file.mtime_ns,
        file.sha256,
        reason,
        dataset=file.dataset,
        schema=file.schema,
        stype_in=file.stype_in,
        dbn_version=file.dbn_version,
        start_ns=file.start_ns,
        end_ns=file.end_ns,
        symbols=file.symbols,
        roots=file.roots,
    )


def refuse_unread(path: Path, size: int, mtime_ns: int, reason: str) -> RefusedFile:
    """A file that was not looked into: only its name tells what it may hold."""
    return RefusedFile(path, size, mtime_ns, None, reason, name_dates=dates_in_name(path.name))


def read_bars(
    file: InspectedFile, wanted: Mapping[date, str], start_ns: int, end_ns: int
) -> Generator[Bars]:
    """The bars of one contract a date that open in [start_ns, end_ns), block by block.

    `wanted` names the contract of each UTC date: a raw symbol, or `#instrument_id` for a file of a
    continuous symbol. Bars come in file order as they were delivered: neither sorted, nor
    deduplicated, nor validated; prices may be `UNDEFINED_PRICE`. Memory holds one block. A file in
    order of time is read no further than it has to be.

    Whether the file is still the one that was inspected is checked before the first block and
    after the last: bars of an iteration that raises must not be kept.

    Raises:
        FileChangedError: its size or time of writing differ from what the catalogue knows.
        MissingFileError: it is gone.
        RefusedFileError: it can't be decoded, though it seems unchanged; or it leads out of the
            raw folder.
        ConfigurationError: it can't be read by this user.
    """
    with opened(file.path, file.folder) as (handle, _):
        require_unchanged(file.path, file.size, file.mtime_ns)
        contracts = tuple(dict.fromkeys(wanted.values()))
        try:
            compressed = is_zstd(signature(handle))
            stream = DbnStream(handle, compressed=compressed)
            spans = _spans(stream.header, wanted, contracts, start_ns, end_ns)
            for block in stream.blocks():
                if file.in_time_order and block["ts"][0] >= end_ns:
                    break
                if len(bars := _select(block, spans, contracts)):
                    yield bars
        except RefusedFileError as refusal:
            raise RefusedFileError(
                f"{file.path}: {refusal}. It was verified before: its bytes changed while its size "
                "and time didn't, or the disk is failing; catalogue it again"
            ) from refusal
        require_unchanged(file.path, file.size, file.mtime_ns)


def read_ranges(
    file: InspectedFile, wanted: Mapping[date, str], ranges: Sequence[DateRange]
) -> Iterator[Bars]:
    """The bars of each of `ranges` in turn, which are ascending and apart; see `read_bars`.

    A file in order of time is read once, and memory holds the bars of one range; any other is read
    once for each range. That the file is unchanged is checked again before each range is handed on.

    Raises: what `read_bars` raises.
    """
    of_range = [{day: wanted[day] for day in dates if day in wanted} for dates in ranges]
    if not file.in_time_order:
        for dates, of_dates in zip(ranges, of_range, strict=True):
            yield concatenate(read_bars(file, of_dates, dates.start_ns, dates.end_ns))
        return
    of_all = {day: contract for of_dates in of_range for day, contract in of_dates.items()}
    blocks = read_bars(file, of_all, ranges[0].start_ns, ranges[-1].end_ns)
    ahead = Bars.empty()
    for dates in ranges:
        parts = [ahead]
        while not len(ahead) or ahead.ts[-1] < dates.end_ns:
            if (block := next(blocks, None)) is None:
                break
            parts.append(ahead := block)
        bars = concatenate(parts)
        if (np.diff(bars.ts) < 0).any():
            raise RefusedFileError(
                f"{file.path}: its bars are not in the order of time that they were verified to be "
                "in: its bytes changed while its size and time didn't; catalogue it again"
            )
        after = int(np.searchsorted(bars.ts, dates.end_ns))
        ahead = bars.take(slice(after, None))
        if dates == ranges[-1]:
            blocks.close()  # a year of daily files is more than a process may have open
        require_unchanged(file.path, file.size, file.mtime_ns)
        yield bars.take(slice(after))


def dates_in_name(name: str) -> DateRange | None:
    """The range a file name claims: `20241101-20241130`, `2024-11-01`, or either form once.

    The end is included, as in the names of the vendor's batch files. None without a date.
    """
    days = []
    for year, month, day in _NAME_DATE.findall(name):
        try:
            days.append(date(int(year), int(month), int(day)))
        except ValueError:
            continue
    return DateRange(min(days), max(days)) if days else None


_NAME_DATE = re.compile(
    r"(?<![0-9])((?:19|20)[0-9]{2})-?(0[1-9]|1[0-2])-?([0-2][0-9]|3[01])(?![0-9])"
)


@dataclass(frozen=True, slots=True)
class _Span:
    """Bars of one instrument that open in [start_ns, end_ns) are bars of one wanted contract."""

    instrument_id: int
    start_ns: int
    end_ns: int
    contract: int


def _spans(
    header: DbnHeader,
    wanted: Mapping[date, str],
    contracts: tuple[str, ...],
    start_ns: int,
    end_ns: int,
) -> list[_Span]:
    """Where in (instrument, time) the wanted bars lie; runs of dates made one span."""
    intervals = header.names().by_name()
    dates: dict[tuple[int, int], list[date]] = {}
    for day, contract in wanted.items():
        if contract.startswith("#"):
            ids = [int(contract[1:])] if header.stype_in == "continuous" else []
        else:
            number = day_number(day)
            ids = [i for i, first, end in intervals.get(contract, ()) if first <= number < end]
        for instrument_id in ids:
            dates.setdefault((instrument_id, contracts.index(contract)), []).append(day)
    spans = [
        _Span(instrument_id, max(run.start_ns, start_ns), min(run.end_ns, end_ns), code)
        for (instrument_id, code), days in dates.items()
        for run in contiguous_ranges(days)
    ]
    return [span for span in spans if span.start_ns < span.end_ns]


def _select(block: Records, spans: Iterable[_Span], contracts: tuple[str, ...]) -> Bars:
    ts: Int64s = np.ascontiguousarray(block["ts"], np.int64)
    first_ns, last_ns = int(ts.min()), int(ts.max())
    ids = np.ascontiguousarray(block["instrument_id"])
    code: Int32s = np.full(len(block), -1, np.int32)
    for span in spans:
        if span.start_ns > last_ns or span.end_ns <= first_ns:
            continue
        inside = ids == span.instrument_id
        if span.start_ns > first_ns:
            inside &= ts >= span.start_ns
        if span.end_ns <= last_ns:
            inside &= ts < span.end_ns
        code[inside] = span.contract
    rows = np.flatnonzero(code >= 0)
    chosen = block[rows]
    return Bars(
        ts[rows],
        chosen["open"].astype(np.int64),
        chosen["high"].astype(np.int64),
        chosen["low"].astype(np.int64),
        chosen["close"].astype(np.int64),
        chosen["volume"].astype(np.int64),
        code[rows],
        contracts,
    )


def _check_header(header: DbnHeader) -> None:
    """Refuse what can't hold 1-minute bars of futures."""
    if header.schema != SCHEMA:
        held = "several schemas or a live recording" if header.schema is None else header.schema
        raise RefusedFileError(
            f"it holds {held}, not {SCHEMA}; download the same range with schema={SCHEMA}"
        )
    if header.ts_out:
        raise RefusedFileError(
            "its records carry send timestamps (ts_out), as live recordings do; download the same "
            "range from the historical service"
        )
    if not header.dataset.strip():
        raise RefusedFileError("its header names no dataset; download it again")
    if header.end_ns is not None and header.end_ns <= header.start_ns:
        raise RefusedFileError(
            f"its header's range is empty: it ends {iso_minute(header.end_ns)} and starts "
            f"{iso_minute(header.start_ns)}; download it again"
        )


def _refused(
    path: Path, size: int, mtime_ns: int, sha256: str, reason: str, header: DbnHeader | None
) -> RefusedFile:
    if header is None:
        return replace(refuse_unread(path, size, mtime_ns, reason), sha256=sha256)
    roots = {root_of(symbol) for symbol in (*header.symbols, *header.mapped_symbols())}
    return RefusedFile(
        path,
        size,
        mtime_ns,
        sha256,
        reason,
        dataset=header.dataset or None,
        schema=header.schema,
        stype_in=header.stype_in,
        dbn_version=header.version,
        start_ns=header.start_ns,
        end_ns=header.end_ns,
        symbols=header.symbols,
        roots=tuple(sorted(root for root in roots if root is not None)),
    )
