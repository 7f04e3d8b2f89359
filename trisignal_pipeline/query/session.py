"""A session for questions: it reads, at one instant, and no statement goes on for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.readiness import ready_database


@contextmanager
def questions(
    settings: Settings, purpose: str, *, autocommit: bool = False
) -> Iterator[Connection]:
    """A connection to the database of `settings`; everything is seen as the first question sees it.

    With `autocommit` each statement sees the database as it is by then.

    Raises:
        SchemaVersionError, DatabaseUnavailableError, EmbeddedServerError: as `ready_database` does.
        StatementTooLongError: a statement took longer than `settings.statement_seconds`.
    """
    database = ready_database(settings).answering(settings.statement_seconds)
    with database.connect(purpose, autocommit=autocommit, one_instant=True) as connection:
        yield connection
