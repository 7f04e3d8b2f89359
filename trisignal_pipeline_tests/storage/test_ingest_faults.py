"""A writer that is disturbed ends with the tables of one that isn't, and with a true audit."""

from __future__ import annotations

import shutil
import tempfile
from itertools import count
from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.storage import lasting_connection
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.disturbed_run import (
    BATCH_ROWS,
    BATCHES,
    DATES,
    DELIVERY,
    Left,
    require_same,
    undisturbed_run,
    write,
)
from trisignal_pipeline_tests.storage.lossy_relay import lossy
from trisignal_pipeline_tests.storage.stored_bars import one_row, store


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_connection, "FIRST_WAIT_SECONDS", 0.02)


@pytest.fixture
def undisturbed(database: Database) -> Left:
    return undisturbed_run(database)


def _retries(database: Database, run_id: int) -> int:
    [retries] = one_row(
        database.url, "SELECT retry_count FROM data_ingest_runs WHERE id = %s", run_id
    )
    return int(retries)


def _die_on_call(url: str, table: str, event: str, call: int, each: str = "STATEMENT") -> None:
    """Let the `call`-th firing of a trigger end the session that fires it, in mid-transaction.

    The calls are counted by a sequence, which no rollback sets back.
    """
    with psycopg.connect(url) as connection:
        connection.execute(
            f"""
            CREATE SEQUENCE calls;
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
                IF nextval('calls') = {call} THEN
                    PERFORM pg_terminate_backend(pg_backend_pid());
                END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER die AFTER {event} ON {table} FOR EACH {each} EXECUTE FUNCTION die();
            """
        )


@pytest.mark.parametrize("batch", range(1, BATCHES + 1))
@pytest.mark.parametrize(
    ("table", "event"), [("market_bars_ohlcv_1m", "DELETE"), ("data_ingest_runs", "UPDATE")]
)
def test_a_writer_killed_inside_a_batch_repeats_it(
    database: Database,
    undisturbed: Left,
    table: str,
    event: str,
    batch: int,
) -> None:
    _die_on_call(database.url, table, event, batch)

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 1


def test_a_writer_killed_while_it_calls_the_dates_complete_repeats_that(
    database: Database, undisturbed: Left
) -> None:
    _die_on_call(database.url, "bar_dates", "UPDATE", 2, "ROW WHEN (NEW.state = 'complete')")

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 1


def test_an_audit_killed_while_it_closes_a_success_closes_it_all_the_same(
    database: Database, undisturbed: Left
) -> None:
    _die_on_call(database.url, "data_ingest_runs", "UPDATE", BATCHES + 1)

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    require_same(database, run_id, undisturbed)
    assert one_row(
        database.url,
        "SELECT status, retry_count, last_value FROM data_ingest_runs, calls WHERE id = %s",
        run_id,
    ) == ("success", 0, BATCHES + 2)


# The symbol's lock, the audit's row in three steps, and the lock of the run come before the first
# batch; the mark on the dates and the end of the audit's row after the last one.
FIRST_BATCH = 6
COMMITS = FIRST_BATCH + BATCHES + 1


@pytest.mark.parametrize("commit", range(1, COMMITS + 1))
def test_a_batch_whose_commit_was_not_confirmed_is_not_counted_twice(
    database: Database,
    undisturbed: Left,
    commit: int,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="relay-"))  # of a length that a socket's name can have
    with lossy(database.url, folder, lose=commit) as (url, relay):
        run_id = store(Database(url), DELIVERY, DATES, batch_rows=BATCH_ROWS)
    shutil.rmtree(folder)

    assert relay.lost == 1
    require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == (FIRST_BATCH <= commit < COMMITS)


def test_a_writer_killed_between_batches_goes_on(database: Database, undisturbed: Left) -> None:
    batches = count(1)

    def end_the_writer(_bars: int) -> None:
        if next(batches) in (2, 3):
            with psycopg.connect(database.url) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE "
                    "datname = current_database() AND application_name = 'trisignal symbol lock'"
                )

    run_id = write(database, end_the_writer)

    require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 2
