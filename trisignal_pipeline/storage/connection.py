"""Connections to PostgreSQL: where the server is, and what its errors mean to a user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, LiteralString
from urllib.parse import unquote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, dict_row

from trisignal_pipeline.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    NotPermittedError,
    StatementTooLongError,
    TableLockedError,
    TrisignalError,
)
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.embedded import running_server
from trisignal_pipeline.storage.roles import Role, taking

Connection = psycopg.Connection[TupleRow]
Row = dict[str, Any]

CONNECT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Database:
    """One PostgreSQL database. The URL may hold a password and is never printed.

    lock_timeout_seconds   how long a statement waits for a table or row that another session holds
    role                   what its sessions may do; None: all that the URL's user may
    statement_seconds      how long a statement may take; None: as long as the server lets it
    """

    url: str = field(repr=False)
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    role: Role | None = Role.WRITER
    statement_seconds: float | None = None

    @classmethod
    def for_settings(cls, settings: Settings) -> Database:
        """The database the settings name; the embedded one, started if need be, if they name none.

        Raises:
            EmbeddedServerError: the embedded server can't be set up on this machine.
        """
        if settings.database_url is not None:
            return cls(settings.database_url)
        return cls(running_server(settings.home).url())

    def reading(self) -> Database:
        """The same database for someone who changes nothing."""
        return replace(self, role=Role.READER)

    def answering(self, statement_seconds: float) -> Database:
        """The same for questions of people: they read, and no statement takes longer than this.

        0 sets no limit.
        """
        return replace(self.reading(), statement_seconds=statement_seconds)

    @contextmanager
    def connect(
        self, purpose: str, *, autocommit: bool = False, one_instant: bool = False
    ) -> Iterator[Connection]:
        """An open connection, closed at the end; `purpose` is what the server's activity shows.

        Without `autocommit` what was done is committed at the end, or rolled back on an error. With
        `one_instant` all statements of a transaction see the database as its first one does.

        Raises:
            DatabaseUnavailableError: the server can't be reached, or went away.
            TableLockedError: another session held what a statement needs for too long.
            StatementTooLongError: a statement took longer than `statement_seconds`.
            NotPermittedError: the user of the URL may not do what was tried.
            ConfigurationError: the URL is not one PostgreSQL understands.
        """
        connection = self.open(purpose, autocommit=autocommit)
        if one_instant:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
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
            # libpq quotes what it can't read, and that may be the password.
            reason = re.sub(r'".*"', '"***"', " ".join(str(error).split()))
            raise ConfigurationError(
                f"TRISIGNAL_DATABASE_URL is not a PostgreSQL URL: {reason}"
            ) from None
        try:
            with as_trisignal_errors(self):
                # What a server, a database or a role may have set otherwise. Compiling a plan
                # costs more than any statement here takes.
                connection.execute(
                    sql.SQL(
                        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET jit = off; "
                        "SET lock_timeout = {}; {} {}"
                    ).format(
                        sql.Literal(_milliseconds(self.lock_timeout_seconds)),
                        self._statement_limit(),
                        sql.SQL("") if self.role is None else taking(self.role),
                    )
                )
        except TrisignalError:
            connection.close()
            raise
        connection.autocommit = autocommit
        return connection

    def _statement_limit(self) -> sql.Composable:
        if self.statement_seconds is None:
            return sql.SQL("")
        return sql.SQL("SET statement_timeout = {};").format(
            sql.Literal(_milliseconds(self.statement_seconds))
        )

    def place(self) -> str:
        """Host and database name, without user or password."""
        parts = _parts_of(self.url)
        return self.masked(f"{parts.get('dbname', '?')} at {parts.get('host', 'localhost')}")

    def masked(self, text: str) -> str:
        """`text` in one line, without the password, should it hold it."""
        written = re.match(r"\w+://[^:/@\s]*:(?P<password>\S*)@", self.url)
        secrets = {str(_parts_of(self.url).get("password") or "")}
        if written is not None:
            secrets |= {written["password"], unquote(written["password"])}
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(secret, "***")
        text = re.sub(r"(postgres(?:ql)?(?:\+\w+)?://[^:/@\s]*):\S*@", r"\1:***@", text)
        text = re.sub(r"(\w*password\s*=\s*)('(?:\\.|[^'])*'|[^\s&]+)", r"\1***", text)
        return " ".join(text.split())


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """From now on, wait at most so long for what another session holds; 0 waits for ever."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (_milliseconds(seconds),))


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


@contextmanager
def as_trisignal_errors(database: Database) -> Iterator[None]:
    """Turn a lost connection, a lock in vain and what isn't allowed into errors of ours."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        user = _parts_of(database.url).get("user", "the user who connected")
        raise NotPermittedError(
            f"{user} may not do this in the database {database.place()}: "
            f"{database.masked(str(error))}; to write it has to be a member of {Role.WRITER}, to "
            f"read of {Role.READER}, and to change the schema it has to own it: see "
            "docs/SECURITY.md"
        ) from error
    except psycopg.errors.QueryCanceled as error:
        if not database.statement_seconds:
            raise _gone(database, error) from error
        raise StatementTooLongError(
            f"it took longer than {database.statement_seconds:g} s to read "
            f"({database.place()}); ask for less at a time, or allow more seconds in "
            "TRISIGNAL_STATEMENT_SECONDS"
        ) from error
    except psycopg.errors.LockNotAvailable as error:
        raise TableLockedError(
            f"{_holders(database)} for longer than {database.lock_timeout_seconds:g} s "
            f"({database.place()}); run the same again when that session has ended, nothing is "
            "counted twice"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise _gone(database, error) from error


def _gone(database: Database, error: psycopg.Error) -> DatabaseUnavailableError:
    lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    return DatabaseUnavailableError(
        f"{'the connection to the database was lost' if lost else 'the database gave up'} "
        f"({database.place()}): {database.masked(str(error))}; run the same again, nothing is "
        "counted twice"
    )


def _holders(database: Database) -> str:
    """Who holds which table, in words; the strongest locks first."""
    try:
        with psycopg.connect(
            database.url, connect_timeout=CONNECT_TIMEOUT_SECONDS, autocommit=True
        ) as connection:
            found = connection.execute(_TABLE_LOCKS).fetchall()
    except psycopg.Error:
        found = []
    if not found:
        return "another session held a table or a row that is needed"
    return "; ".join(
        f"table {table} is locked by process {pid} ({program}; to end it: "
        f"SELECT pg_terminate_backend({pid}))"
        for table, pid, program in found
    )


# A partitioned table's name comes before those of its partitions.
_TABLE_LOCKS = """
    SELECT min(c.relname), a.pid, coalesce(nullif(a.application_name, ''), 'no name')
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode <> 'AccessShareLock' AND a.pid <> pg_backend_pid()
    GROUP BY a.pid, a.application_name, a.xact_start
    ORDER BY bool_or(l.mode = 'AccessExclusiveLock') DESC, a.xact_start LIMIT 3
"""


def rows(
    connection: Connection, statement: LiteralString, *parameters: object, **named: object
) -> list[Row]:
    """All rows of a query, each as a mapping from column to value.

    `parameters` are bound in order, or, where the statement names them, `named`.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, named or parameters).fetchall()


def _parts_of(url: str) -> dict[str, Any]:
    """The parts of a URL; none of one that PostgreSQL doesn't understand."""
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return {}


def scalar(connection: Connection, statement: LiteralString, *parameters: object) -> Any:
    """The first column of the first row of a query; None if there is no row."""
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]
