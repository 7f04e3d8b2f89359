"""A run that is disturbed ends with the same tables as one that isn't, and with a true audit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import ingest
from trisignal_pipeline.storage.audit import close_stale_runs, ingest_run
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.storage.lossy_relay import lossy
from trisignal_pipeline_tests.storage.stored_bars import (
    NQ,
    all_rows,
    delivered,
    expected_rows,
    one_row,
    store,
    table_rows,
    walk,
)

DATES = DateRange(date(2023, 12, 30), date(2024, 1, 2))
BEFORE = walk(DATES, seed=1, share=0.004)
# Of what was there a third stays, a third is corrected, a third is gone; and there is more.
DELIVERY = sorted(
    {
        row.ts: row
        for row in (
            *walk(DATES, seed=2, share=0.004),
            *BEFORE[::3],
            *(row._replace(volume=row.volume + 1) for row in BEFORE[1::3]),
        )
    }.values()
)
BATCH_ROWS = 11
BATCHES = -(-len(DELIVERY) // BATCH_ROWS)

AUDITED = (
    "row_count, inserted_count, updated_count, unchanged_count, rejected_count, removed_count, "
    "batch_count, min_ts, max_ts, rejected_by_rule"
)
DATED = "date, layer, state, bar_count, rejected_count, contract, first_ts, last_ts, fingerprint"

Everything = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "FIRST_WAIT_SECONDS", 0.02)


def _stored(url: str) -> Everything:
    """All there is of bars and dates, but for ids and times."""
    return table_rows(url, LEGACY), all_rows(url, f"SELECT {DATED} FROM bar_dates ORDER BY date")


def _audit(url: str, run_id: int) -> tuple[Any, ...]:
    return one_row(url, f"SELECT {AUDITED} FROM data_ingest_runs WHERE id = %s", run_id)


_KNOWN: list[tuple[Everything, tuple[Any, ...]]] = []


@pytest.fixture
def undisturbed(database: Database) -> tuple[Everything, tuple[Any, ...]]:
    """What a run leaves that nothing disturbs; the database is in the state before it."""
    store(database, BEFORE, DATES)
    if not _KNOWN:
        run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
        stored, audit = _stored(database.url), _audit(database.url, run_id)
        assert stored[0] == expected_rows(DELIVERY, LEGACY)
        assert 0 not in (*audit[1:4], audit[5]), "rows of every kind are needed"
        _KNOWN.append((stored, audit))
        store(database, BEFORE, DATES)
    return _KNOWN[0]


def _require_same(
    database: Database, run_id: int, undisturbed: tuple[Everything, tuple[Any, ...]]
) -> None:
    stored, audit = undisturbed
    assert _stored(database.url) == stored
    assert _audit(database.url, run_id) == audit


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
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
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
    undisturbed: tuple[Everything, tuple[Any, ...]],
    table: str,
    event: str,
    batch: int,
) -> None:
    _die_on_call(database.url, table, event, batch)

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    _require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 1


def test_a_writer_killed_while_it_calls_the_dates_complete_repeats_that(
    database: Database, undisturbed: tuple[Everything, tuple[Any, ...]]
) -> None:
    _die_on_call(database.url, "bar_dates", "UPDATE", 2, "ROW WHEN (NEW.state = 'complete')")

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    _require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 1


def test_an_audit_killed_while_it_closes_a_success_closes_it_all_the_same(
    database: Database, undisturbed: tuple[Everything, tuple[Any, ...]]
) -> None:
    _die_on_call(database.url, "data_ingest_runs", "UPDATE", BATCHES + 1)

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    _require_same(database, run_id, undisturbed)
    assert one_row(
        database.url,
        "SELECT status, retry_count, last_value FROM data_ingest_runs, calls WHERE id = %s",
        run_id,
    ) == ("success", 0, BATCHES + 2)


@pytest.mark.parametrize("batch", range(1, BATCHES + 2))
def test_a_batch_whose_commit_was_not_confirmed_is_not_counted_twice(
    database: Database,
    undisturbed: tuple[Everything, tuple[Any, ...]],
    batch: int,
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="relay-"))  # of a length that a socket's name can have
    with lossy(database.url, folder, lose=batch) as (url, relay):
        run_id = store(Database(url), DELIVERY, DATES, batch_rows=BATCH_ROWS)
    shutil.rmtree(folder)

    assert relay.lost == 1
    _require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 1


def test_a_writer_killed_between_batches_goes_on(
    database: Database, undisturbed: tuple[Everything, tuple[Any, ...]]
) -> None:
    batches = count(1)

    def end_the_writer(_bars: int) -> None:
        if next(batches) in (2, 3):
            with psycopg.connect(database.url) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE "
                    "datname = current_database() AND application_name = 'trisignal bars writer'"
                )

    run_id = _write(database, end_the_writer)

    _require_same(database, run_id, undisturbed)
    assert _retries(database, run_id) == 2


def _write(database: Database, on_batch: Any) -> int:
    with ingest_run(
        database,
        asset="legacy_bars",
        symbol=NQ,
        dates=DATES,
        source="dbn_files",
        dataset="GLBX.MDP3",
    ) as run:
        write_range(
            database,
            run,
            LEGACY,
            NQ,
            DATES,
            delivered(DELIVERY),
            source="legacy",
            batch_rows=BATCH_ROWS,
            on_batch=on_batch,
        )
    return run.id


class _CrashingServer:
    """A server of one's own, that can be stopped the way a power cut does it."""

    def __init__(self, home: Path) -> None:
        self.server = EmbeddedServer(home)
        self.server.ensure_running()
        self.database = Database(self.server.url())
        migrate(self.database.url)

    def crash(self) -> None:
        """Stop at once, without a checkpoint: what wasn't in the write-ahead log is lost."""
        pid = self.server.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        while self.server.status().pid is not None:
            pass


