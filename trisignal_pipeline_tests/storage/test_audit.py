"""The audit: a row for every range, closed whatever happens, and saying what is true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from trisignal_pipeline.errors import TransientError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import lasting_connection
from trisignal_pipeline.storage.audit import (
    MOST_ERROR_CHARACTERS,
    IngestFile,
    IngestRun,
    close_stale_runs,
    ingest_run,
)
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.replacement import Written
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    all_rows,
    bar,
    days_from,
    delivered,
    one_row,
    store,
    table_rows,
)

WEEK = days_from(DAY, 5)


def _run(database: Database, **other: Any) -> AbstractContextManager[IngestRun]:
    return ingest_run(
        database,
        **{
            "asset": "legacy_bars",
            "symbol": NQ,
            "dates": WEEK,
            "source": "dbn_files",
            "dataset": "GLBX.MDP3",
            **other,
        },
    )


def _row(database: Database, *columns: str) -> tuple[Any, ...]:
    return one_row(database.url, f"SELECT {', '.join(columns)} FROM data_ingest_runs")


def _end_sessions(database: Database, purpose: str) -> None:
    """End the sessions that were opened for `purpose`, and wait until they are gone."""
    with psycopg.connect(database.url) as other:
        ended = other.execute(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = %s",
            (f"trisignal {purpose}",),
        ).fetchone()
    assert ended is not None
    assert ended[0] > 0


def test_a_run_is_there_before_its_first_bar(database: Database) -> None:
    files = [IngestFile("a.dbn.zst", "f00"), IngestFile("b.dbn", "ba7")]

    with _run(database, files=files, dagster_run_id="d1"):
        assert _row(
            database, "status", "vendor", "dataset", "file_name", "file_sha256", "asset", "symbol",
            "start_date", "end_date", "source", "dagster_run_id", "finished_at", "error",
        ) == (
            "running", "databento", "GLBX.MDP3", "a.dbn.zst, b.dbn", "f00, ba7", "legacy_bars", NQ,
            WEEK.start, WEEK.end, "dbn_files", "d1", None, None,
        )  # fmt: skip


def test_a_run_that_ends_well_is_a_success(database: Database) -> None:
    with _run(database) as run:
        pass

    assert _row(database, "id", "status", "error") == (run.id, "success", None)
    started, finished = _row(database, "started_at", "finished_at")
    assert timedelta() < finished - started < timedelta(minutes=1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_run_left_by_any_exception_has_failed(
    database: Database, error: type[BaseException]
) -> None:
    with pytest.raises(error, match="in the way"), _run(database):
        raise error("something in the way")

    assert _row(database, "status", "error", "finished_at IS NOT NULL") == (
        "failed",
        f"{error.__name__}: something in the way",
        True,
    )


def test_what_was_committed_before_a_failure_is_counted(database: Database) -> None:
    class TooMuchError(Exception):
        pass

    def stop_after_the_second(_bars: int) -> None:
        if len(table_rows(database.url, LEGACY)) == 4:
            raise TooMuchError

    with (
        pytest.raises(TooMuchError),
        symbol_lock(database, NQ) as held,
        _run(database) as run,
    ):
        write_range(
            held,
            run,
            LEGACY,
            WEEK,
            delivered(bar(minute) for minute in range(10)),
            source="dbn_files",
            batch_rows=2,
            on_batch=stop_after_the_second,
        )

    assert _row(database, "status", "row_count", "inserted_count", "batch_count") == (
        "failed",
        4,
        4,
        2,
    )
    assert all_rows(database.url, "SELECT DISTINCT state FROM bar_dates") == [("writing",)]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            "can't connect to postgresql://u:hunter2@db/x",
            "can't connect to postgresql://u:***@db/x",
        ),
        ("the server said:\n  no", "the server said: no"),
        ("a name like \udcff.dbn", "a name like ?.dbn"),
        ("a zero \0 byte", "a zero ? byte"),
    ],
)
def test_the_error_is_masked_and_made_text_of_one_line(
    database: Database, error: str, shown: str
) -> None:
    with pytest.raises(ValueError, match=r".+"), _run(database):
        raise ValueError(error)

    assert _row(database, "error") == (f"ValueError: {shown}",)


def test_the_databases_own_password_is_masked(database: Database) -> None:
    with_password = Database(database.url.replace("trisignal@", "trisignal:hunter2@", 1))
    assert with_password != database

    with pytest.raises(ValueError, match="hunter2"), _run(with_password):
        raise ValueError("the password hunter2 was refused by postgresql://trisignal:hunter2@db")

    assert _row(database, "error") == (
        "ValueError: the password *** was refused by postgresql://trisignal:***@db",
    )


def test_a_long_error_is_cut(database: Database) -> None:
    with pytest.raises(ValueError, match="x"), _run(database):
        raise ValueError("x" * 10_000)

    [error] = _row(database, "error")
    assert len(error) == MOST_ERROR_CHARACTERS


def test_a_failed_transaction_of_the_writer_leaves_the_audit_standing(
    database: Database, connection: Connection
) -> None:
    with (  # noqa: PT012 what fails is the second statement
        pytest.raises(psycopg.errors.DivisionByZero),
        _run(database) as run,
        connection.transaction(),
    ):
        run.count_retry(connection)
        connection.execute("SELECT 1 / 0")

    assert _row(database, "status", "retry_count") == ("failed", 0)


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failed"])
def test_a_run_is_closed_on_a_new_connection_where_its_own_was_lost(
    database: Database, fails: bool
) -> None:
    @contextmanager
    def expected() -> Iterator[None]:
        if fails:
            with pytest.raises(ZeroDivisionError):
                yield
        else:
            yield

    with expected(), _run(database):
        _end_sessions(database, "audit")
        if fails:
            raise ZeroDivisionError

    assert _row(database, "status") == ("failed" if fails else "success",)


def test_a_success_must_account_for_every_row(database: Database) -> None:
    with (
        pytest.raises(psycopg.errors.CheckViolation, match="accounts_for"),
        _run(database) as run,
        psycopg.connect(database.url) as other,
    ):
        other.execute("UPDATE data_ingest_runs SET row_count = 1 WHERE id = %s", (run.id,))

    assert _row(database, "status") == ("running",)
    with database.connect("test", autocommit=True) as connection:
        assert close_stale_runs(connection) == [run.id]


def _abandon(database: Database, **other: Any) -> int:
    """A run whose process was killed: its session is gone, its row was not closed."""
    with psycopg.connect(database.url) as plain:
        row = plain.execute(
            "INSERT INTO data_ingest_runs (asset, symbol, status, row_count, inserted_count, "
            "started_at) VALUES ('legacy_bars', %s, 'running', 4, 4, %s) RETURNING id",
            (NQ, other.get("started_at", "now")),
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_the_next_run_marks_a_dead_one_as_failed_and_keeps_its_counts(database: Database) -> None:
    dead = _abandon(database)

    with _run(database, symbol="GLBX.MDP3:ES"):
        assert one_row(
            database.url,
            "SELECT status, row_count, left(error, 6), finished_at >= started_at "
            "FROM data_ingest_runs WHERE id = %s",
            dead,
        ) == ("failed", 4, "stale:", True)


def test_a_dead_run_is_marked_once(connection: Connection, database: Database) -> None:
    dead = _abandon(database)

    assert close_stale_runs(connection) == [dead]
    assert close_stale_runs(connection) == []


def test_a_live_run_is_never_marked_however_long_it_takes(database: Database) -> None:
    with _run(database) as alive:
        with psycopg.connect(database.url) as other:
            other.execute("UPDATE data_ingest_runs SET started_at = now() - interval '9 days'")
        dead = _abandon(database)

        store(database, [bar(0)], WEEK)

        statuses = dict(all_rows(database.url, "SELECT id, status FROM data_ingest_runs"))
        assert statuses.pop(alive.id) == "running"
        assert statuses.pop(dead) == "failed"
        assert list(statuses.values()) == ["success"]
    assert one_row(
        database.url, "SELECT status, error FROM data_ingest_runs WHERE id = %s", alive.id
    ) == ("success", None)


def test_closed_runs_are_not_touched_again(connection: Connection, database: Database) -> None:
    with _run(database):
        pass
    with pytest.raises(ZeroDivisionError), _run(database):
        raise ZeroDivisionError
    before = all_rows(database.url, "SELECT * FROM data_ingest_runs ORDER BY id")

    assert close_stale_runs(connection) == []
    assert all_rows(database.url, "SELECT * FROM data_ingest_runs ORDER BY id") == before


def test_a_run_marked_as_dead_by_mistake_still_tells_the_truth_in_the_end(
    database: Database, connection: Connection
) -> None:
    with _run(database):
        # A session that is lost takes its lock with it, though the process lives.
        _end_sessions(database, "audit")
        assert len(close_stale_runs(connection)) == 1

    assert _row(database, "status", "error") == ("success", None)


def test_counts_add_up_over_batches(database: Database, connection: Connection) -> None:
    with _run(database) as run:
        run.count(connection, Written(1, 2, 3, 4), {"A": 1, "B": 2}, 2, (120, 240))
        run.count(connection, Written(5, 0, 0, 0), {"B": 1}, 1, None)
        run.count(connection, Written(), {}, 0, (60 * 10**9, 10 * 60 * 10**9))
        written, batches = run.written(connection), run.batches(connection)

    assert (written.inserted, written.updated, written.unchanged, written.removed) == (6, 2, 3, 4)
    assert batches == 3
    assert _row(database, "row_count", "rejected_count", "rejected_by_rule") == (
        14,
        3,
        {"A": 1, "B": 3},
    )


def test_a_batch_that_is_rolled_back_is_not_counted(
    database: Database, connection: Connection
) -> None:
    with _run(database) as run:
        with pytest.raises(ZeroDivisionError), connection.transaction():  # noqa: PT012
            run.count(connection, Written(1, 2, 3, 4), {}, 0, None)
            raise ZeroDivisionError
        assert run.batches(connection) == 0


def test_an_audit_that_cannot_be_opened_lets_nothing_be_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting_connection, "FIRST_WAIT_SECONDS", 0.02)
    begun = []
    gone = Database(database.url.replace("/test_", "/gone_"))

    with pytest.raises(TransientError, match="does not exist"), _run(gone) as run:
        begun.append(run)

    assert begun == []


def test_dates_of_a_run_are_those_it_was_asked_for(database: Database) -> None:
    day = DateRange(DAY, DAY)

    store(database, [], day)

    assert _row(database, "start_date", "end_date", "row_count") == (DAY, DAY, 0)
