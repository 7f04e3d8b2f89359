"""Every hour or so: the pipeline's health is measured."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.assets import pipeline_health

HEALTH_EVERY_VARIABLE = "TRISIGNAL_HEALTH_EVERY"
DEFAULT_HEALTH_EVERY = "1h"

measure_health = dg.define_asset_job(
    "measure_health",
    selection=dg.AssetSelection.assets(pipeline_health.NAME),
    description="Measures the pipeline's health, and holds it against its limits.",
)


def health_every(environment: Mapping[str, str] = os.environ) -> str | None:
    """How often health is measured, such as 15m or 1h, by `TRISIGNAL_HEALTH_EVERY`; None: not set.

    Raises:
        ConfigurationError: the variable holds no part of an hour or of a day.
    """
    named = environment.get(HEALTH_EVERY_VARIABLE)
    if not named:
        return None
    found = re.fullmatch(r"([1-9][0-9]?)([mh])", named)
    if found is None or {"m": 60, "h": 24}[found[2]] % int(found[1]):
        raise ConfigurationError(
            f"{HEALTH_EVERY_VARIABLE} is {named!r}; write minutes that an hour is divided by, or "
            f"hours that a day is, such as 15m, {DEFAULT_HEALTH_EVERY} or 6h"
        )
    return named


def cron(every: str) -> str:
    """The schedule of `every`, a few minutes off the full hour, at which much else begins."""
    number, unit = int(every[:-1]), every[-1]
    if unit == "m" and number < 60:
        return f"*/{number} * * * *"
    hours = number if unit == "h" else 1
    return f"7 */{hours} * * *" if hours < 24 else "7 0 * * *"


health_is_measured = dg.ScheduleDefinition(
    name="health_is_measured",
    job=measure_health,
    cron_schedule=cron(health_every() or DEFAULT_HEALTH_EVERY),
    execution_timezone="UTC",
    # Old files on a laptop are never fresh; who runs this for real says so.
    default_status=(
        dg.DefaultScheduleStatus.RUNNING if health_every() else dg.DefaultScheduleStatus.STOPPED
    ),
    description=(
        "Measures the pipeline's health. Runs by default where "
        f"{HEALTH_EVERY_VARIABLE} says how often."
    ),
)