@pytest.fixture(scope="module")
def crashing() -> Iterator[_CrashingServer]:
    home = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    home.chmod(0o755)  # for the account that runs the server where root runs the tests
    crashing = _CrashingServer(home / "home")
    yield crashing
    crashing.server.reset()
    shutil.rmtree(home)


def test_a_server_that_crashes_and_comes_back_in_mid_run_goes_unnoticed(
    database: Database,
    undisturbed: tuple[Everything, tuple[Any, ...]],
    crashing: _CrashingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "FIRST_WAIT_SECONDS", 0.2)
    store(crashing.database, BEFORE, DATES)
    batches = count(1)
    restarts: list[threading.Thread] = []
    marked: list[list[int]] = []

    def crash(_bars: int) -> None:
        batch = next(batches)
        if batch == 2:
            crashing.crash()
            restarts.append(threading.Thread(target=crashing.server.ensure_running))
            restarts[0].start()
        elif batch == 3:
            # The run is known to be alive again, though the lock of its audit died with the server.
            with crashing.database.connect("test", autocommit=True) as connection:
                marked.append(close_stale_runs(connection))

    run_id = _write(crashing.database, crash)
    restarts[0].join()

    _require_same(crashing.database, run_id, undisturbed)
    assert marked == [[]]
    assert one_row(
        crashing.database.url,
        "SELECT status, error, retry_count FROM data_ingest_runs WHERE id = %s",
        run_id,
    ) == ("success", None, 1)


