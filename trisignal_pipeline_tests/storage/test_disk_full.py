"""A disk that fills up in mid-run: the run says so; with room again the next one finishes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from itertools import count
from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import lasting_connection
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.storage.disturbed_run import everything_stored
from trisignal_pipeline_tests.storage.stored_bars import (
    expected_rows,
    one_row,
    store,
    table_rows,
    walk,
)

DATES = DateRange(date(2024, 1, 2), date(2024, 1, 5))
DELIVERY = walk(DATES, seed=9, share=1)
BATCH_ROWS = 500


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a disk of its own that is soon full."""
    folder = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", folder]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("this machine has no mount")
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip(f"a disk can't be mounted here: {mounted.stderr.decode().strip()}")
    folder.chmod(0o755)  # for the account that runs the server where root runs the tests
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def database_on_it(small_disk: Path) -> Iterator[Database]:
    server = EmbeddedServer(small_disk / "home")
    server.ensure_running()
    migrate(server.url())
    with psycopg.connect(server.url(), autocommit=True) as connection:
        # A new file of the log, so that it is not the log that runs out of disk.
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
    yield Database(server.url())
    server.reset()


def fill(disk: Path) -> Path:
    """A file that takes what is left of the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def test_a_full_disk_ends_the_run_and_with_room_the_next_one_finishes(
    small_disk: Path,
    database: Database,
    database_on_it: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lasting_connection, "FIRST_WAIT_SECONDS", 0.02)
    batches = count(1)

    def on_batch(_bars: int) -> None:
        if next(batches) == 2:
            fill(small_disk)

    with pytest.raises(DatabaseUnavailableError, match="No space left on device"):
        store(database_on_it, DELIVERY, DATES, batch_rows=BATCH_ROWS, on_batch=on_batch)

    (small_disk / "ballast").unlink()
    EmbeddedServer(small_disk / "home").ensure_running()
    status, inserted, removed, committed = one_row(
        database_on_it.url,
        "SELECT status, inserted_count, removed_count, batch_count FROM data_ingest_runs",
    )
    assert status in {"failed", "running"}
    assert len(table_rows(database_on_it.url, LEGACY)) == inserted - removed
    assert 2 <= committed < len(DELIVERY) / BATCH_ROWS
    assert one_row(
        database_on_it.url, "SELECT count(*) FROM bar_dates WHERE state = 'complete'"
    ) == (0,)

    store(database_on_it, DELIVERY, DATES, batch_rows=BATCH_ROWS)

    store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
    assert everything_stored(database_on_it.url) == everything_stored(database.url)
    assert table_rows(database_on_it.url, LEGACY) == expected_rows(DELIVERY, LEGACY)
