"""The legacy bars: what was delivered of the lead contract, as it was delivered."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import date

import dagster as dg
import pandera.pandas as pa

from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges
from trisignal_pipeline.market.deliveries import merge_deliveries
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.orchestration.ahead import ahead
from trisignal_pipeline.orchestration.assets import raw_dbn_files
from trisignal_pipeline.orchestration.assets.bars_writing import BarsWriting, WritingConfig
from trisignal_pipeline.orchestration.assets.declaration import partitioned_asset, table
from trisignal_pipeline.orchestration.assets.raw_dbn_files import judge_coverage
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.resources import (
    PostgresResource,
    Progress,
    RawFolderResource,
)
from trisignal_pipeline.orchestration.run_scope import symbol_dates
from trisignal_pipeline.schemas import Screened, legacy_bar, rejected_by, screen
from trisignal_pipeline.sources.dbn_file import read_ranges
from trisignal_pipeline.storage import catalogue, registry
from trisignal_pipeline.storage.audit import IngestFile
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.catalogue import CataloguedFile
from trisignal_pipeline.storage.lead_doubts import record_lead_doubts
from trisignal_pipeline.storage.locks import symbol_lock

NAME = "legacy_bars"
CHECK = "legacy_bar_schema"


@partitioned_asset(
    NAME,
    deps=[raw_dbn_files.NAME],
    group="bars",
    kinds={"postgres", "databento"},
    check=check_per_partition(
        NAME, CHECK, f"No bar is rejected: {rejected_by(legacy_bar(HygieneThresholds()))}."
    ),
    metadata=table(
        LEGACY.name,
        ("symbol", "text", "Internal symbol, such as GLBX.MDP3:NQ"),
        ("ts", "timestamptz", "The bar's CLOSE (UTC): one minute after Databento's ts_event"),
        ("ts_ms", "bigint", "The same in milliseconds since the epoch"),
        ("open, high, low, close", "numeric", "Exact, in points"),
        ("volume", "bigint", "Contracts"),
        ("contract", "text", "The lead contract the bar is of, such as NQZ4"),
        ("ingestion_run_id", "bigint", "The audit row that wrote it"),
    ),
)
def legacy_bars(
    context: dg.AssetExecutionContext,
    config: WritingConfig,
    postgres: PostgresResource,
    raw_folder: RawFolderResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """1-minute bars of the lead contract, stamped by the CLOSE, as they were delivered.

    A file bought as NQ.FUT holds every contract month and their spreads. On each UTC date one
    contract stands for the market: the one with the most volume on the date before (roll rule v).
    Its bars are stored under the market's internal symbol. Only bars that are no bars are rejected:
    a missing price, a high below the low. Materialising a date replaces it.
    """
    report = PartitionReport(NAME, CHECK)
    database = postgres.database()
    for scope in symbol_dates(context):
        with symbol_lock(database, scope.symbol) as held:
            market = held.repeat(registry.market, scope.symbol)
            whole = DateRange(scope.dates[0], scope.dates[-1])
            coverage = held.repeat(catalogue.coverage, raw_folder.path(), market, whole)
            known = held.repeat(catalogue.traded, raw_folder.path(), market)
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
                report.pass_over(scope.symbol, day, reason, expected=closed)
            writing = BarsWriting(
                context,
                postgres,
                progress,
                config,
                held,
                market,
                LEGACY,
                legacy_bar(market.hygiene),
                report,
            )
            years = [year for span in contiguous_ranges(covered) for year in by_year(span)]
            deliveries = screened_deliveries(writing.schema, coverage.verified, leads, years)
            with ahead(deliveries) as screened:
                for dates, files, delivery in screened:
                    progress.begin(NAME, scope.symbol, dates)
                    writing.write(dates, delivery, source="dbn_files", files=files)
            held.repeat(report.record, scope.symbol, context.run.run_id)
            held.repeat(record_lead_doubts, raw_folder.path(), market, context.run.run_id)
    yield from report.events(context)


def screened_deliveries(
    schema: pa.DataFrameSchema,
    files: Sequence[CataloguedFile],
    leads: Mapping[date, str],
    ranges: Sequence[DateRange],
) -> Generator[tuple[DateRange, list[IngestFile], Screened]]:
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
