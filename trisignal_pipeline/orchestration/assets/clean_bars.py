"""The clean bars: legacy bars that hold against the strict rules, stamped by the open."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Generator, Iterator, Sequence

import dagster as dg
import pandera.pandas as pa

from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges
from trisignal_pipeline.market.deliveries import Delivered
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.orchestration.ahead import ahead
from trisignal_pipeline.orchestration.assets import legacy_bars
from trisignal_pipeline.orchestration.assets.bars_writing import BarsWriting, WritingConfig
from trisignal_pipeline.orchestration.assets.declaration import partitioned_asset, table
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.resources import PostgresResource, Progress
from trisignal_pipeline.orchestration.run_scope import symbol_dates
from trisignal_pipeline.schemas import Screened, clean_bar, rejected_by, screen
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, read_bars
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.lasting_connection import LastingConnection
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.verdicts import broken_dates

NAME = "clean_bars"
CHECK = "clean_bar_schema"


@partitioned_asset(
    NAME,
    deps=[legacy_bars.NAME],
    group="bars",
    kinds={"postgres"},
    check=check_per_partition(
        NAME, CHECK, f"No bar is rejected: {rejected_by(clean_bar(HygieneThresholds()))}."
    ),
    metadata=table(
        CLEAN.name,
        ("symbol", "text", "Internal symbol, such as GLBX.MDP3:NQ"),
        ("ts", "timestamptz", "The bar's OPEN (UTC), as a chart shows it"),
        ("open, high, low, close", "numeric", "Exact, in points"),
        ("volume", "bigint", "Contracts"),
        ("contract", "text", "The contract the bar is of"),
        ("source", "text", "What it was made from: legacy, databento_api or adopted"),
    ),
)
def clean_bars(
    context: dg.AssetExecutionContext,
    config: WritingConfig,
    postgres: PostgresResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """1-minute bars that can be believed, stamped by the OPEN. Signals are computed from these.

    The date's legacy bars are held against the strict rules; those that break one stay out and are
    counted under its name. Materialising a date replaces it. A date without finished legacy bars,
    or with broken ones, is passed over.
    """
    report = PartitionReport(NAME, CHECK)
    database = postgres.database()
    for scope in symbol_dates(context):
        with symbol_lock(database, scope.symbol) as held:
            whole = DateRange(scope.dates[0], scope.dates[-1])
            market = held.repeat(registry.market, scope.symbol)
            there = held.repeat(complete_dates, scope.symbol, LEGACY.layer, whole)
            broken = held.repeat(broken_dates, scope.symbol, legacy_bars.NAME, whole)
            minutes = expected_minutes(market.session_profile, whole.start, whole.end)
            usable = []
            for day in scope.dates:
                closed = not minutes[(day - whole.start).days]
                if day in broken:
                    reason = f"its legacy bars are broken ({broken[day]})"
                    report.pass_over(scope.symbol, day, reason, expected=False)
                elif day in there:
                    usable.append(day)
                else:
                    reason = (
                        "the market was closed all day"
                        if closed
                        else "no legacy bars, or their writing did not come to its end; "
                        "materialise legacy_bars first"
                    )
                    report.pass_over(scope.symbol, day, reason, expected=closed)
            writing = BarsWriting(
                context,
                postgres,
                progress,
                config,
                held,
                market,
                CLEAN,
                clean_bar(market.hygiene),
                report,
            )
            years = [year for span in contiguous_ranges(usable) for year in by_year(span)]
            with ahead(screened_legacy(writing.schema, database, scope.symbol, years)) as screened:
                for dates, bars in screened:
                    progress.begin(NAME, scope.symbol, dates)
                    writing.write(dates, bars, source="legacy")
            held.repeat(report.record, scope.symbol, context.run.run_id)
    yield from report.events(context)


def screened_legacy(
    schema: pa.DataFrameSchema, database: Database, symbol: str, ranges: Sequence[DateRange]
) -> Generator[tuple[DateRange, Screened]]:
    """The stored legacy bars of each of `ranges`, told apart; read on a connection of their own."""
    reading = LastingConnection(database, "legacy bars reader")
    try:
        for dates in ranges:
            bars = reading.repeat(read_bars, LEGACY, symbol, dates.start_ns, dates.end_ns)
            yield dates, screen(schema, Delivered.of_one(bars))
    finally:
        reading.close()
