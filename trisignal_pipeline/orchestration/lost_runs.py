"""Runs in a process that was killed: Dagster would hold a place in the queue for them for hours.

A code server knows the workers that it started, for as long as it lives itself. So each run names
its process in a tag, and whoever comes next on this machine looks whether that still lives: the
next command, and every minute the daemon.
"""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import os
import socket

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, RETRY_NUMBER_TAG

PROCESS_TAG = "trisignal/process"
WORKER_TAG = "trisignal/worker"

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def process_tag() -> dict[str, str]:
    """The tags of a run in this process: host and process number, and that it is never relaunched.

    Whoever typed the command sees that it was killed. The daemon would do the one run again, in
    its own time, and nothing of what the command does after it.
    """
    return {PROCESS_TAG: f"{socket.gethostname()} {os.getpid()}", MAX_RETRIES_TAG: "0"}


def tell_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Let a run that the daemon launched name the process it is in, which is this one.

    A run that is launched in place of a lost one inherits its tags, so the tag names the run too.
    """
    worker = f"{socket.gethostname()} {os.getpid()} {run.run_id}"
    if PROCESS_TAG not in run.tags and run.tags.get(WORKER_TAG) != worker:
        instance.add_run_tags(run.run_id, {WORKER_TAG: worker})


def fail_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Record as failed the runs whose process on this machine is gone; returns their ids."""
    lost = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, number = _process_of(run)
        if host == socket.gethostname() and not _lives(number):
            instance.report_run_failed(
                run,
                f"process {number} on {host}, which did this run, was killed; run the same again, "
                "nothing is counted twice",
            )
            lost.append(run.run_id)
    return lost


def in_place_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """The ids of the lost runs that Dagster launched `run` in place of, the last one first."""
    ids: list[str] = []
    before: dg.DagsterRun | None = run
    while before is not None and RETRY_NUMBER_TAG in before.tags and before.parent_run_id:
        ids.append(before.parent_run_id)
        before = instance.get_run_by_id(before.parent_run_id)
    return ids


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Ends the runs whose process on this machine was killed together with the code server "
        "that would have told. Those that the daemon had launched are launched again."
    ),
)
def lost_runs_end(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look once."""
    lost = fail_lost_runs(context.instance)
    return dg.SkipReason(f"ended: {', '.join(lost)}" if lost else "no run has lost its process")


def _process_of(run: dg.DagsterRun) -> tuple[str, int]:
    """Host and number of the process that a run says it is in; no host if it says none."""
    worker, _, run_id = run.tags.get(WORKER_TAG, "").rpartition(" ")
    said = run.tags.get(PROCESS_TAG) or (worker if run_id == run.run_id else "")
    host, _, number = said.rpartition(" ")
    return host, int(number or 0)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
