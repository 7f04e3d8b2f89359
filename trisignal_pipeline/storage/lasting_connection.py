"""A connection that outlives the server it leads to.

A server may be restarted, and a session ended, in the middle of a run that takes hours. What a
connection carries beside its transactions, the locks it holds, dies with it: both come back here,
and whatever was being done is done again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.storage.connection import Connection, Database, as_trisignal_errors

FIRST_WAIT_SECONDS = 0.2
MOST_ATTEMPTS = 8
"""Half a minute of waiting in all, each wait twice as long as the one before."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Preparation = Callable[[Connection], object]


class LastingConnection:
    """Does work in transactions, and repeats it on a new connection where the old one was lost.

    `losses` counts how often that has happened: to a piece of work that finds it higher than
    before, nobody can say whether it was committed the last time.
    """

    def __init__(self, database: Database, purpose: str) -> None:
        self.losses = 0
        self._database = database
        self._purpose = purpose
        self._connection: Connection | None = None
        self._preparations: list[Preparation] = []

    def repeat(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """What `work` returns for the connection and the arguments, in a transaction of its own.

        Raises:
            DatabaseUnavailableError: the server stayed away through all attempts.
            TableLockedError: another session held what `work` needs for too long.
        """
        for attempt in range(MOST_ATTEMPTS - 1):
            try:
                return self._try(work, *arguments, **named)
            except DatabaseUnavailableError:
                self.losses += 1
                # Shorter for some and longer for others, so that many runs don't come back at once.
                time.sleep(FIRST_WAIT_SECONDS * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
        return self._try(work, *arguments, **named)

    @contextmanager
    def prepared(self, prepare: Preparation) -> Iterator[None]:
        """Do `prepare` to the connection now, and to every one that takes its place meanwhile.

        Raises:
            DatabaseUnavailableError: the server stayed away through all attempts.
        """
        self.repeat(prepare)
        self._preparations.append(prepare)
        try:
            yield
        finally:
            self._preparations.remove(prepare)

    def open(self) -> Connection:
        """The connection as it is now, opened if there is none.

        Raises:
            DatabaseUnavailableError: the server can't be reached.
        """
        if self._connection is None:
            connection = self._database.open(self._purpose, autocommit=True)
            try:
                with as_trisignal_errors(self._database):
                    for prepare in self._preparations:
                        prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close it. The server frees the locks that it held."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        try:
            connection = self.open()
            with as_trisignal_errors(self._database), connection.transaction():
                return work(connection, *arguments, **named)
        except DatabaseUnavailableError:
            self.close()
            raise
