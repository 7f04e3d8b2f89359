"""Connections: what the server's errors are called, and what of a URL is never said."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    TableLockedError,
    TrisignalError,
)
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Connection, Database, rows, scalar
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    all_rows,
    bar,
    days_from,
    one_row,
    store,
    table_rows,
)


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_an_unreachable_server_is_said_at_once_and_without_the_password(closed_port: int) -> None:
    database = Database(f"postgresql://trader:hunter2@127.0.0.1:{closed_port}/prices")
    started = time.monotonic()

    with (
        pytest.raises(DatabaseUnavailableError, match=r"prices at 127.0.0.1.*check that") as error,
        database.connect("test"),
    ):
        pass

    assert time.monotonic() - started < 5
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(error.value.__cause__)
    assert "\n" not in str(error.value)


def test_a_database_that_does_not_exist_is_named(server: EmbeddedServer) -> None:
    with (
        pytest.raises(DatabaseUnavailableError, match='database "nowhere" does not exist'),
        Database(server.url("nowhere")).connect("test"),
    ):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://trader:hunter2@localhost/prices?nonsense=1",
        "postgresql://trader:hunter2%zz@localhost/prices",
        "postgresql://trader:hunter2@[::1/prices",
        "postgresql://trader:hunter2 and more@localhost/prices",
    ],
)
def test_what_is_no_url_is_a_matter_of_configuration(url: str) -> None:
    with (
        pytest.raises(ConfigurationError, match="TRISIGNAL_DATABASE_URL is not a") as error,
        Database(url).connect("test"),
    ):
        pass

    assert "hunter2" not in str(error.value)


def test_a_database_does_not_print_its_url() -> None:
    database = Database("postgresql://trader:hunter2@localhost/prices")

    assert "hunter2" not in repr(database)
    assert database.place() == "prices at localhost"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://trader:hun%20zzz@db/prices",
        "postgres://trader:hun%20zzz@db:5432/prices",
        "postgresql://db/prices?user=trader&password=hun%20zzz",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "the password is hun zzz",
        "could not open postgresql://trader:hun%20zzz@db/prices",
        "could not open postgresql+psycopg2://trader:hun%20zzz@db/dagster",
        "another one's postgres://someone:hun%20@zzz@db/prices",
        "connection string 'host=db password=hun%20zzz dbname=prices'",
        "connection string \"host=db password='hun \\' zzz' dbname=prices\"",
    ],
)
def test_a_password_is_masked_wherever_it_stands(url: str, text: str) -> None:
    masked = Database(url).masked(text)

    assert "***" in masked
    assert "hun" not in masked
    assert "zzz" not in masked


def test_text_without_a_password_stays_as_it_is_in_one_line() -> None:
    database = Database("postgresql://db/prices")

    assert database.masked("no row\n\tfor\nNQ") == "no row for NQ"


@given(st.text())
def test_masking_takes_any_text(text: str) -> None:
    assert "hunter2" not in Database("postgresql://a:hunter2@b/c").masked(f"{text}hunter2{text}")


def test_a_session_is_named_and_speaks_utc(database: Database) -> None:
    with database.connect("proof of life") as connection:
        assert scalar(connection, "SHOW application_name") == "trisignal proof of life"
        assert scalar(connection, "SHOW TimeZone") == "UTC"


def test_what_was_done_is_committed_at_the_end(database: Database) -> None:
    with database.connect("test") as connection:
        connection.execute("UPDATE symbol_registry SET rank = 1")

    assert all_rows(database.url, "SELECT DISTINCT rank FROM symbol_registry") == [(1,)]


def test_what_failed_is_rolled_back_and_closed(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.connect("test") as connection:  # noqa: PT012
        connection.execute("UPDATE symbol_registry SET rank = 1")
        raise ZeroDivisionError

    assert connection.closed
    assert all_rows(database.url, "SELECT DISTINCT rank FROM symbol_registry") == [(0,)]


def test_a_lost_connection_may_pass(database: Database) -> None:
    with (
        pytest.raises(DatabaseUnavailableError, match=r"lost .*nothing is counted twice"),
        Database(database.url, role=None).connect("test", autocommit=True) as connection,
    ):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_deadlock_is_not_called_a_lost_connection(database: Database) -> None:
    with (
        pytest.raises(DatabaseUnavailableError, match=r"the database gave up .*deadlock"),
        database.connect("test") as connection,
    ):
        connection.execute("DO $$ BEGIN RAISE deadlock_detected USING MESSAGE = 'deadlock'; END $$")


def test_a_mistake_in_sql_is_not_called_a_lost_connection(database: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), database.connect("test") as connection:
        connection.execute("SELECT * FROM nowhere")


def test_rows_are_mappings_and_a_missing_scalar_is_none(connection: Connection) -> None:
    assert rows(connection, "SELECT %s AS a, %s AS b", 1, "x") == [{"a": 1, "b": "x"}]
    assert rows(connection, "SELECT %(b)s AS a", b=2) == [{"a": 2}]
    assert scalar(connection, "SELECT 1 WHERE false") is None


def test_settings_name_the_database(database: Database, server: EmbeddedServer) -> None:
    own = Settings(home=server.home, raw_dir=server.home, database_url=database.url)
    embedded = Settings(home=server.home, raw_dir=server.home)

    assert Database.for_settings(own) == database
    assert Database.for_settings(embedded).url == server.url()


@contextmanager
def _locked(database: Database, statement: str) -> Iterator[int]:
    """Another program holds a lock; the number of its process is yielded."""
    with psycopg.connect(database.url, application_name="a tool of the admin") as other:
        other.execute(statement)
        yield other.info.backend_pid
        other.rollback()


IMPATIENT_SECONDS = 0.1


def _impatient(database: Database) -> Database:
    return Database(database.url, lock_timeout_seconds=IMPATIENT_SECONDS)


@pytest.mark.parametrize("table", ["market_bars_ohlcv_1m", "bar_dates"])
def test_a_run_gives_up_on_a_locked_table_and_says_who_holds_it(
    database: Database, table: str
) -> None:
    store(database, [bar(0)], days_from(DAY, 1))

    with (
        _locked(database, f"LOCK TABLE {table}") as pid,
        pytest.raises(TableLockedError) as error,
    ):
        store(_impatient(database), [bar(0), bar(1)], days_from(DAY, 1))

    assert not isinstance(error.value, DatabaseUnavailableError)  # which would be tried again
    said = str(error.value)
    assert f"table {table} is locked by process {pid} (a tool of the admin; to end it: " in said
    assert f"SELECT pg_terminate_backend({pid})) for longer than 0.1 s" in said
    audited = all_rows(database.url, "SELECT status, row_count, error FROM data_ingest_runs")
    assert audited[1] == ("failed", 0, f"TableLockedError: {said}")
    assert len(table_rows(database.url, LEGACY)) == 1

    store(_impatient(database), [bar(0), bar(1)], days_from(DAY, 1))
    assert len(table_rows(database.url, LEGACY)) == 2


def test_a_run_gives_up_on_a_locked_row(database: Database) -> None:
    store(database, [bar(0)], days_from(DAY, 1))

    with (
        _locked(database, "UPDATE market_bars_ohlcv_1m SET volume = 0") as pid,
        pytest.raises(TableLockedError, match=rf"market_bars_ohlcv_1m is locked by process {pid}"),
    ):
        store(_impatient(database), [bar(0, volume=1)], days_from(DAY, 1))

    assert [row[5] for row in table_rows(database.url, LEGACY)] == [7]


def test_a_locked_audit_lets_no_run_begin(database: Database) -> None:
    with (
        _locked(database, "LOCK TABLE data_ingest_runs"),
        pytest.raises(TableLockedError, match="table data_ingest_runs is locked"),
    ):
        store(_impatient(database), [bar(0)], days_from(DAY, 1))

    assert one_row(database.url, "SELECT count(*) FROM data_ingest_runs") == (0,)
    assert table_rows(database.url, LEGACY) == []


def test_an_audit_locked_in_mid_run_does_not_hide_the_error(database: Database) -> None:
    with (  # noqa: PT012 the lock comes after the run has begun
        pytest.raises(ZeroDivisionError),
        psycopg.connect(database.url) as other,
        ingest_run(
            _impatient(database),
            asset="legacy_bars",
            symbol=NQ,
            dates=days_from(DAY, 1),
            source="dbn_files",
            dataset="GLBX.MDP3",
        ),
    ):
        other.execute("LOCK TABLE data_ingest_runs")
        raise ZeroDivisionError

    assert all_rows(database.url, "SELECT status FROM data_ingest_runs") == [("running",)]


def test_nobody_waits_for_ever_unless_told_to(database: Database) -> None:
    with database.connect("test") as connection:
        assert scalar(connection, "SHOW lock_timeout") == "1min"


def test_an_error_of_ours_passes_through_unchanged(database: Database) -> None:
    ours = TrisignalError("as it was")

    with pytest.raises(TrisignalError) as error, database.connect("test"):
        raise ours

    assert error.value is ours
