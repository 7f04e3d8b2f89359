"""Signals follow the bars: what a changed bar puts in doubt is computed again, unasked."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import json

import dagster as dg

from trisignal_pipeline.orchestration.assets.signal_reports import history_verdict
from trisignal_pipeline.orchestration.partitions import partition_key
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
    """Request a run for every symbol in doubt that has none under way."""
    with postgres.database().connect("doubt sensor") as connection:
        found = doubts(connection)
        verdict = history_verdict(connection)
    seen = json.dumps([[doubt.symbol, doubt.from_ns, doubt.dates] for doubt in found])
    if seen != (context.cursor or "[]"):
        # The check shows in the UI at once, not only when the next run ends.
        context.instance.report_runless_asset_event(verdict)
    context.update_cursor(seen)
    requests = [_request(doubt) for doubt in found if not _under_way(context.instance, doubt)]
    if not requests:
        return dg.SkipReason(
            f"{len(found)} symbols in doubt have a run under way"
            if found
            else "every stored signal is current"
        )
    return dg.SensorResult(run_requests=requests)


def _request(doubt: Doubt) -> dg.RunRequest:
    return dg.RunRequest(
        run_config=dict(ONLY_IN_DOUBT),
        tags={
            REFRESH_TAG: doubt.symbol,
            "dagster/asset_partition_range_start": partition_key(doubt.symbol, doubt.first),
            "dagster/asset_partition_range_end": partition_key(doubt.symbol, doubt.last),
        },
    )


def _under_way(instance: dg.DagsterInstance, doubt: Doubt) -> bool:
    return bool(
        instance.get_runs_count(
            dg.RunsFilter(statuses=_UNFINISHED, tags={REFRESH_TAG: doubt.symbol})
        )
    )
