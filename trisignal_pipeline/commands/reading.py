"""Commands that read: triangles, bias, counts, runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date

import click

from trisignal_pipeline.commands.arguments import symbol_and_dates
from trisignal_pipeline.commands.printing import format_option, print_table
from trisignal_pipeline.errors import NotPermittedError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query import operations, signals
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.readiness import database_for_work, ready_database


@click.command()
@symbol_and_dates
@format_option
def triangles(symbol: str, start: date, end: date, form: str) -> None:
    """Print the triangles of SYMBOL: when the 1-minute bias flipped, and all six biases then.

    \b
    trisignal triangles GLBX.MDP3:NQ --start 2024-11-01 --end 2024-11-30 --format csv
    """
    _print_signals(signals.triangles, symbol, DateRange(start, end), form)


@click.command()
@symbol_and_dates
@format_option
def bias(symbol: str, start: date, end: date, form: str) -> None:
    """Print the six biases of SYMBOL on every minute."""
    _print_signals(signals.bias, symbol, DateRange(start, end), form)


@click.command()
@symbol_and_dates
@format_option
def counts(symbol: str, start: date, end: date, form: str) -> None:
    """Print how many triangles SYMBOL had on each date, by direction."""
    _print_signals(signals.counts, symbol, DateRange(start, end), form)


@click.command()
@click.option("--symbol", help="Only runs of this symbol.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@format_option
def runs(symbol: str | None, limit: int, form: str) -> None:
    """Print the audit: what every ingestion read, wrote, left alone and rejected.

    csv and json have every column.

    read = inserted + updated + unchanged + rejected; rows no longer delivered are removed.
    """
    settings = Settings.from_environment()
    # Who may only read sees a run that was killed as it was left.
    with suppress(NotPermittedError):
        database_for_work(settings)
    with ready_database(settings).reading().connect("runs") as connection:
        query = operations.ingest_runs_in_short if form == "table" else operations.ingest_runs
        print_table(query(connection, limit, symbol), form)


def _print_signals(
    query: Callable[[Connection, str, DateRange], Table], symbol: str, dates: DateRange, form: str
) -> None:
    database = ready_database(Settings.from_environment()).reading()
    with database.connect("reading") as connection:
        registry.market(connection, symbol)
        print_table(query(connection, symbol, dates), form)
