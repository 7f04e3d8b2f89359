"""What of Dagster's own database is kept no longer, by settings: counted, and deleted.

Whatever Dagster tells the state of a partition by stays: its latest materialisation, observation
and plan, its latest verdict of each check, the runs these came from, and what brackets a run that
is kept. Nothing of a run that has not ended is touched, nor of one that a backfill still waits for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from psycopg import sql
from sqlalchemy import make_url

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.dagster_storage import PooledEventLogStorage
from trisignal_pipeline.orchestration.deployment import compute_logs_folder
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.connection import Connection, Database, scalar
from trisignal_pipeline.storage.retention import (
    EVENTS_VARIABLE,
    RUNS_VARIABLE,
    Due,
    Retention,
    kept_since,
)

WINDOW_EVENTS = 10_000
"""How many numbers of events a transaction looks at, and so the most it deletes."""

BATCH_RUNS = 50

_EVENTS = "events of Dagster's runs"
_VERDICTS = "verdicts that others followed"
_RUNS = "runs of Dagster"

# Noted once: what comes later can only make more of the old superfluous. Of the events that make a
# partition what it is, the latest of each kind; a plan counts as long as no materialisation came
# after it: it shows that one is missing. Of verdicts the latest of each outcome: a check that is
# planned again must not hide what it said last.
_NOTE_WHAT_STAYS = """
    CREATE TEMPORARY TABLE kept_events AS
    WITH latest AS MATERIALIZED (
        SELECT asset_key, coalesce(partition, '') AS partition, dagster_event_type AS kind,
               max(id) AS id
        FROM event_logs
        WHERE asset_key IS NOT NULL AND dagster_event_type IN (
            'ASSET_MATERIALIZATION', 'ASSET_OBSERVATION', 'ASSET_FAILED_TO_MATERIALIZE',
            'ASSET_MATERIALIZATION_PLANNED')
        GROUP BY 1, 2, 3
    )
    SELECT l.id, e.run_id FROM latest l JOIN event_logs e ON e.id = l.id
    LEFT JOIN latest made ON made.kind = 'ASSET_MATERIALIZATION'
     AND made.asset_key = l.asset_key AND made.partition = l.partition
    WHERE l.kind <> 'ASSET_MATERIALIZATION_PLANNED' OR made.id IS NULL OR made.id < l.id;
    CREATE UNIQUE INDEX ON kept_events (id);
    CREATE INDEX ON kept_events (run_id);

    CREATE TEMPORARY TABLE kept_verdicts AS
    SELECT c.id, c.run_id FROM asset_check_executions c WHERE c.id IN (
        SELECT max(id) FROM asset_check_executions
        GROUP BY asset_key, check_name, coalesce(partition, ''), execution_status);
    CREATE UNIQUE INDEX ON kept_verdicts (id);
    CREATE INDEX ON kept_verdicts (run_id);
    ANALYZE kept_events;
    ANALYZE kept_verdicts;
