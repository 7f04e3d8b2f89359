"""A few connections for many readers at once, which outlive the server they lead to.

A connection is lent to one reader at a time. One that was idle while the server went away fails at
its next use: what was asked is then asked once more on a new one, since reading changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from trisignal_pipeline.errors import (
    DatabaseBusyError,
    DatabaseUnavailableError,
)
from trisignal_pipeline.storage.connection import (
    Connection,
    Database,
    as_trisignal_errors,
)

LOCK_SECONDS = 5.0
"""How long a reader waits for a table that is being changed."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Work = Callable[Concatenate[Connection, Arguments], Result]


class ReadingPool:
    """At most `size` connections that only read, each with a limit on how long a statement takes.

    statement_seconds   what a statement may take, before the server ends it; 0 is no limit
    patience_seconds    how long a reader waits for a connection that others have
    """

    def __init__(
        self,
        database: Database,
        purpose: str,
        *,
        size: int,
        statement_seconds: float,
        patience_seconds: float,
    ) -> None:
        # Locks sooner than statements, or nobody would learn that one waited for a lock.
        lock_seconds = min(LOCK_SECONDS, statement_seconds / 2) or LOCK_SECONDS
        self._database = replace(
            database.answering(statement_seconds), lock_timeout_seconds=lock_seconds
        )
        self._purpose = purpose
        self._free = threading.Semaphore(size)
        self._idle: list[Connection] = []
        self._patience_seconds = patience_seconds
        self._closed = False

    def read(
        self,
        work: Work[Arguments, Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """What `work` returns for a connection and the arguments, all of it read at one instant.

        Raises:
            DatabaseUnavailableError: the server can't be reached, or went away once more.
            DatabaseBusyError: every connection stayed in use.
            StatementTooLongError: a statement took longer than it may.
        """

        def at_one_instant(connection: Connection) -> Result:
            with connection.transaction():
                return work(connection, *arguments, **named)

        return self.lend(at_one_instant)

    def lend(
        self,
        work: Work[Arguments, Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """The same for work that begins its transactions itself.

        Raises:
            DatabaseUnavailableError, DatabaseBusyError, StatementTooLongError: as `read` does.
        """
        with self._turn():
            connection = self._pop_idle()
            if connection is not None:
                try:
                    return self._use(connection, work, *arguments, **named)
                except DatabaseUnavailableError:
                    self._drop_idle()
            return self._use(self._open(), work, *arguments, **named)

    def close(self) -> None:
        """Close what is idle, and whatever is in use as soon as it is given back."""
        self._closed = True
        self._drop_idle()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._patience_seconds):
            raise DatabaseBusyError(
                f"all connections were in use for {self._patience_seconds:g} s; ask again later, "
                "or for less at a time"
            )
        try:
            yield
        finally:
            self._free.release()

    def _use(
        self,
        connection: Connection,
        work: Work[Arguments, Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        try:
            with as_trisignal_errors(self._database):
                return work(connection, *arguments, **named)
        finally:
            self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        is_well = connection.info.transaction_status == TransactionStatus.IDLE
        if is_well and not connection.broken and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def _open(self) -> Connection:
        connection = self._database.open(self._purpose, autocommit=True)
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        return connection

    def _pop_idle(self) -> Connection | None:
        # Taking from and adding to the end of a list is atomic; the last one used is the warmest.
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _drop_idle(self) -> None:
        while (connection := self._pop_idle()) is not None:
            connection.close()
