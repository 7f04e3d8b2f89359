"""Runs that the daemon asks for by itself: their tags, and when the next one had better wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from trisignal_pipeline import errors
from trisignal_pipeline.errors import TransientError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.dates_of_runs import UNFINISHED, is_under_way
from trisignal_pipeline.orchestration.partitions import parse_partition_key, partition_key
from trisignal_pipeline.orchestration.range_run import step_failure

REFRESH_TAG = "trisignal/refresh"
"""What an unasked run is about: a symbol, or the raw folder."""

CIRCUMSTANCES_TAG = "trisignal/circumstances"
"""The circumstances that it was asked for under, see `circumstances`."""

FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

FIRST_PAUSE = timedelta(minutes=15)
LONGEST_PAUSE = timedelta(days=1)
"""A symbol is left alone after its run failed or was cancelled: twice as long each time."""

_MOST_FAILURES = 10

_PASSING = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, TransientError)
} | {"DagsterExecutionInterruptedError"}


def run_request(
    job: str,
    symbol: str,
    dates: DateRange,
    circumstances: str,
    *,
    run_config: Mapping[str, Any] | None = None,
    run_key: str | None = None,
) -> dg.RunRequest:
    """A run of `job` over `dates` of `symbol`."""
    return dg.RunRequest(
        job_name=job,
        run_key=run_key,
        run_config=dict(run_config or {}),
        tags={
            REFRESH_TAG: symbol,
            CIRCUMSTANCES_TAG: circumstances,
            # Dagster warns of the tags it gives itself to a run of one multi-partition.
            ASSET_PARTITION_RANGE_START_TAG: partition_key(symbol, dates.start),
            ASSET_PARTITION_RANGE_END_TAG: partition_key(symbol, dates.end),
        },
    )


def why_not_now(instance: dg.DagsterInstance, request: dg.RunRequest) -> str | None:
    """Why `request` had better wait, to be said of what it is about; None if it need not.

    There is one unasked run at a time of each symbol, and none over dates that anybody's run is
    about just now. After one that failed the next one waits, the longer the more of them failed in
    a row; and after an error that won't pass, until the circumstances are others, or for a day.
    """
    about = {REFRESH_TAG: request.tags[REFRESH_TAG]}
    if instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED, tags=about)):
        return "has a run under way"
    if ASSET_PARTITION_RANGE_START_TAG in request.tags:
        symbol, start = parse_partition_key(request.tags[ASSET_PARTITION_RANGE_START_TAG])
        _, end = parse_partition_key(request.tags[ASSET_PARTITION_RANGE_END_TAG])
        if is_under_way(instance, symbol, DateRange(start, end)):
            return "has a run under way over some of the dates"
    records = instance.get_run_records(
        dg.RunsFilter(job_name=request.job_name, tags=about), limit=_MOST_FAILURES
    )
    failed = list(takewhile(lambda record: record.dagster_run.status in FAILED, records))
    if not failed:
        return None
    newest = failed[0]
    ago = datetime.now(UTC) - newest.update_timestamp
    for_good = _error_that_won_t_pass(instance, newest.dagster_run.run_id)
    if for_good is None:
        pause = min(FIRST_PAUSE * 2 ** (len(failed) - 1), LONGEST_PAUSE)
        return f"failed less than {pause} ago" if ago < pause else None
    then = newest.dagster_run.tags.get(CIRCUMSTANCES_TAG)
    if then == request.tags[CIRCUMSTANCES_TAG] and ago < LONGEST_PAUSE:
        return (
            f"failed with {for_good}, which won't pass by itself: the next run waits for a change "
            f"of files, registry or settings, or for {LONGEST_PAUSE}"
        )
    return None


def _error_that_won_t_pass(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The class of the error that ended a run for good; None if trying again may help."""
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    classes = [
        step_failure(entry.dagster_event).error_class
        for entry in failures
        if entry.dagster_event is not None
    ]
    return next((name for name in classes if name not in _PASSING), None)
