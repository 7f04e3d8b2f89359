"""The schema's revisions: which one a database has, which one the code wants, and going there.

The revisions themselves are plain SQL in the project's `database` folder, numbered in one line
without branches, so that which one is the newest can be read from the names of the files.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import psycopg
from psycopg import sql

from trisignal_pipeline.errors import (
    DatabaseUnavailableError,
    SchemaVersionError,
    TrisignalError,
)
from trisignal_pipeline.settings import project_file
from trisignal_pipeline.storage.connection import Connection, Database, scalar

if TYPE_CHECKING:
    import sqlalchemy
    from alembic.config import Config

_logger = logging.getLogger(__name__)

VERSION_TABLE = "trisignal_schema"

LOCK_PATIENCE_SECONDS = 60
"""How long a migration waits for programs that use the tables it changes."""

_LOCK = 0x7516_0000

# Alembic keeps the migration at hand in a module of its own: one a process at a time.
_one_at_a_time = threading.Lock()


def head_revision() -> str:
    """The newest revision the code knows, which is the one it works with."""
    return _revisions()[-1]


def current_revision(url: str) -> str | None:
    """The revision of the database at `url`; None if it has no schema of ours.

    Raises:
        DatabaseUnavailableError: the server can't be reached.
    """
    with Database(url).reading().connect("schema version", autocommit=True) as connection:
        return _current(connection)


def require_current(url: str) -> None:
    """Make sure that the database at `url` has the schema the code works with.

    Raises:
        SchemaVersionError: it has an older one, a newer one, or none.
        DatabaseUnavailableError: the server can't be reached.
    """
    _require(current_revision(url), Database(url))


def require_current_in(connection: Connection, database: Database) -> None:
    """The same over a connection to `database` that is there.

    Raises:
        SchemaVersionError: it has an older one, a newer one, or none.
    """
    _require(_current(connection), database)


def _require(revision: str | None, database: Database) -> None:
    current = _known(revision, database)
    if current == head_revision():
        return
    place = database.place()
    if current is None:
        raise SchemaVersionError(
            f"the database {place} has no schema of trisignal yet; run: trisignal db migrate"
        )
    raise SchemaVersionError(
        f"the database {place} has schema {current}, older than {head_revision()}, which this "
        "version of trisignal works with; run: trisignal db migrate"
    )


def migrate(url: str) -> list[str]:
    """Bring the database at `url` to the newest schema; return the revisions that took.

    All of it is one transaction, and one process at a time: of several that call this at once the
    first migrates and the others find it done. Tables that an earlier system left are taken over
    with their rows; what can't be taken over is refused, and then nothing is changed.

    Raises:
        SchemaVersionError: the database's schema is newer than the code, or something in the
            database stands in the way. The message says what and where.
        DatabaseUnavailableError: the server can't be reached, or other programs hold the tables.
    """
    if current_revision(url) == head_revision():
        return []
    with _transaction(url) as connection:
        before = _known(_current(_driver(connection)), Database(url))
        missing = [name for name in _revisions() if before is None or name > before]
        if missing:
            from alembic import command  # noqa: PLC0415  a third of a second, seldom needed

            command.upgrade(_alembic(connection), missing[-1])
        return missing


def grant_to_roles(url: str) -> None:
    """Give the two roles their rights in the database at `url`, and make them if there are none.

    The revision that brought them has done so already, unless its user was not allowed to. Nothing
    happens for a user who doesn't own the tables.

    Raises:
        SchemaVersionError: the user may not hand on a right that the roles need.
        DatabaseUnavailableError: the server can't be reached, or other programs hold the tables.
    """
    with _transaction(url) as connection:
        _driver(connection).execute("SELECT grant_to_roles()")


def downgrade(url: str, revision: str) -> None:
    """Take the database at `url` back to `revision`; `base` is before the first one.

    No table, column or row of market data is lost: a revision's way back says what it drops.

    Raises:
        SchemaVersionError: there is no such revision below the database's own, the database's
            schema is newer than the code, or something depends on what has to go.
        DatabaseUnavailableError: the server can't be reached, or other programs hold the tables.
    """
    with _transaction(url) as connection:
        before = _known(_current(_driver(connection)), Database(url))
        below = [name for name in _revisions() if before is not None and name < before]
        if revision not in {"base", *below}:
            raise SchemaVersionError(
                f"the database {Database(url).place()} has schema {before or 'base'}; there is no "
                f"way down to {revision!r}, only to {', '.join(['base', *below])}"
            )
        if before is not None:
            from alembic import command  # noqa: PLC0415  a third of a second, seldom needed

            command.downgrade(_alembic(connection), revision)


def _revisions() -> list[str]:
    """Every revision the code knows, oldest first: the number each file's name starts with."""
    files = project_file("database").joinpath("versions").glob("[0-9]*_*.py")
    return sorted(file.name.partition("_")[0] for file in files)


