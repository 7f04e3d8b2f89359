"""Signals follow the bars, and bars the lead contract: what is in doubt is made again, unasked."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.orchestration.assets.signal_reports import history_verdict
from trisignal_pipeline.orchestration.partitions import (
    SYMBOL_DIMENSION,
    partition_key,
)
from trisignal_pipeline.orchestration.refresh import (
    BARS_AND_SIGNALS,
    ONLY_IN_DOUBT,
    SIGNAL_ASSETS,
)
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage.doubts import Doubt, doubts
from trisignal_pipeline.storage.lead_doubts import dates_of_other_contracts

REFRESH_TAG = "trisignal/refresh"

refresh_signals = dg.define_asset_job(
    "refresh_signals",
    selection=dg.AssetSelection.assets(*SIGNAL_ASSETS),
    description=(
        "Computes again the signals that are in doubt. Launched by the sensor, with a range of "
        "dates; to do so by hand run `trisignal refresh`."
    ),
)

follow_lead_contract = dg.define_asset_job(
    "follow_lead_contract",
    selection=dg.AssetSelection.assets(*BARS_AND_SIGNALS),
    description=(
        "Makes bars and signals of dates again of which the files name another lead contract now. "
        "Launched by the sensor; to do so by hand run `trisignal refresh`."
    ),
)

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

PAUSE_AFTER_FAILURE = timedelta(minutes=15)
"""How long a symbol is left alone after its run failed or was cancelled."""


@dg.sensor(
    jobs=[refresh_signals, follow_lead_contract],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Looks for stored dates of which the files name another lead contract now, and makes them "
        "again; then for stored signals whose bars or rules have changed since, and computes them "
        "again: one run over a range of dates for each symbol."
    ),
)
def signals_follow_the_bars(
    context: dg.SensorEvaluationContext, postgres: PostgresResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run for every symbol in doubt that has none under way, nor one that just failed."""
    with postgres.database().reading().connect("doubt sensor") as connection:
        found = doubts(connection)
        rolled = dates_of_other_contracts(connection)
        verdict = history_verdict(connection)
    seen = json.dumps([[doubt.symbol, doubt.from_ns, doubt.dates] for doubt in found])
    if seen != (context.cursor or "[]"):
        # The check shows in the UI at once, not only when the next run ends.
        context.instance.report_runless_asset_event(verdict)
    context.update_cursor(seen)
    # Bars first: new ones would put signals that were just computed in doubt again.
    wanted = {doubt.symbol: _compute_signals(doubt) for doubt in found} | {
        symbol: _make_bars(symbol, by_year(spans[0])[0]) for symbol, spans in rolled.items()
    }
    waiting = {symbol: _why_not_now(context.instance, symbol) for symbol in wanted}
    requests = [request for symbol, request in wanted.items() if waiting[symbol] is None]
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason(
        "; ".join(f"{symbol} {reason}" for symbol, reason in waiting.items())
        or "every stored signal is current"
    )


def _compute_signals(doubt: Doubt) -> dg.RunRequest:
    return dg.RunRequest(
        job_name=refresh_signals.name,
        run_config=dict(ONLY_IN_DOUBT),
        tags=_tags(doubt.symbol, DateRange(doubt.first, doubt.last)),
    )


def _make_bars(symbol: str, dates: DateRange) -> dg.RunRequest:
    return dg.RunRequest(job_name=follow_lead_contract.name, tags=_tags(symbol, dates))


def _tags(symbol: str, dates: DateRange) -> dict[str, str]:
    return {
        REFRESH_TAG: symbol,
        "dagster/asset_partition_range_start": partition_key(symbol, dates.start),
        "dagster/asset_partition_range_end": partition_key(symbol, dates.end),
    }


def _why_not_now(instance: dg.DagsterInstance, symbol: str) -> str | None:
    """Why no run should be requested for a symbol in doubt; None if one should be."""
    if not instance.has_dynamic_partition(SYMBOL_DIMENSION, symbol):
        return "is in doubt, but not active"
    tags = {REFRESH_TAG: symbol}
    if instance.get_runs_count(dg.RunsFilter(statuses=_UNFINISHED, tags=tags)):
        return "has a run under way"
    lately = datetime.now(UTC) - PAUSE_AFTER_FAILURE
    if instance.get_runs_count(dg.RunsFilter(statuses=_FAILED, tags=tags, updated_after=lately)):
        return f"failed less than {PAUSE_AFTER_FAILURE} ago"
    return None