def test_a_server_that_stays_away_leaves_a_run_for_the_next_start_to_close(
    database: Database,
    undisturbed: tuple[Everything, tuple[Any, ...]],
    crashing: _CrashingServer,
) -> None:
    store(crashing.database, BEFORE, DATES)
    batches = count(1)

    def crash(_bars: int) -> None:
        if next(batches) == 2:
            crashing.crash()

    with pytest.raises(DatabaseUnavailableError, match="can't be reached"):
        _write(crashing.database, crash)

    crashing.server.ensure_running()
    status = "SELECT status, batch_count FROM data_ingest_runs ORDER BY id DESC LIMIT 2"
    assert all_rows(crashing.database.url, status)[0] == ("running", 2)
    run_id = store(crashing.database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
    assert all_rows(crashing.database.url, status) == [("success", BATCHES), ("failed", 2)]
    assert _stored(crashing.database.url) == undisturbed[0]
    # What the first run had committed is unchanged to the second one.
    assert _audit(crashing.database.url, run_id)[0] == len(DELIVERY)


WRITE = """
import sys
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.test_ingest_faults import write_aloud
write_aloud(Database(sys.argv[1]))
"""


def write_aloud(database: Database) -> None:
    """Write the delivery, and say so after every batch."""
    _write(database, lambda _bars: print("a batch", flush=True))  # noqa: T201 to another process


@pytest.fixture
def writer(database: Database) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, database.url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        yield process
        process.kill()


def _require_end_of_sessions(database: Database) -> None:
    """Wait until the server has noticed that the writer is dead."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        while connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name LIKE 'trisignal %'"
        ).fetchall():
            pass


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_what_it_committed_and_the_next_run_finishes(
    database: Database,
    undisturbed: tuple[Everything, tuple[Any, ...]],
    writer: subprocess.Popen[str],
    seed: int,
) -> None:
    assert writer.stdout is not None
    for _ in range(random.Random(seed).randrange(1, BATCHES)):
        assert writer.stdout.readline() == "a batch\n"
    writer.kill()
    writer.wait()
    _require_end_of_sessions(database)

    dead, status, read, *counts = one_row(
        database.url,
        "SELECT id, status, row_count, inserted_count, updated_count, unchanged_count, "
        "removed_count, batch_count FROM data_ingest_runs ORDER BY id DESC LIMIT 1",
    )
    assert status == "running"
    inserted, updated, unchanged, removed, batches = counts
    assert read == inserted + updated + unchanged
    assert read == min(batches * BATCH_ROWS, len(DELIVERY))
    assert len(table_rows(database.url, LEGACY)) == len(BEFORE) + inserted - removed

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    assert _stored(database.url) == undisturbed[0]
    assert one_row(database.url, "SELECT status FROM data_ingest_runs WHERE id = %s", dead) == (
        "failed",
    )
    _, again_inserted, again_updated, again_unchanged, *_ = _audit(database.url, run_id)
    whole = undisturbed[1]
    assert inserted + again_inserted == whole[1]
    assert updated + again_updated == whole[2]
    assert again_unchanged == len(DELIVERY) - again_inserted - again_updated


def test_a_process_killed_inside_a_transaction_leaves_nothing_of_it(
    database: Database,
    undisturbed: tuple[Everything, tuple[Any, ...]],
    writer: subprocess.Popen[str],
) -> None:
    before = _stored(database.url)
    with (
        psycopg.connect(database.url) as gate,
        psycopg.connect(database.url, autocommit=True) as watch,
    ):
        gate.execute("LOCK TABLE bar_dates")
        # The writer has replaced the first batch of bars, and waits to mark their dates.
        while not watch.execute(
            "SELECT FROM pg_locks WHERE NOT granted AND relation = 'bar_dates'::regclass"
        ).fetchall():
            assert writer.poll() is None
        writer.kill()
        writer.wait()
    _require_end_of_sessions(database)

    assert _stored(database.url) == before
    assert one_row(
        database.url,
        "SELECT status, row_count, batch_count FROM data_ingest_runs ORDER BY id DESC LIMIT 1",
    ) == ("running", 0, 0)
    store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
    assert _stored(database.url) == undisturbed[0]


def test_a_live_run_of_another_process_is_never_marked(
    database: Database, writer: subprocess.Popen[str]
) -> None:
    with psycopg.connect(database.url) as gate:
        gate.execute("LOCK TABLE bar_dates")
        with database.connect("test", autocommit=True) as connection:
            while not connection.execute("SELECT FROM data_ingest_runs").fetchall():
                assert writer.poll() is None
            connection.execute("UPDATE data_ingest_runs SET started_at = '2001-01-01'")
            assert close_stale_runs(connection) == []
        gate.rollback()
    assert writer.wait(30) == 0

    assert all_rows(database.url, "SELECT status FROM data_ingest_runs") == [("success",)]
