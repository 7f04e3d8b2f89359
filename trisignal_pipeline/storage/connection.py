"""Connections to PostgreSQL: where the server is, and what its errors mean to a user."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, dict_row

from trisignal_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.embedded import EmbeddedServer

Connection = psycopg.Connection[TupleRow]
Row = dict[str, Any]

CONNECT_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Database:
    """One PostgreSQL database. The URL may hold a password and is never printed."""

    url: str = field(repr=False)

    @classmethod
    def for_settings(cls, settings: Settings) -> Database:
        """The database the settings name; the embedded one, started if need be, if they name none.

        Raises:
            EmbeddedServerError: the embedded server can't be set up on this machine.
        """
        if settings.database_url is not None:
            return cls(settings.database_url)
        server = EmbeddedServer.for_home(settings.home, os.environ)
        server.ensure_running()
        return cls(server.url())

    @contextmanager
    def connect(self, purpose: str, *, autocommit: bool = False) -> Iterator[Connection]:
        """An open connection, closed at the end; `purpose` is what the server's activity shows.

        Without `autocommit` what was done is committed at the end, or rolled back on an error.

        Raises:
            DatabaseUnavailableError: the server can't be reached, or went away.
            ConfigurationError: the URL is not one PostgreSQL understands.
        """
        connection = self.open(purpose, autocommit=autocommit)
        try:
            with as_trisignal_errors(self), connection:
                yield connection
        finally:
            connection.close()

    def open(self, purpose: str, *, autocommit: bool = False) -> Connection:
        """Like `connect`, for those who close it themselves."""
        try:
            connection = psycopg.connect(
                self.url,
                application_name=f"trisignal {purpose}",
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(
                f"the database can't be reached ({self.place()}): {self.masked(str(error))}; "
                "check that the server runs and that TRISIGNAL_DATABASE_URL is right"
            ) from None
        except psycopg.ProgrammingError as error:
            raise ConfigurationError(
                f"TRISIGNAL_DATABASE_URL is not a PostgreSQL URL: {self.masked(str(error))}"
            ) from None
        # Compiling a plan costs more than any statement here takes.
        connection.execute("SET TIME ZONE 'UTC'; SET jit = off")
        connection.autocommit = autocommit
        return connection

    def place(self) -> str:
        """Host and database name, without user or password."""
        parts = conninfo_to_dict(self.url)
        return f"{parts.get('dbname', '?')} at {parts.get('host', 'localhost')}"

    def masked(self, text: str) -> str:
        """`text` in one line, without the password, should it hold it."""
        password = conninfo_to_dict(self.url).get("password")
        if password:
            text = text.replace(str(password), "***")
        text = re.sub(r"(postgres(?:ql)?://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
        return " ".join(text.split())


@contextmanager
def as_trisignal_errors(database: Database) -> Iterator[None]:
    """Turn a lost connection into an error of ours, whose class says that it may pass."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailableError(
            f"the connection to the database was lost ({database.place()}): "
            f"{database.masked(str(error))}; run the same again, nothing is counted twice"
        ) from error


def rows(
    connection: Connection, statement: LiteralString, *parameters: object, **named: object
) -> list[Row]:
    """All rows of a query, each as a mapping from column to value.

    `parameters` are bound in order, or, where the statement names them, `named`.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, named or parameters).fetchall()


def scalar(connection: Connection, statement: LiteralString, *parameters: object) -> Any:
    """The first column of the first row of a query; None if there is no row."""
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]
