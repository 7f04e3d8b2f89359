"""The signals: bias on every bar, and the triangles where it flips. One replay makes both."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import time
from collections.abc import Iterator

import dagster as dg

from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.market.sessions import VERIFIED_SPAN
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.orchestration.assets import clean_bars, legacy_bars
from trisignal_pipeline.orchestration.assets.declaration import ONE_RUN_A_RANGE, OWNERS, table
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL
from trisignal_pipeline.orchestration.resources import PostgresResource, Progress
from trisignal_pipeline.orchestration.run_scope import SymbolDates, symbol_dates
from trisignal_pipeline.schemas import BIAS_ROW, TRIANGLE_EVENT, Verdict, judge
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.replay import ReplayedHistory, replay_history
from trisignal_pipeline.storage.selection import SelectedDate
from trisignal_pipeline.storage.signals import (
    BIAS_TABLE,
    TRIANGLE_TABLE,
    dates_in_doubt,
    read_bias,
    read_triangles,
    replace_signals,
)

BIAS = "bias_series"
BIAS_CHECK = "bias_row_schema"
TRIANGLES = "triangle_events"
TRIANGLES_CHECK = "triangle_event_schema"

_BIAS_MEANINGS = (
    ("bias_1m", "text", "Bullish, Bearish or Neutral after this 1-minute bar"),
    ("bias_5m … bias_1d", "text", "The bias of the last finished higher bar: no look-ahead"),
)
_ORIGIN = (
    ("source_table", "text", "The table the bar was read from"),
    ("logic_version", "text", "The version of the rules"),
)


@dg.multi_asset(
    name="signals",
    specs=[
        dg.AssetSpec(
            BIAS,
            # Legacy bars stand in on dates that have no clean ones.
            deps=[clean_bars.NAME, legacy_bars.NAME],
            group_name="signal",
            kinds={"postgres", "numba"},
            owners=OWNERS,
            skippable=True,
            partitions_def=DAILY_BY_SYMBOL,
            description=(
                "Which way the market leans on every minute, on six timeframes.\n\n"
                "The bias of a series of bars turns with new extremes and with fair value gaps "
                "that are inverted or invalidated by a close. Higher timeframes are seen as their "
                "last finished bar, so nothing repaints. The bias of a minute depends on every bar "
                "before it: a date is computed by replaying the symbol's stored history up to it."
            ),
            metadata=table(
                BIAS_TABLE,
                ("symbol", "text", "Internal symbol"),
                ("ts", "timestamptz", "The bar's OPEN (UTC)"),
                *_BIAS_MEANINGS,
                *_ORIGIN,
            ),
        ),
        dg.AssetSpec(
            TRIANGLES,
            deps=[BIAS],
            group_name="signal",
            kinds={"postgres"},
            owners=OWNERS,
            skippable=True,
            partitions_def=DAILY_BY_SYMBOL,
            description=(
                "The minutes on which the 1-minute bias flips: a triangle on the chart.\n\n"
                "BULL where the bias is Bullish and was not on the bar before, BEAR mirrored; the "
                "symbol's filters (engulfing, sweep, higher timeframes aligned) may let fewer pass "
                "and are all off by default. Materialising a date replaces its events in one "
                "transaction; an event that is the same as before keeps its id."
            ),
            metadata=table(
                TRIANGLE_TABLE,
                ("id", "bigint", "Kept for as long as the event is the same"),
                ("symbol", "text", "Internal symbol"),
                ("ts", "timestamptz", "The bar's OPEN (UTC)"),
                ("direction", "text", "BULL or BEAR"),
                ("bias_1m, bias_m5 … bias_d1", "text", "The six biases on this bar"),
                ("htf_bullish, htf_bearish", "boolean", "Whether all higher timeframes agree"),
                ("engulfing, sweep_engulfing", "boolean", "How the bar engulfs the one before"),
                *_ORIGIN,
            ),
        ),
    ],
    check_specs=[
        check_per_partition(BIAS, BIAS_CHECK, "Six biases on every bar, each one of three words."),
        check_per_partition(
            TRIANGLES, TRIANGLES_CHECK, "A triangle's direction is its bar's new 1-minute bias."
        ),
    ],
    backfill_policy=ONE_RUN_A_RANGE,
    can_subset=True,
)
def signals(
    context: dg.AssetExecutionContext,
    postgres: PostgresResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """Replay the history of each symbol, and replace the biases and triangles of its dates.

    Both are written whichever was asked for: one without the other could disagree with it.
    """
    bias, triangles = PartitionReport(BIAS, BIAS_CHECK), PartitionReport(TRIANGLES, TRIANGLES_CHECK)
    database = postgres.database()
    for scope in symbol_dates(context):
        with (
            symbol_lock(database, scope.symbol),
            database.connect("signals", autocommit=True) as connection,
        ):
            market = registry.market(connection, scope.symbol)
            started = time.perf_counter()
            history = replay_history(connection, market, upto=scope.dates[-1])
            context.log.info(
                "%s: %d bars replayed in %.1f s",
                scope.symbol,
                len(history.bars),
                time.perf_counter() - started,
            )
            for dates in (year for span in scope.ranges for year in by_year(span)):
                progress.begin(BIAS, scope.symbol, dates)
                rows, described = history.of(dates)
                with connection.transaction():
                    replace_signals(connection, scope.symbol, dates, rows, described)
                progress.advance(BIAS, len(rows.bias))
                _report(connection, market, dates, history, bias, triangles)
            _warn_of_doubt(context, connection, scope)
            bias.record(connection, scope.symbol, context.run_id)
            triangles.record(connection, scope.symbol, context.run_id)
    selected = context.selected_output_names
    for report in (bias, triangles):
        if report.asset in selected:
            yield from report.events(context, output=report.asset)


def _report(
    connection: Connection,
    market: Market,
    dates: DateRange,
    history: ReplayedHistory,
    bias: PartitionReport,
    triangles: PartitionReport,
) -> None:
    symbol = str(market.symbol)
    of_bias = judge(BIAS_ROW, read_bias(connection, symbol, dates), dates)
    events = read_triangles(connection, symbol, dates)
    of_events = judge(TRIANGLE_EVENT, events, dates)
    for day in dates:
        selected = history.selected.get(day)
        if selected is None:
            bias.pass_over(symbol, day, "no finished bars to read", expected=False)
            triangles.pass_over(symbol, day, "no finished bars to read", expected=False)
            continue
        locked_out = history.locked_out.get(day)
        origin: dict[str, str | int | bool] = {
            "source_table": selected.table,
            "bars_locked_out": locked_out.rejected if locked_out else 0,
            "calendar_verified": market.anchor == Anchor.UTC or day in VERIFIED_SPAN,
        }
        bias.add(
            symbol,
            day,
            of_bias[day],
            blocking=not of_bias[day].passed,
            description=_in_words(of_bias[day], selected, "bias rows"),
            metadata={"bars": of_bias[day].rows, **origin},
        )
        triangles.add(
            symbol,
            day,
            of_events[day],
            blocking=not of_events[day].passed,
            description=_in_words(of_events[day], selected, "triangles"),
            metadata={"triangles": of_events[day].rows, "bars": of_bias[day].rows, **origin},
        )


def _in_words(verdict: Verdict, selected: SelectedDate, what: str) -> str:
    if verdict.passed:
        return f"{verdict.rows} {what} from {selected.bar_count} bars of {selected.table}"
    return f"{verdict.failed} of {verdict.rows} stored {what} are broken"


def _warn_of_doubt(
    context: dg.AssetExecutionContext, connection: Connection, scope: SymbolDates
) -> None:
    doubtful = dates_in_doubt(connection, scope.symbol)
    if doubtful:
        context.log.warning(
            "%s: %d dates from %s to %s are in doubt: their signals were computed before bars they "
            "depend on changed; recompute them with: trisignal backfill %s --start %s --end %s",
            scope.symbol,
            len(doubtful),
            doubtful[0],
            doubtful[-1],
            scope.symbol,
            doubtful[0],
            doubtful[-1],
        )