def _current(connection: Connection) -> str | None:
    if scalar(connection, "SELECT to_regclass(%s)", VERSION_TABLE) is None:
        return None
    statement = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))
    row = connection.execute(statement).fetchone()
    return None if row is None else str(row[0])


def _known(revision: str | None, database: Database) -> str | None:
    if revision is not None and revision not in _revisions():
        raise SchemaVersionError(
            f"the database {database.place()} has schema {revision}, which this version of "
            f"trisignal doesn't know (its newest is {head_revision()}); update trisignal"
        )
    return revision


@contextmanager
def _transaction(url: str) -> Iterator[sqlalchemy.Connection]:
    """A transaction in which the schema may be changed and nobody else changes it."""
    import sqlalchemy  # noqa: PLC0415  slow to import, seldom needed

    database = Database(url, role=None)
    # The connection is ours and not made from the URL, which would lose what libpq knows of URLs.
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: database.open("migration"),
        poolclass=sqlalchemy.NullPool,
    )
    try:
        with _one_at_a_time, engine.begin() as connection:
            driver = _driver(connection)
            driver.add_notice_handler(_log_warning)
            driver.execute("SET LOCAL statement_timeout = 0")
            driver.execute("SELECT pg_advisory_xact_lock(%s, 0)", (_LOCK,))
            driver.execute(
                "SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_PATIENCE_SECONDS}s",)
            )
            yield connection
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        raise _refusal(error, database) from None


def _driver(connection: sqlalchemy.Connection) -> Connection:
    return cast("Connection", connection.connection.driver_connection)


def _alembic(connection: sqlalchemy.Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415  slow to import, seldom needed

    config = Config()
    # A lone % would be taken for a reference to another option.
    config.set_main_option("script_location", str(project_file("database")).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    return config


def _refusal(error: Exception, database: Database) -> TrisignalError:
    cause = getattr(error, "orig", error)
    said = cause.diag if isinstance(cause, psycopg.Error) else None
    parts = [said.message_primary, said.message_detail] if said else []
    if isinstance(cause, psycopg.errors.RaiseException):
        # Only a revision's own advice fits here; the server's is to add CASCADE.
        parts.append(cause.diag.message_hint)
    reason = database.masked("; ".join(filter(None, parts)) or str(cause))
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return DatabaseUnavailableError(
            f"other programs use the tables of {database.place()} and did not let go within "
            f"{LOCK_PATIENCE_SECONDS} s ({reason}); stop them, then run: trisignal db migrate"
        )
    if isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
        return DatabaseUnavailableError(
            f"the database {database.place()} went away during the migration, which changed "
            f"nothing ({reason}); run: trisignal db migrate"
        )
    return SchemaVersionError(
        f"the schema of {database.place()} can't be changed, and nothing was: {reason}; "
        "then run: trisignal db migrate"
    )


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        _logger.warning("%s", notice.message_primary)
