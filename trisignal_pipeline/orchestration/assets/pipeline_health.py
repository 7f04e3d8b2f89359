"""The pipeline's health: figures that are measured now and then, and limits they must keep to."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from trisignal_pipeline.orchestration.assets.declaration import OWNERS, table
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import health
from trisignal_pipeline.storage.figures import GROWTH_A_DAY, Figure, Measured, keep
from trisignal_pipeline.storage.slow_statements import SLOW
from trisignal_pipeline.storage.years import make_years_ahead

NAME = "pipeline_health"

_MOST_NAMED = 10
"""Of what breaks a limit, how many are named in a check's description."""


class Limits(dg.Config):
    """What is still healthy. A figure that there is none of breaks no limit."""

    most_minutes_behind: float = Field(
        default=2 * 1380,
        ge=0,
        description=(
            "How many minutes of trading an active symbol's newest clean bar may lie back. The "
            "default, two days of CME's equity futures, leaves one day's run to fail."
        ),
    )
    least_ingest_success: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Which share of the finished ingestion runs of 7 days must have succeeded.",
    )
    most_in_doubt: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Which share of a symbol's signal rows may be in doubt.",
    )
    most_quarantined: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Which share of the delivered bars of a symbol may be rejected now.",
    )
    least_disk_free: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Which share must be free of the disks of TRISIGNAL_HOME and of the raw files.",
    )
    most_growth_gigabytes_a_day: float = Field(
        default=5.0,
        ge=0,
        description="By how much all tables together may grow a day.",
    )
    most_stale_runs: float = Field(
        default=0,
        ge=0,
        description="How many runs may show as running whose process is gone.",
    )
    most_connections: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Which share of the connections that the server allows may be open.",
    )
    most_slow_statements: float = Field(
        default=10,
        ge=0,
        description="How many statements may take more than a second on average.",
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """A check: every value of a figure against a limit."""

    check: str
    description: str
    figure: Figure
    limit: Callable[[Limits], float]
    at_least: bool = False

    def broken_by(self, measured: Sequence[Measured], limits: Limits) -> list[Measured]:
        """The values that lie beyond the limit."""
        bound = self.limit(limits)
        return [
            one for one in measured if (one.value < bound if self.at_least else one.value > bound)
        ]


_TOTAL_GROWTH = Figure("growth_of_all_a_day_bytes", "bytes", "growth of all tables a day")

LIMITS = (
    Limit(
        "bars_are_fresh",
        "No active symbol's clean bars lie back for longer than the market traded.",
        health.BEHIND,
        lambda limits: limits.most_minutes_behind,
    ),
    Limit(
        "ingestion_succeeds",
        "Few ingestion runs of the last days failed.",
        health.SUCCESS,
        lambda limits: limits.least_ingest_success,
        at_least=True,
    ),
    Limit(
        "little_is_in_doubt",
        "Few stored signals were computed from bars or rules that have changed since.",
        health.DOUBT,
        lambda limits: limits.most_in_doubt,
    ),
    Limit(
        "little_is_quarantined",
        "Few of the delivered bars are rejected.",
        health.QUARANTINE,
        lambda limits: limits.most_quarantined,
    ),
    Limit(
        "disks_have_room",
        "The disks of TRISIGNAL_HOME and of the raw files are not full.",
        health.DISK_FREE_RATIO,
        lambda limits: limits.least_disk_free,
        at_least=True,
    ),
    Limit(
        "growth_is_bounded",
        "The tables don't grow faster than expected.",
        _TOTAL_GROWTH,
        lambda limits: limits.most_growth_gigabytes_a_day * 1e9,
    ),
    Limit(
        "no_run_is_stale",
        "No run shows as running whose process is gone; the next run closes such runs.",
        health.STALE_RUNS,
        lambda limits: limits.most_stale_runs,
    ),
    Limit(
        "connections_are_left",
        "The server has connections left.",
        health.CONNECTIONS_RATIO,
        lambda limits: limits.most_connections,
    ),
    Limit(
        "statements_are_quick",
        "Few statements are slow, where the server keeps statistics of them.",
        SLOW,
        lambda limits: limits.most_slow_statements,
    ),
)


@dg.asset(
    name=NAME,
    group_name="operations",
    kinds={"postgres"},
    owners=OWNERS,
    check_specs=[
        dg.AssetCheckSpec(name=limit.check, asset=NAME, description=limit.description)
        for limit in LIMITS
    ],
    metadata=table(
        "health_figures",
        ("measured_at", "timestamptz", "when; the same for all figures of one measurement"),
        ("figure", "text", "what was measured; the name ends with the unit"),
        ("subject", "text", "of what: a table, a symbol, or empty for the whole database"),
        ("value", "float8", "the figure"),
        explained_in="HOUSEKEEPING.md",
    ),
)
def pipeline_health(
    context: dg.AssetExecutionContext, config: Limits, postgres: PostgresResource
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """How the pipeline and its database are: sizes, freshness, doubt, quarantine, runs.

    Reads the figures that `trisignal status` prints, keeps them in `health_figures`, so that growth
    can be told, and holds them against limits. No limit stops anything: a check that fails is a
    warning. Makes the partitions of the coming year as well, should they not be there.
    """
    database = postgres.database()
    made = make_years_ahead(database, datetime.now(UTC))
    if made:
        context.log.info("made %d partitions ahead of need", made)
    settings = Settings.from_environment()
    with database.reading().connect("health") as connection:
        measured = health.health(connection, datetime.now(UTC), health.folders_of(settings))
    with database.connect("health") as connection:
        keep(connection, measured)
    yield dg.MaterializeResult(metadata=_metadata(measured))
    by_figure: dict[str, list[Measured]] = {}
    for one in [*measured, *_total_growth(measured)]:
        by_figure.setdefault(one.figure.name, []).append(one)
    for limit in LIMITS:
        yield _verdict(limit, by_figure.get(limit.figure.name, []), config)


def _total_growth(measured: Sequence[Measured]) -> list[Measured]:
    growth = [one.value for one in measured if one.figure is GROWTH_A_DAY]
    return [Measured(_TOTAL_GROWTH, (), sum(growth))] if growth else []


def _verdict(limit: Limit, measured: Sequence[Measured], limits: Limits) -> dg.AssetCheckResult:
    broken = limit.broken_by(measured, limits)
    bound = limit.limit(limits)
    worst = (min if limit.at_least else max)((one.value for one in measured), default=None)
    if not measured:
        description = "there is nothing to measure"
    else:
        named = "; ".join(
            f"{one.subject or limit.figure.help}: {one.value:g}" for one in broken[:_MOST_NAMED]
        )
        wanted = f"{'at least' if limit.at_least else 'at most'} {bound:g}"
        more = f" and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
        description = f"{named}{more}, where {wanted} is healthy" if broken else f"all {wanted}"
    return dg.AssetCheckResult(
        check_name=limit.check,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={
            "limit": float(bound),
            "measured": len(measured),
            "beyond": len(broken),
            **({} if worst is None else {"worst": float(worst)}),
        },
    )


def _metadata(measured: Sequence[Measured]) -> dict[str, float | int]:
    """Numbers that Dagster plots over time: figures of the whole, and of each symbol."""
    plotted: dict[str, float | int] = {
        f"{one.figure.name} {one.subject}".strip(): one.value
        for one in measured
        if "table" not in one.figure.labels
    }
    for figure in (health.TABLE_BYTES, health.INDEX_BYTES, health.ROWS, GROWTH_A_DAY):
        values = [one.value for one in measured if one.figure is figure]
        if values:
            plotted[f"{figure.name} of all tables"] = sum(values)
    return {"figures": len(measured), **plotted}
