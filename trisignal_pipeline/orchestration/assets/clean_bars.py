"""The clean bars: bars that hold against the strict rules, stamped by the open."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum
from functools import partial

import dagster as dg
import pandera.pandas as pa
from pydantic import Field

from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges
from trisignal_pipeline.market.deliveries import Delivered
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration import legacy_agreement, session_completeness
from trisignal_pipeline.orchestration.ahead import ahead
from trisignal_pipeline.orchestration.assets import legacy_bars
from trisignal_pipeline.orchestration.assets.bars_writing import BarsWriting, WritingConfig
from trisignal_pipeline.orchestration.assets.buying import BuyingConfig, buy_missing
from trisignal_pipeline.orchestration.assets.declaration import partitioned_asset, table
from trisignal_pipeline.orchestration.assets.lead_deliveries import Delivery, lead_deliveries
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.resources import (
    PostgresResource,
    Progress,
    PurchasesResource,
)
from trisignal_pipeline.orchestration.run_scope import SymbolDates, symbol_dates
from trisignal_pipeline.schemas import bar_on_its_ticks, clean_bar, flagged_by, rejected_by
from trisignal_pipeline.screening import screen
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bar_dates import complete_dates, dates_from, versions
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, read_bars
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.lasting_connection import LastingConnection
from trisignal_pipeline.storage.locks import HeldSymbol, symbol_lock
from trisignal_pipeline.storage.purchases import SOURCE
from trisignal_pipeline.storage.verdicts import broken_dates

NAME = "clean_bars"
CHECK = "clean_bar_schema"


class CleanSource(StrEnum):
    """What clean bars are made from. The members are named as run config writes them."""

    legacy = "legacy"
    databento_api = SOURCE


class CleanBarsConfig(WritingConfig, BuyingConfig):
    """What clean bars are made from, and how they are written."""

    source: CleanSource = Field(
        default=CleanSource.legacy,
        description=(
            "legacy: the date's legacy bars. databento_api: bars of the API, which are bought if "
            "they aren't there and cost money; legacy bars are neither read nor changed."
        ),
    )
    replace_api_dates: bool = Field(
        default=False,
        description=(
            "Let bars made from legacy ones take the place of those of the API. Otherwise dates "
            "that came from the API are passed over."
        ),
    )


@partitioned_asset(
    NAME,
    deps=[legacy_bars.NAME],
    group="bars",
    kinds={"postgres"},
    checks=[
        check_per_partition(
            NAME,
            CHECK,
            f"No bar is rejected: {rejected_by(clean_bar(HygieneThresholds()))}. None is flagged: "
            f"{flagged_by(bar_on_its_ticks(None))}.",
        ),
        check_per_partition(NAME, session_completeness.CHECK, session_completeness.DESCRIPTION),
        check_per_partition(NAME, legacy_agreement.CHECK, legacy_agreement.DESCRIPTION),
    ],
    metadata=table(
        CLEAN.name,
        ("symbol", "text", "Internal symbol, such as GLBX.MDP3:NQ"),
        ("ts", "timestamptz", "The bar's OPEN (UTC), as a chart shows it"),
        ("open, high, low, close", "numeric", "Exact, in points"),
        ("volume", "bigint", "Contracts"),
        ("contract", "text", "The contract the bar is of"),
        ("source", "text", "What it was made from: legacy, databento_api or adopted"),
        explained_in="INGESTION_STRATEGY.md",
    ),
)
def clean_bars(
    context: dg.AssetExecutionContext,
    config: CleanBarsConfig,
    postgres: PostgresResource,
    purchases: PurchasesResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """1-minute bars that can be believed, stamped by the OPEN. Signals are computed from these.

    The date's legacy bars are held against the strict rules; those that break one stay out and are
    counted under its name. Materialising a date replaces it. A date without finished legacy bars,
    or with broken ones, is passed over. With the source databento_api the bars are those that the
    API sells, and legacy ones don't matter; a later run from legacy bars leaves such dates alone.
    """
    completeness = PartitionReport(NAME, session_completeness.CHECK)
    agreement = PartitionReport(NAME, legacy_agreement.CHECK)
    report = PartitionReport(NAME, CHECK, beside=(completeness, agreement))
    database = postgres.database()
    scopes = symbol_dates(context)
    from_api = config.source is CleanSource.databento_api
    agree = partial(legacy_agreement.judge_agreement, report=agreement, from_api=from_api)
    shop = purchases.for_clean(database)
    not_sold = buy_missing(context, database, shop, scopes, config) if from_api else {}
    for scope in scopes:
        with symbol_lock(database, scope.symbol) as held:
            market = held.repeat(registry.market, scope.symbol)
            schema = clean_bar(market.hygiene)
            writing = BarsWriting(
                context,
                postgres,
                progress,
                config,
                held,
                market,
                CLEAN,
                schema,
                report,
                completeness,
                beside=(agree,),
            )
            deliveries = (
                lead_deliveries(held, shop.raw_dir, market, scope, schema, report, not_sold)
                if from_api
                else legacy_deliveries(
                    held, database, market, scope, schema, report, config.replace_api_dates
                )
            )
            # Known before the bars are read: what changes in between shows as another version.
            whole = DateRange(scope.dates[0], scope.dates[-1])
            made_from = {} if from_api else held.repeat(versions, scope.symbol, LEGACY.layer, whole)
            with ahead(deliveries) as screened:
                for dates, files, bars in screened:
                    progress.begin(NAME, scope.symbol, dates)
                    writing.write(
                        dates,
                        bars,
                        source=config.source.value,
                        files=files,
                        made_from=made_from,
                    )
            held.repeat(report.record, scope.symbol, context.run.run_id)
    yield from report.events(context)


def legacy_deliveries(
    held: HeldSymbol,
    database: Database,
    market: Market,
    scope: SymbolDates,
    schema: pa.DataFrameSchema,
    report: PartitionReport,
    replace_api_dates: bool,
) -> Generator[Delivery]:
    """The legacy bars of the dates that have finished ones, a year at a time.

    The other dates are passed over, and so are those whose clean bars are of the API.
    """
    whole = DateRange(scope.dates[0], scope.dates[-1])
    there = held.repeat(complete_dates, scope.symbol, LEGACY.layer, whole)
    broken = held.repeat(broken_dates, scope.symbol, legacy_bars.NAME, whole)
    of_api = held.repeat(dates_from, scope.symbol, CLEAN.layer, SOURCE, whole)
    finished = held.repeat(complete_dates, scope.symbol, CLEAN.layer, whole)
    minutes = expected_minutes(market.session_profile, whole.start, whole.end)
    usable = []
    for day in scope.dates:
        closed = not minutes[(day - whole.start).days]
        if day in of_api and not replace_api_dates:
            reason = (
                "its clean bars are of the API, which legacy ones don't replace unless told to "
                "(replace_api_dates)"
            )
            if day not in finished:
                reason += (
                    "; a run that was changing them did not come to its end, and they are not "
                    "read: materialise the date from the API again, or replace it"
                )
            report.pass_over(scope.symbol, day, reason, expected=day in finished)
        elif day in broken:
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
    years = [year for span in contiguous_ranges(usable) for year in by_year(span)]
    return _screened(schema, database, scope.symbol, years)


def _screened(
    schema: pa.DataFrameSchema, database: Database, symbol: str, ranges: Sequence[DateRange]
) -> Generator[Delivery]:
    """The stored legacy bars of each of `ranges`, told apart; read on a connection of their own."""
    reading = LastingConnection(database.reading(), "legacy bars reader")
    try:
        for dates in ranges:
            bars = reading.repeat(read_bars, LEGACY, symbol, dates.start_ns, dates.end_ns)
            yield dates, (), screen(schema, Delivered.of_one(bars))
    finally:
        reading.close()
