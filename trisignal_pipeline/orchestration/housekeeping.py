"""Housekeeping: what settings say is kept no longer is deleted, and the coming year gets ready."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from trisignal_pipeline.orchestration.dagster_outdated import (
    dagster_outdated,
    delete_dagster_outdated,
)
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.outdated import delete_outdated, outdated
from trisignal_pipeline.storage.retention import Due, Retention
from trisignal_pipeline.storage.years import make_years_ahead


def due(
    database: Database, instance: dg.DagsterInstance, settings: Retention, now: datetime
) -> list[Due]:
    """What would be deleted at `now`; nothing is."""
    with database.reading().connect("housekeeping") as connection:
        found = outdated(connection, settings, now)
    return [*found, *dagster_outdated(instance, settings, now)]


def delete(
    database: Database, instance: dg.DagsterInstance, settings: Retention, now: datetime
) -> Iterator[Due]:
    """Delete it, and tell of each kind when it is done."""
    yield from delete_outdated(database, settings, now)
    yield from delete_dagster_outdated(instance, settings, now)


@dg.op
def delete_what_is_kept_no_longer(
    context: dg.OpExecutionContext, postgres: PostgresResource
) -> None:
    """Delete what the settings say, and make the partitions of the coming year."""
    now = datetime.now(UTC)
    database = postgres.database()
    made = make_years_ahead(database, now)
    context.log.info("partitions made ahead of need: %d", made)
    deleted = list(delete(database, context.instance, Retention.from_environment(), now))
    for one in deleted:
        context.log.info("%s: %d deleted, by %s", one.what, one.rows, one.variable)
    context.add_output_metadata(
        {"partitions made": made, **{one.what: one.rows for one in deleted}}
    )


@dg.job(
    description=(
        "Deletes what the TRISIGNAL_KEEP_ settings say is kept no longer, and makes the partitions "
        "of the coming year. `trisignal housekeeping` shows what that would be."
    )
)
def housekeeping() -> None:
    """Do the housekeeping."""
    delete_what_is_kept_no_longer()


housekeeping_is_done = dg.ScheduleDefinition(
    name="housekeeping_is_done",
    job=housekeeping,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    # Nothing is deleted that nobody asked to have deleted.
    default_status=(
        dg.DefaultScheduleStatus.RUNNING
        if Retention.from_environment().asks_for_anything()
        else dg.DefaultScheduleStatus.STOPPED
    ),
    description=(
        "Every night. Runs by default where a TRISIGNAL_KEEP_ setting says how long something is "
        "kept."
    ),
)
