"""Advisory locks: who works on what. The server drops them when the holder dies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg

from trisignal_pipeline.errors import SymbolBusyError, TableLockedError
from trisignal_pipeline.storage.connection import Connection, Database, scalar, set_lock_timeout
from trisignal_pipeline.storage.lasting_connection import LastingConnection

# The first of the two keys of an advisory lock says what the second one is. 0x7516_0000 is the lock
# of migrations, 0x7516_0010 that of ensure_time_partitions.
_SYMBOL = 0x7516_0001
_INGEST_RUN = 0x7516_0002
_CATALOGUE = 0x7516_0003

DEFAULT_PATIENCE_SECONDS = 600
RETAKE_PATIENCE_SECONDS = 10


class HeldSymbol(LastingConnection):
    """The connection that holds a symbol's lock.

    What is written through it is written under the lock: one can't be lost without the other. A
    new connection takes the lock again before it does anything.
    """

    def __init__(self, database: Database, symbol: str) -> None:
        super().__init__(database, "symbol lock")
        self.symbol = symbol


@contextmanager
def symbol_lock(
    database: Database, symbol: str, patience_seconds: float = DEFAULT_PATIENCE_SECONDS
) -> Iterator[HeldSymbol]:
    """Hold `symbol` so that no other run changes its bars or signals meanwhile.

    Raises:
        SymbolBusyError: another run still held it after `patience_seconds`; or, here and in any
            work done later, another run took it while the connection was lost.
        DatabaseUnavailableError: the server can't be reached.
    """
    held = HeldSymbol(database, symbol)
    patience = patience_seconds

    def take(connection: Connection) -> None:
        key = scalar(connection, "SELECT hashtext(%s)", symbol)
        try:
            _wait_for(connection, _SYMBOL, key, patience)
        except psycopg.errors.LockNotAvailable:
            raise SymbolBusyError(
                f"{symbol}: another run is working on this symbol and did not finish within "
                f"{patience:g} s; run the same again once it has"
            ) from None
        set_lock_timeout(connection, database.lock_timeout_seconds)

    try:
        held.open()
        with held.prepared(take):
            # Long enough for a server to notice that the old connection is dead.
            patience = min(patience_seconds, RETAKE_PATIENCE_SECONDS)
            yield held
    finally:
        held.close()


@contextmanager
def catalogue_lock(database: Database) -> Iterator[None]:
    """Hold the catalogue of raw files, so that two runs don't read the same new file twice.

    Raises:
        TableLockedError: another run was still reading files after ten minutes.
    """
    with database.connect("catalogue lock", autocommit=True) as connection:
        try:
            _wait_for(connection, _CATALOGUE, 0, DEFAULT_PATIENCE_SECONDS)
        except psycopg.errors.LockNotAvailable:
            raise TableLockedError(
                "another run has been reading new files of the raw folder for more than "
                f"{DEFAULT_PATIENCE_SECONDS} s; run the same again once it has ended"
            ) from None
        yield


def hold_ingest_run(connection: Connection, run_id: int) -> bool:
    """Try to take the lock that a live ingestion run holds; False if the run is alive."""
    return bool(scalar(connection, "SELECT pg_try_advisory_lock(%s, %s)", _INGEST_RUN, run_id))


def ingest_runs_held(connection: Connection) -> set[int]:
    """The ingestion runs of this database that are alive, without waiting for any."""
    found = connection.execute(
        """
        SELECT objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = %s AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """,
        (_INGEST_RUN,),
    )
    return {row[0] for row in found}


def hold_symbols(connection: Connection, symbols: Iterable[str]) -> None:
    """Hold all `symbols` until the transaction of `connection` ends, if no run works on any.

    Raises:
        SymbolBusyError: a run does. Nothing was waited for.
    """
    for symbol in sorted(symbols):
        taken = "SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))"
        if not scalar(connection, taken, _SYMBOL, symbol):
            raise SymbolBusyError(
                f"{symbol}: a run is working on this symbol; run the same again once it has ended"
            )


def release_ingest_run(connection: Connection, run_id: int) -> None:
    """Give back what `hold_ingest_run` took."""
    connection.execute("SELECT pg_advisory_unlock(%s, %s)", (_INGEST_RUN, run_id))


def _wait_for(connection: Connection, kind: int, key: int, patience_seconds: float) -> None:
    set_lock_timeout(connection, patience_seconds)
    connection.execute("SELECT pg_advisory_lock(%s, %s)", (kind, key))
