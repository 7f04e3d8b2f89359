"""How long what nobody needs for ever is kept: by settings, each off unless it is set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from trisignal_pipeline.errors import ConfigurationError

EVENTS_VARIABLE = "TRISIGNAL_KEEP_EVENTS_DAYS"
RUNS_VARIABLE = "TRISIGNAL_KEEP_RUNS_DAYS"
QUARANTINE_VARIABLE = "TRISIGNAL_KEEP_QUARANTINE_DAYS"
REVISIONS_VARIABLE = "TRISIGNAL_KEEP_REVISIONS_DAYS"
CHECKPOINTS_VARIABLE = "TRISIGNAL_KEEP_CHECKPOINTS_DAYS"
HEALTH_VARIABLE = "TRISIGNAL_KEEP_HEALTH_DAYS"


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days each is kept; None: for ever.

    events        Dagster's event log
    runs          Dagster's runs
    quarantine    released rows of the quarantine; what is still rejected stays
    revisions     old versions of bars
    checkpoints   saved states of the signal
    health        figures of the pipeline's health
    """

    events: int | None = None
    runs: int | None = None
    quarantine: int | None = None
    revisions: int | None = None
    checkpoints: int | None = None
    health: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Retention:
        """Read what `environment` says; an empty variable counts as one that is not set.

        Raises:
            ConfigurationError: a variable holds no whole number from 1 up.
        """
        return cls(
            events=_days(environment, EVENTS_VARIABLE),
            runs=_days(environment, RUNS_VARIABLE),
            quarantine=_days(environment, QUARANTINE_VARIABLE),
            revisions=_days(environment, REVISIONS_VARIABLE),
            checkpoints=_days(environment, CHECKPOINTS_VARIABLE),
            health=_days(environment, HEALTH_VARIABLE),
        )

    def asks_for_anything(self) -> bool:
        """Whether any setting is set."""
        return any(getattr(self, one.name) is not None for one in fields(self))


def kept_since(days: int, now: datetime) -> datetime:
    """The moment before which nothing is kept, `days` before `now`, in UTC."""
    return now.astimezone(UTC) - timedelta(days=days)


def _days(environment: Mapping[str, str], variable: str) -> int | None:
    named = environment.get(variable)
    if not named:
        return None
    if not (named.isascii() and named.isdigit() and 0 < int(named) <= 36_500):
        raise ConfigurationError(
            f"{variable} is {named!r}; write a number of days from 1 to 36500, or leave it unset "
            "to keep everything"
        )
    return int(named)


@dataclass(frozen=True, slots=True)
class Due:
    """What is kept no longer, and under which setting: how many rows, and about how many bytes."""

    what: str
    variable: str
    days: int
    rows: int
    size_bytes: int
