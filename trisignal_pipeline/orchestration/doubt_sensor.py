"""Signals follow the bars: what a changed bar puts in doubt is computed again, unasked."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from trisignal_pipeline.orchestration.assets.signal_reports import history_verdict
from trisignal_pipeline.orchestration.partitions import (
    SYMBOL_DIMENSION,
    partition_key,
)
from trisignal_pipeline.orchestration.refresh import ONLY_IN_DOUBT, SIGNAL_ASSETS
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage.doubts import Doubt, doubts

REFRESH_TAG = "trisignal/refresh"

refresh_signals = dg.define_asset_job(
    "refresh_signals",
    selection=dg.AssetSelection.assets(*SIGNAL_ASSETS),
    description=(
        "Computes again the signals that are in doubt. Launched by the sensor, with a range of "
        "dates; to do so by hand run `trisignal refresh`."
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
    job=refresh_signals,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Looks for stored signals whose bars or rules have changed since, and computes them again: "
        "one run over a range of dates for each symbol."
    ),
)
def signals_follow_the_bars(
    context: dg.SensorEvaluationContext, postgres: PostgresResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run for every symbol in doubt that has none under way, nor one that just failed."""
    with postgres.database().reading().connect("doubt sensor") as connection:
        found = doubts(connection)
        verdict = history_verdict(connection)
    seen = json.dumps([[doubt.symbol, doubt.from_ns, doubt.dates] for doubt in found])
    if seen != (context.cursor or "[]"):
        # The check shows in the UI at once, not only when the next run ends.
        context.instance.report_runless_asset_event(verdict)
    context.update_cursor(seen)
    waiting = {doubt.symbol: _why_not_now(context.instance, doubt.symbol) for doubt in found}
    requests = [_request(doubt) for doubt in found if waiting[doubt.symbol] is None]
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason(
        "; ".join(f"{symbol} {reason}" for symbol, reason in waiting.items())
        or "every stored signal is current"
    )


def _request(doubt: Doubt) -> dg.RunRequest:
    return dg.RunRequest(
        run_config=dict(ONLY_IN_DOUBT),
        tags={
            REFRESH_TAG: doubt.symbol,
            "dagster/asset_partition_range_start": partition_key(doubt.symbol, doubt.first),
            "dagster/asset_partition_range_end": partition_key(doubt.symbol, doubt.last),
        },
    )


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
