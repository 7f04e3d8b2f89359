"""`trisignal db`: the database, embedded or one's own."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime

import click

from trisignal_pipeline.commands.partitions import partitions
from trisignal_pipeline.errors import ConfigurationError, NotPermittedError
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import (
    current_revision,
    grant_to_roles,
    head_revision,
)
from trisignal_pipeline.storage.migrations import migrate as migrate_schema
from trisignal_pipeline.storage.slow_statements import keep_statistics
from trisignal_pipeline.storage.years import make_years_ahead


@click.group()
def db() -> None:
    """The database: the embedded server, and the schema of any.

    Without TRISIGNAL_DATABASE_URL trisignal runs a PostgreSQL of its own below TRISIGNAL_HOME,
    started when it is needed and left running.
    """


@db.command()
def migrate() -> None:
    """Bring the schema up to date. Tables of an earlier system are taken over with their rows.

    Makes the roles trisignal_writer and trisignal_reader too, where the user may, and gives them
    what they need in this database, and the partitions of this year and the next.
    """
    settings = Settings.from_environment()
    database = Database.for_settings(settings)
    applied = migrate_schema(database.url)
    if not applied:
        grant_to_roles(database.url)
    if settings.database_url is None:
        keep_statistics(database)
    # Who may only read has no use for them.
    with suppress(NotPermittedError):
        make_years_ahead(database, datetime.now(UTC))
    click.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


@db.command()
def start() -> None:
    """Start the embedded server."""
    server = _embedded()
    server.ensure_running()
    click.echo(f"running; connect with: psql '{server.url()}'")


@db.command()
def stop() -> None:
    """Stop the embedded server. What is stored stays."""
    _embedded().stop()
    click.echo("stopped")


@db.command()
def status() -> None:
    """Say which database is in use, whether it runs, and which schema it has."""
    settings = Settings.from_environment()
    if settings.database_url is None:
        found = _embedded().status()
        click.echo(
            f"embedded server below {settings.home}: {'runs' if found.running else 'stopped'}"
        )
        click.echo(f"data: {found.data}")
        if not found.running:
            return
    database = Database.for_settings(settings)
    click.echo(f"database: {database.place()}")
    current, head = current_revision(database.url), head_revision()
    click.echo(f"schema: {current or 'none'}" + ("" if current == head else f" (newest: {head})"))


@db.command()
def url() -> None:
    """Print the URL of the database in use, a password of one's own masked."""
    database = Database.for_settings(Settings.from_environment())
    click.echo(database.masked(database.url))


@db.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(*, yes: bool) -> None:
    """Delete the embedded server with everything in it: bars, signals, runs.

    Raw files stay, and `trisignal backfill` makes everything again from them.
    """
    server = _embedded()
    if not yes:
        click.confirm(f"Delete everything below {server.status().data}?", abort=True)
    server.reset()
    click.echo("deleted")


db.add_command(partitions)


def _embedded() -> EmbeddedServer:
    settings = Settings.from_environment()
    if settings.database_url is not None:
        raise ConfigurationError(
            "TRISIGNAL_DATABASE_URL names a server of your own, which trisignal neither starts nor "
            "stops nor deletes; unset it to work with the embedded one"
        )
    return EmbeddedServer.for_home(settings.home, os.environ)
