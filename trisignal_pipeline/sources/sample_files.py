"""The sample market as a folder of DBN files, such as a vendor's download leaves behind."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Literal

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.sources.dbn_writer import Description, write_dbn
from trisignal_pipeline.sources.records import Records
from trisignal_pipeline.sources.sample_market import (
    SampleRoot,
    sample_records,
    sample_root,
    symbol_mapping,
)

DATASET = "GLBX.MDP3"

SAMPLE_WEEK = DateRange(date(2024, 6, 16), date(2024, 6, 21))
"""Sunday to Friday: a roll on the Tuesday, the Juneteenth halt on the Wednesday, an expiry."""

FilesPer = Literal["month", "year", "history"]


def write_sample_market(folder: Path, *, seed: int = 1) -> list[Path]:
    """A week of NQ and ES: three files, one for each DBN version.

    NQ is cut at midnight UTC in the middle of a session, as the vendor cuts files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    middle = date(2024, 6, 18)
    first_half = DateRange(SAMPLE_WEEK.start, middle)
    second_half = DateRange(date(2024, 6, 19), SAMPLE_WEEK.end)
    nq, es = sample_root("NQ"), sample_root("ES")
    (_, nq_week), (_, es_week) = (
        next(sample_records(root, SAMPLE_WEEK, seed)) for root in (nq, es)
    )
    ts: Int64s = nq_week["ts"]
    earlier = ts < first_half.end_ns
    return [
        _write(folder, nq, first_half, iter([nq_week[earlier]]), version=3),
        _write(folder, nq, second_half, iter([nq_week[~earlier]]), version=2),
        _write(folder, es, SAMPLE_WEEK, iter([es_week]), version=1),
    ]


def write_history(
    folder: Path,
    root: str,
    first: date,
    last: date,
    *,
    seed: int = 1,
    files: FilesPer = "month",
) -> list[Path]:
    """Bars of `root` on the UTC dates from `first` to `last`, both included, for tests of size.

    `files` says how the history is cut; the market in it is the same. Memory holds a month.

    Raises:
        SymbolError: the sample market doesn't trade `root`.
        RangeError: `last` comes before `first`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    market, dates = sample_root(root), DateRange(first, last)
    months = sample_records(market, dates, seed)
    return [
        _write(folder, market, held, (records for _, records in group), version=3)
        for held, group in groupby(months, lambda month: _file_dates(month[0], dates, files))
    ]


def _file_dates(day: date, dates: DateRange, files: FilesPer) -> DateRange:
    """The dates of the file that holds `day`."""
    if files == "history":
        return dates
    if files == "year":
        start, end = date(day.year, 1, 1), date(day.year, 12, 31)
    else:
        start, end = day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
    return DateRange(max(start, dates.start), min(end, dates.end))


def _write(
    folder: Path, root: SampleRoot, dates: DateRange, blocks: Iterator[Records], *, version: int
) -> Path:
    parent = f"{root.root}.FUT"
    name = f"{parent.lower().replace('.', '-')}-{dates.start:%Y%m%d}-{dates.end:%Y%m%d}"
    description = Description(
        dataset=DATASET,
        stype_in="parent",
        symbols=[parent],
        start_ns=dates.start_ns,
        end_ns=dates.end_ns,
        mapping=symbol_mapping(root, dates),
        version=version,
    )
    return write_dbn(folder / f"{name}.ohlcv-1m.dbn.zst", description, blocks)
