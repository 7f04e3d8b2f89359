"""Locks: one run a symbol, one reader of new files, and nothing left behind by the dead."""

from __future__ import annotations

import threading

import psycopg
import pytest

from trisignal_pipeline.errors import SymbolBusyError, TransientError
from trisignal_pipeline.storage import locks
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.locks import (
    catalogue_lock,
    hold_ingest_run,
    release_ingest_run,
    symbol_lock,
)
from trisignal_pipeline_tests.storage.stored_bars import by_hand

NQ, ES = "GLBX.MDP3:NQ", "GLBX.MDP3:ES"


def _waiting(connection: Connection) -> int:
    """How many sessions wait for an advisory lock of this database."""
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _end_sessions(database: Database, purpose: str) -> None:
    by_hand(
        database.url,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = %s",
        f"trisignal {purpose}",
    )


def test_a_symbol_is_held_by_one_run_at_a_time(database: Database) -> None:
    with (
        symbol_lock(database, NQ),
        pytest.raises(SymbolBusyError, match=r"GLBX.MDP3:NQ: another run .* within 0.05 s"),
        symbol_lock(database, NQ, patience_seconds=0.05),
    ):
        pass

    with symbol_lock(database, NQ, patience_seconds=0.05):
        pass


def test_a_busy_symbol_may_pass() -> None:
    assert issubclass(SymbolBusyError, TransientError)


def test_other_symbols_are_free_meanwhile(database: Database) -> None:
    with symbol_lock(database, NQ), symbol_lock(database, ES, patience_seconds=0.05):
        pass


def test_another_databases_symbols_are_free_meanwhile(
    database: Database, empty_database_url: str
) -> None:
    with (
        symbol_lock(database, NQ),
        symbol_lock(Database(empty_database_url), NQ, patience_seconds=0.05),
    ):
        pass


def test_a_symbol_is_free_again_after_an_error(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), symbol_lock(database, NQ):
        raise ZeroDivisionError

    with symbol_lock(database, NQ, patience_seconds=0.05):
        pass


def test_a_run_that_waits_gets_the_symbol_when_it_is_free(
    database: Database, connection: Connection
) -> None:
    got = threading.Event()

    def wait() -> None:
        with symbol_lock(database, NQ, patience_seconds=30):
            got.set()

    waiter = threading.Thread(target=wait)
    with symbol_lock(database, NQ):
        waiter.start()
        while not _waiting(connection):
            assert waiter.is_alive()
        assert not got.is_set()
    waiter.join(30)

    assert got.is_set()


def test_a_symbol_is_free_when_its_holder_dies(database: Database) -> None:
    with pytest.raises(TransientError), symbol_lock(database, NQ):  # noqa: PT012 the scene
        _end_sessions(database, "symbol lock")
        with symbol_lock(database, NQ, patience_seconds=5):
            raise TransientError


def test_a_lock_that_is_lost_is_taken_again_before_anything_is_done(database: Database) -> None:
    with symbol_lock(database, NQ) as held:
        _end_sessions(database, "symbol lock")

        answer = held.repeat(lambda again: again.execute("SELECT 42").fetchone())

        assert answer == (42,)
        assert held.losses == 1
        with pytest.raises(SymbolBusyError), symbol_lock(database, NQ, patience_seconds=0.05):
            pass


def test_nothing_is_done_once_another_run_has_taken_the_symbol(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "RETAKE_PATIENCE_SECONDS", 0.05)
    done: list[Connection] = []

    with symbol_lock(database, NQ) as held:
        _end_sessions(database, "symbol lock")
        with symbol_lock(database, NQ), pytest.raises(SymbolBusyError, match="another run"):
            held.repeat(done.append)

    assert not done


def test_the_catalogue_is_held_by_one_reader_at_a_time(
    database: Database, connection: Connection
) -> None:
    order = []

    def second() -> None:
        with catalogue_lock(database):
            order.append("second")

    waiter = threading.Thread(target=second)
    with catalogue_lock(database):
        waiter.start()
        while not _waiting(connection):
            assert waiter.is_alive()
        order.append("first")
    waiter.join(30)

    assert order == ["first", "second"]


def test_a_live_run_is_known_by_its_lock(database: Database, connection: Connection) -> None:
    with psycopg.connect(database.url, autocommit=True) as run:
        assert hold_ingest_run(run, 17)
        assert not hold_ingest_run(connection, 17)
        assert hold_ingest_run(connection, 18)
        release_ingest_run(run, 17)
        assert hold_ingest_run(connection, 17)
