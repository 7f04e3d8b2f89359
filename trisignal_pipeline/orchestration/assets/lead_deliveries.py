"""The lead contract's bars out of a folder of verified files.

Legacy bars are made of those of the raw folder, clean bars of the API of those that were bought for
them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType

import pandera.pandas as pa

from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges
from trisignal_pipeline.market.deliveries import merge_deliveries
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.assets.buying import NotSold
from trisignal_pipeline.orchestration.assets.raw_dbn_files import judge_coverage
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.run_scope import SymbolDates
from trisignal_pipeline.screening import Screened, screen
from trisignal_pipeline.sources.dbn_file import read_ranges
from trisignal_pipeline.storage import catalogue
from trisignal_pipeline.storage.audit import IngestFile
from trisignal_pipeline.storage.catalogue import CataloguedFile
from trisignal_pipeline.storage.locks import HeldSymbol

Delivery = tuple[DateRange, Sequence[IngestFile], Screened]
"""Dates, the files that serve them in the order the bars' origin counts by, and their bars."""


def lead_deliveries(
    held: HeldSymbol,
    folder: Path,
    market: Market,
    scope: SymbolDates,
    schema: pa.DataFrameSchema,
    report: PartitionReport,
    not_sold: NotSold = MappingProxyType({}),
) -> Generator[Delivery]:
    """The lead contract's bars of the dates that files of `folder` cover, a year at a time.

    The other dates are passed over; `not_sold` says why of those that can't be bought.
    """
    whole = DateRange(scope.dates[0], scope.dates[-1])
    coverage = held.repeat(catalogue.coverage, folder, market, whole)
    known = held.repeat(catalogue.traded, folder, market)
    leads = lead_contracts(known, market.roll_rule, market.rank)
    minutes = expected_minutes(market.session_profile, whole.start, whole.end)
    covered = []
    traded_on = {traded.date for traded in known}
    for day in scope.dates:
        if coverage.files(day):
            if day in leads or day not in traded_on:
                covered.append(day)
            else:
                # Writing nothing would delete what is stored.
                reason = (
                    f"no contract stands for the market: fewer than {market.rank + 1} "
                    f"traded (roll rule {market.roll_rule}, rank {market.rank})"
                )
                report.pass_over(scope.symbol, day, reason, expected=False)
            continue
        closed = not minutes[(day - whole.start).days]
        _, reason = judge_coverage(coverage, day, closed=closed)
        reason = not_sold.get((scope.symbol, day), reason)
        report.pass_over(scope.symbol, day, reason, expected=closed)
    years = [year for span in contiguous_ranges(covered) for year in by_year(span)]
    return _screened(schema, coverage.verified, leads, years)


def _screened(
    schema: pa.DataFrameSchema,
    files: Sequence[CataloguedFile],
    leads: Mapping[date, str],
    ranges: Sequence[DateRange],
) -> Generator[Delivery]:
    """The lead contract's bars of each of `ranges`, which files they come from, told apart.

    `files` are in the order in which later ones overrule earlier. Each is read once.
    """
    readers = {
        file.id: read_ranges(file, leads, [dates for dates in ranges if _serves(file, dates)])
        for file in files
    }
    for dates in ranges:
        serving = [file for file in files if _serves(file, dates)]
        delivered = merge_deliveries([next(readers[file.id]) for file in serving])
        sources = [IngestFile(file.path.name, file.sha256, file.promised) for file in serving]
        yield dates, sources, screen(schema, delivered)


def _serves(file: CataloguedFile, dates: DateRange) -> bool:
    return file.promised is not None and file.promised.overlaps(dates)
