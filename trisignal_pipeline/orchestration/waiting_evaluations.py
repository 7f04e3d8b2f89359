"""Check evaluations on their way into Dagster's event log, which get there together."""

from __future__ import annotations

import threading
from collections import defaultdict

from dagster import DagsterEventType
from dagster._core.events.log import EventLogEntry


class WaitingEvaluations:
    """Check evaluations of runs in this process, told one by one, until they are stored together.

    A range of n dates has n of each check, and a transaction for each takes longer than the work.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[EventLogEntry]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, event: EventLogEntry) -> bool:
        """Let `event` wait, if it is an evaluation that a step tells of; whether it is."""
        if (
            not event.run_id
            or event.step_key is None
            or event.dagster_event_type is not DagsterEventType.ASSET_CHECK_EVALUATION
        ):
            return False
        with self._lock:
            self._waiting[event.run_id].append(event)
        return True

    def count(self, run_id: str) -> int:
        """How many of the run are waiting."""
        with self._lock:
            return len(self._waiting.get(run_id, ()))

    def runs(self) -> list[str]:
        """The runs that have any waiting."""
        with self._lock:
            return list(self._waiting)

    def take(self, run_id: str) -> list[EventLogEntry]:
        """Those of the run, which wait no longer."""
        with self._lock:
            return self._waiting.pop(run_id, [])
