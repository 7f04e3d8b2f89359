"""Runs in a process that was killed: Dagster would hold a place in the queue for them for hours.

Run monitoring knows the workers that the daemon launched. A run in a process of our own (the
command line) carries the process in a tag, and the next one on this machine looks.
"""

from __future__ import annotations

import os
import socket

import dagster as dg

PROCESS_TAG = "trisignal/process"

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def process_tag() -> dict[str, str]:
    """The tag that says which process a run is in: host and process number."""
    return {PROCESS_TAG: f"{socket.gethostname()} {os.getpid()}"}


def fail_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Record as failed the runs whose process on this machine is gone; returns their ids."""
    lost = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, number = run.tags.get(PROCESS_TAG, "").rpartition(" ")
        if host == socket.gethostname() and not _lives(int(number)):
            instance.report_run_failed(
                run,
                f"process {number} on {host}, which did this run, was killed; run the same again, "
                "nothing is counted twice",
            )
            lost.append(run.run_id)
    return lost


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
