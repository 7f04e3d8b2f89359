"""Servers that crash and processes that are killed in mid-run: nothing lost, nothing twice."""

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
from itertools import count
from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.storage import lasting_connection
from trisignal_pipeline.storage.audit import close_stale_runs
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.storage.disturbed_run import (
    BATCH_ROWS,
    BATCHES,
    BEFORE,
    DATES,
    DELIVERY,
    GOOD,
    Left,
    audited,
    everything_stored,
    put_back,
    require_same,
    undisturbed_run,
    write,
)
from trisignal_pipeline_tests.storage.stored_bars import all_rows, one_row, store, table_rows


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_connection, "FIRST_WAIT_SECONDS", 0.02)


@pytest.fixture
def undisturbed(database: Database) -> Left:
    return undisturbed_run(database)


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
    undisturbed: Left,
    crashing: _CrashingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lasting_connection, "FIRST_WAIT_SECONDS", 0.2)
    put_back(crashing.database)
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

    run_id = write(crashing.database, crash)
    restarts[0].join()

    require_same(crashing.database, run_id, undisturbed)
    assert marked == [[]]
    assert one_row(
        crashing.database.url,
        "SELECT status, error, retry_count FROM data_ingest_runs WHERE id = %s",
        run_id,
    ) == ("success", None, 1)


def test_a_server_that_stays_away_leaves_a_run_for_the_next_start_to_close(
    database: Database,
    undisturbed: Left,
    crashing: _CrashingServer,
) -> None:
    put_back(crashing.database)
    batches = count(1)

    def crash(_bars: int) -> None:
        if next(batches) == 2:
            crashing.crash()

    with pytest.raises(DatabaseUnavailableError, match="can't be reached"):
        write(crashing.database, crash)

    crashing.server.ensure_running()
    status = "SELECT status, batch_count FROM data_ingest_runs ORDER BY id DESC LIMIT 2"
    assert all_rows(crashing.database.url, status)[0] == ("running", 2)
    run_id = store(crashing.database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
    assert all_rows(crashing.database.url, status) == [("success", BATCHES), ("failed", 2)]
    assert everything_stored(crashing.database.url) == undisturbed[0]
    # What the first run had committed is unchanged to the second one.
    assert audited(crashing.database.url, run_id)[0] == len(DELIVERY)


WRITE = """
import sys
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.disturbed_run import write_aloud
write_aloud(Database(sys.argv[1]))
"""


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
    undisturbed: Left,
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
        "removed_count, rejected_count, batch_count FROM data_ingest_runs ORDER BY id DESC LIMIT 1",
    )
    assert status == "running"
    inserted, updated, unchanged, removed, rejected, batches = counts
    assert read == inserted + updated + unchanged + rejected
    assert read == min(batches * BATCH_ROWS, len(DELIVERY))
    assert len(everything_stored(database.url)[2]) == rejected
    assert len(table_rows(database.url, LEGACY)) == len(BEFORE) + inserted - removed

    run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    assert everything_stored(database.url) == undisturbed[0]
    assert one_row(database.url, "SELECT status FROM data_ingest_runs WHERE id = %s", dead) == (
        "failed",
    )
    _, again_inserted, again_updated, again_unchanged, *_ = audited(database.url, run_id)
    whole = undisturbed[1]
    assert inserted + again_inserted == whole[1]
    assert updated + again_updated == whole[2]
    assert again_unchanged == len(GOOD) - again_inserted - again_updated


def test_a_process_killed_inside_a_transaction_leaves_nothing_of_it(
    database: Database,
    undisturbed: Left,
    writer: subprocess.Popen[str],
) -> None:
    before = everything_stored(database.url)
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

    assert everything_stored(database.url) == before
    assert one_row(
        database.url,
        "SELECT status, row_count, batch_count FROM data_ingest_runs ORDER BY id DESC LIMIT 1",
    ) == ("running", 0, 0)
    store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
    assert everything_stored(database.url) == undisturbed[0]


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
