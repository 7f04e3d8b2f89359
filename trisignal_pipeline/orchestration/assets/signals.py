"""The signals: bias on every bar, and the triangles where it flips. One replay makes both."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import time
from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg
from pydantic import Field

from trisignal_pipeline.market.dates import by_year
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.assets import clean_bars, legacy_bars
from trisignal_pipeline.orchestration.assets.declaration import ONE_RUN_A_RANGE, OWNERS, table
from trisignal_pipeline.orchestration.assets.signal_reports import (
    BIAS,
    HISTORY_CHECK,
    TRIANGLES,
    Computed,
    SignalReports,
    history_check,
    history_verdict,
    per_partition_checks,
    warn_of_doubt,
)
from trisignal_pipeline.orchestration.explained_minutes import DESCRIPTION as DEBUG_TS_DESCRIPTION
from trisignal_pipeline.orchestration.explained_minutes import asked_minutes, log_explanations
from trisignal_pipeline.orchestration.partition_checks import check_done
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL
from trisignal_pipeline.orchestration.resources import PostgresResource, Progress
from trisignal_pipeline.orchestration.run_scope import symbol_dates
from trisignal_pipeline.orchestration.step_retries import tried_again
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.signal_computation import compute_signals
from trisignal_pipeline.storage.signals import BIAS_TABLE, TRIANGLE_TABLE

_BIAS_MEANINGS = (
    ("bias_1m", "text", "Bullish, Bearish or Neutral after this 1-minute bar"),
    (
        "bias_5m, bias_15m, bias_1h, bias_4h, bias_1d",
        "text",
        "The bias of the last finished higher bar: no look-ahead",
    ),
)
_ORIGIN = (
    ("source_table", "text", "The table the bar was read from"),
    ("logic_version", "text", "The version of the rules"),
)


class SignalsConfig(dg.Config):
    """How signals are computed."""

    only_in_doubt: bool = Field(
        default=False,
        description=(
            "Compute only those of the run's dates whose stored signal is in doubt, and stop where "
            "the rest turns out to hold."
        ),
    )
    debug_ts: list[str] = Field(default=[], description=DEBUG_TS_DESCRIPTION)


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
            code_version=LOGIC_VERSION,
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
                explained_in="SIGNAL.md",
            ),
        ),
        dg.AssetSpec(
            TRIANGLES,
            deps=[BIAS],
            group_name="signal",
            kinds={"postgres"},
            owners=OWNERS,
            code_version=LOGIC_VERSION,
            skippable=True,
            partitions_def=DAILY_BY_SYMBOL,
            description=(
                "The minutes on which the 1-minute bias flips: a triangle on the chart.\n\n"
                "BULL where the bias is Bullish and was not on the bar before, BEAR mirrored; the "
                "symbol's filters (engulfing, sweep, higher timeframes aligned) may let fewer pass "
                "and are all off by default. Materialising a date replaces its events in one "
                "transaction; an event that is the same as before keeps its id. A run of a single "
                "partition draws the session with its triangles: see `session` in its metadata."
            ),
            metadata=table(
                TRIANGLE_TABLE,
                ("id", "bigint", "Kept for as long as the event is the same"),
                ("symbol", "text", "Internal symbol"),
                ("ts", "timestamptz", "The bar's OPEN (UTC)"),
                ("direction", "text", "BULL or BEAR"),
                (
                    "bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1",
                    "text",
                    "The six biases on this bar",
                ),
                ("htf_bullish, htf_bearish", "boolean", "Whether all higher timeframes agree"),
                ("engulfing, sweep_engulfing", "boolean", "How the bar engulfs the one before"),
                *_ORIGIN,
                explained_in="SIGNAL.md",
            ),
        ),
    ],
    check_specs=[*per_partition_checks(), history_check()],
    backfill_policy=ONE_RUN_A_RANGE,
    can_subset=True,
)
@tried_again
def signals(
    context: dg.AssetExecutionContext,
    config: SignalsConfig,
    postgres: PostgresResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """Replay the history of each symbol, and replace the biases and triangles of its dates.

    Both are written whichever was asked for: one without the other could disagree with it.
    """
    reports = SignalReports()
    minutes = asked_minutes(config.debug_ts)
    database = postgres.database()
    scopes = symbol_dates(context)
    alone = len(scopes) == 1 and len(scopes[0].dates) == 1
    for scope in scopes:
        with (
            symbol_lock(database, scope.symbol),
            database.connect("signals", autocommit=True) as connection,
        ):
            market = registry.market(connection, scope.symbol)
            seconds = compute(context, config, connection, progress, market, scope.dates)
            log_explanations(context, connection, market, scope.dates, minutes)
            years = [year for span in scope.ranges for year in by_year(span)]
            computed = Computed(config.only_in_doubt, seconds / len(scope.dates), alone)
            reports.add(context, connection, market, years, computed)
            reports.record(connection, scope.symbol, context.run.run_id)
            warn_of_doubt(context, connection, scope.symbol)
    selected = {key.to_user_string() for key in context.selected_asset_keys}
    for report in (reports.bias, reports.triangles):
        if report.asset in selected:
            yield from report.events(context, output=report.asset)
    if BIAS in selected:
        with database.connect("signals", autocommit=True) as connection:
            yield history_verdict(connection)
        yield check_done(BIAS, HISTORY_CHECK)


def compute(
    context: dg.AssetExecutionContext,
    config: SignalsConfig,
    connection: Connection,
    progress: Progress,
    market: Market,
    wanted: Sequence[date],
) -> float:
    """Replay, part by part, keep what each part gives, and return how many seconds it took."""
    symbol = str(market.symbol)
    started, replayed, written = time.perf_counter(), 0, 0
    for part in compute_signals(
        connection,
        market,
        wanted,
        only_in_doubt=config.only_in_doubt,
        on_span=lambda span: progress.begin(BIAS, symbol, span),
    ):
        replayed, written = replayed + part.replayed, written + part.written
        progress.advance(BIAS, part.written)
        if part.vouched_for:
            context.log.info(
                "%s: after %s the signal is where it was before the bars changed: %d later dates "
                "hold as they are",
                symbol,
                part.window.end,
                part.vouched_for,
            )
    seconds = time.perf_counter() - started
    context.log.info(
        "%s: %d bars replayed, the signal of %d written, %.2f s",
        symbol,
        replayed,
        written,
        seconds,
    )
    return seconds
