"""A database that can be worked with: running, and with the schema this code was written for."""

from __future__ import annotations

from datetime import UTC, datetime

from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.audit import close_stale_runs
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.migrations import migrate, require_current
from trisignal_pipeline.storage.slow_statements import keep_statistics
from trisignal_pipeline.storage.years import make_years_ahead


def ready_database(settings: Settings) -> Database:
    """The database of `settings`, ready for use.

    The embedded server is the product's own: it is started, and its schema brought up to date. A
    server of the user's is never migrated unasked.

    Raises:
        SchemaVersionError: the user's database has another schema; the message names the command.
        DatabaseUnavailableError: it can't be reached.
        EmbeddedServerError: the embedded server can't be set up on this machine.
    """
    database = Database.for_settings(settings)
    if settings.database_url is None:
        if migrate(database.url):
            keep_statistics(database)
            make_years_ahead(database, datetime.now(UTC))
    else:
        require_current(database.url)
    return database


def database_for_work(settings: Settings) -> Database:
    """A ready database for someone who is going to write.

    Runs whose process died are closed as failed first: a start finds out what the last end left.

    Raises:
        SchemaVersionError, DatabaseUnavailableError, EmbeddedServerError: as `ready_database` does.
    """
    database = ready_database(settings)
    with database.connect("start", autocommit=True) as connection:
        close_stale_runs(connection)
    return database