"""

_OLD_EVENTS = sql.SQL(
    """
    SELECT e.id, octet_length(e.event) AS bytes FROM event_logs e
    WHERE e.id > %(after)s AND e.id <= %(upto)s AND e.timestamp < %(before)s
      -- When a run was queued, began and ended is told as long as the run is.
      AND coalesce(e.dagster_event_type, '') NOT LIKE 'PIPELINE\\_%%'
      AND NOT EXISTS (
          SELECT FROM runs r WHERE r.run_id = e.run_id
           AND r.status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED'))
      AND NOT EXISTS (SELECT FROM kept_events k WHERE k.id = e.id)
    """
)

_OLD_VERDICTS = sql.SQL(
    """
    SELECT c.id, coalesce(octet_length(c.evaluation_event), 0) AS bytes
    FROM asset_check_executions c
    WHERE c.create_timestamp < %(before)s
      AND NOT EXISTS (
          SELECT FROM runs r WHERE r.run_id = c.run_id
           AND r.status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED'))
      AND NOT EXISTS (SELECT FROM kept_verdicts k WHERE k.id = c.id)
    """
)

_OLD_RUNS = sql.SQL(
    """
    SELECT r.run_id, octet_length(r.run_body) AS bytes FROM runs r
    WHERE r.status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND r.update_timestamp < %(before)s
      AND NOT EXISTS (
          SELECT FROM bulk_actions b
          WHERE b.key = r.backfill_id AND b.status IN ('REQUESTED', 'CANCELING', 'FAILING'))
      AND NOT EXISTS (SELECT FROM kept_events k WHERE k.run_id = r.run_id)
      AND NOT EXISTS (SELECT FROM kept_verdicts k WHERE k.run_id = r.run_id)
    """
)


def dagster_outdated(instance: dg.DagsterInstance, settings: Retention, now: datetime) -> list[Due]:
    """What Dagster's database keeps no longer at `now`, of what a setting is set for.

    Raises:
        ConfigurationError: Dagster keeps its runs in a storage that isn't the product's.
    """
    if settings.events is None and settings.runs is None:
        return []
    due = []
    with _database(instance).connect("housekeeping", autocommit=True) as connection:
        connection.execute(_NOTE_WHAT_STAYS)
        for what, variable, days, statement in _asked_for(settings):
            counted = connection.execute(
                sql.SQL("SELECT count(*), coalesce(sum(bytes), 0) FROM ({}) AS old").format(
                    statement
                ),
                _parameters(days, now, upto=_newest(connection)),
            ).fetchall()
            due.append(Due(what, variable, days, int(counted[0][0]), int(counted[0][1])))
    return due


def delete_dagster_outdated(
    instance: dg.DagsterInstance, settings: Retention, now: datetime
) -> Iterator[Due]:
    """Delete what `dagster_outdated` counts, in small transactions; tell of each kind when done.

    Raises:
        ConfigurationError: Dagster keeps its runs in a storage that isn't the product's.
        NotPermittedError: the user of the URL may not delete there.
    """
    if settings.events is None and settings.runs is None:
        return
    with _database(instance).connect("housekeeping", autocommit=True) as connection:
        connection.execute(_NOTE_WHAT_STAYS)
        if settings.events is not None:
            before = _parameters(settings.events, now)
            rows, size = _delete_verdicts(connection, before)
            yield Due(_VERDICTS, EVENTS_VARIABLE, settings.events, rows, size)
            rows, size = _delete_events(connection, before)
            yield Due(_EVENTS, EVENTS_VARIABLE, settings.events, rows, size)
        if settings.runs is not None:
            rows, size = _delete_runs(connection, _parameters(settings.runs, now))
            yield Due(_RUNS, RUNS_VARIABLE, settings.runs, rows, size)


def _asked_for(settings: Retention) -> Iterator[tuple[str, str, int, sql.SQL]]:
    if settings.events is not None:
        yield _VERDICTS, EVENTS_VARIABLE, settings.events, _OLD_VERDICTS
        yield _EVENTS, EVENTS_VARIABLE, settings.events, _OLD_EVENTS
    if settings.runs is not None:
        yield _RUNS, RUNS_VARIABLE, settings.runs, _OLD_RUNS


def _database(instance: dg.DagsterInstance) -> Database:
    storage = instance.event_log_storage
    if not isinstance(storage, PooledEventLogStorage):
        raise ConfigurationError(
            f"{EVENTS_VARIABLE} and {RUNS_VARIABLE} are for the storage that comes with trisignal; "
            f"the dagster.yaml of this deployment names {type(storage).__name__}: unset them, and "
            "tidy that storage by its own means"
        )
    url = make_url(storage.postgres_url).set(drivername="postgresql")
    return Database(url.render_as_string(hide_password=False), role=None)


def _parameters(
    days: int, now: datetime, *, after: int = 0, upto: int | None = None
) -> dict[str, object]:
    # Dagster's columns have no time zone, and mean UTC.
    before = kept_since(days, now).astimezone(UTC).replace(tzinfo=None)
    return {"before": before, "after": after, "upto": upto}


def _newest(connection: Connection) -> int:
    return int(scalar(connection, "SELECT coalesce(max(id), 0) FROM event_logs"))


def _delete_events(connection: Connection, before: dict[str, object]) -> tuple[int, int]:
    """Window by window of the events' numbers, each a transaction."""
    after, newest = _oldest(connection) - 1, _newest(connection)
    rows = size = 0
    while after < newest:
        window = {**before, "after": after, "upto": after + WINDOW_EVENTS}
        [(gone, bytes_)] = connection.execute(
            sql.SQL(
                """
                WITH old AS MATERIALIZED ({old}), gone AS (
                    DELETE FROM event_logs WHERE id IN (SELECT id FROM old) RETURNING id
                ), tags AS (
                    DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM old)
                )
                SELECT (SELECT count(*) FROM gone), (SELECT coalesce(sum(bytes), 0) FROM old)
                """
            ).format(old=_OLD_EVENTS),
            window,
        ).fetchall()
        rows, size = rows + int(gone), size + int(bytes_)
        after += WINDOW_EVENTS
    return rows, size


def _oldest(connection: Connection) -> int:
    return int(scalar(connection, "SELECT coalesce(min(id), 1) FROM event_logs"))


def _delete_verdicts(connection: Connection, before: dict[str, object]) -> tuple[int, int]:
    rows = size = 0
    while True:
        [(gone, bytes_)] = connection.execute(
            sql.SQL(
                """
                WITH old AS MATERIALIZED ({old} LIMIT %(most)s), gone AS (
                    DELETE FROM asset_check_executions WHERE id IN (SELECT id FROM old)
                    RETURNING id
                )
                SELECT (SELECT count(*) FROM gone), (SELECT coalesce(sum(bytes), 0) FROM old)
                """
            ).format(old=_OLD_VERDICTS),
            {**before, "most": WINDOW_EVENTS},
        ).fetchall()
        if not gone:
            return rows, size
        rows, size = rows + int(gone), size + int(bytes_)


def _delete_runs(connection: Connection, before: dict[str, object]) -> tuple[int, int]:
    rows = size = 0
    while True:
        found = connection.execute(
            sql.SQL("{old} LIMIT %(most)s").format(old=_OLD_RUNS), {**before, "most": BATCH_RUNS}
        ).fetchall()
        if not found:
            return rows, size
        for run_id, bytes_ in found:
            _delete_run(connection, run_id)
            rows, size = rows + 1, size + int(bytes_ or 0)


def _delete_run(connection: Connection, run_id: str) -> None:
    """A run with its events: these first, in small transactions, so that none is left alone."""
    while True:
        [(gone,)] = connection.execute(
            """
            WITH old AS MATERIALIZED (
                SELECT id FROM event_logs WHERE run_id = %(run)s ORDER BY id LIMIT %(most)s
            ), gone AS (
                DELETE FROM event_logs WHERE id IN (SELECT id FROM old) RETURNING id
            ), tags AS (
                DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM old)
            )
            SELECT count(*) FROM gone
            """,
            {"run": run_id, "most": WINDOW_EVENTS},
        ).fetchall()
        if not gone:
            break
    with connection.transaction():
        connection.execute("DELETE FROM asset_check_executions WHERE run_id = %s", (run_id,))
        connection.execute("DELETE FROM run_tags WHERE run_id = %s", (run_id,))
        connection.execute("DELETE FROM runs WHERE run_id = %s", (run_id,))
    shutil.rmtree(compute_logs_folder(Settings.from_environment()) / run_id, ignore_errors=True)
