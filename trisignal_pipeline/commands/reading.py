"""Commands that read the signals, the joined dataset, and the audit."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import click

from trisignal_pipeline.commands.arguments import Minute, symbol_and_dates
from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.errors import NotPermittedError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query import operations, signals
from trisignal_pipeline.query.counts import By
from trisignal_pipeline.query.counts import counts as counts_by
from trisignal_pipeline.query.dataset import dataset as joined
from trisignal_pipeline.query.series import Series
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.query.world import world as state_at
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.readiness import database_for_work


@click.command()
@symbol_and_dates
@format_option
def triangles(symbol: str, start: date, end: date, form: Form) -> None:
    """Print the triangles of SYMBOL: when the 1-minute bias flipped, and all six biases then.

    \b
    trisignal triangles GLBX.MDP3:NQ --start 2024-11-01 --end 2024-11-30 --format csv
    """
    _print_series(signals.triangles(symbol, DateRange(start, end)), symbol, form)


@click.command()
@symbol_and_dates
@format_option
def bias(symbol: str, start: date, end: date, form: Form) -> None:
    """Print the six biases of SYMBOL on every minute."""
    _print_series(signals.bias(symbol, DateRange(start, end)), symbol, form)


@click.command()
@symbol_and_dates
@format_option
def dataset(symbol: str, start: date, end: date, form: Form) -> None:
    """Print one row a minute of SYMBOL: the clean bar, the six biases, and the triangle.

    Minutes of dates that aren't finished are left out. All of a row is known at the bar's close.

    \b
    trisignal dataset GLBX.MDP3:NQ --start 2024-01-01 --end 2024-12-31 --format parquet > nq.parquet
    """
    _print_series(joined(symbol, DateRange(start, end)), symbol, form)


@click.command()
@click.argument("symbol", metavar="SYMBOL")
@click.argument("ts", metavar="TS", type=Minute())
@format_option
def world(symbol: str, ts: int, form: Form) -> None:
    """Print the state of SYMBOL at one minute: bar, biases, triangle, session, last triangle.

    TS is the bar's OPEN in ISO 8601, with Z for UTC or an offset. `trisignal explain` says why.

    \b
    trisignal world GLBX.MDP3:NQ 2024-11-01T00:15:00Z
    """
    with questions(Settings.from_environment(), "world") as connection:
        found = state_at(connection, registry.market(connection, symbol), ts)
    print_table(Table(found.schema, iter(found.to_batches())), form)


@click.command()
@symbol_and_dates
@click.option(
    "--by",
    type=click.Choice([by.value for by in By]),
    default=By.DATE.value,
    show_default=True,
    help="UTC date, hour of the UTC day, direction, or the exchange's session.",
)
@format_option
def counts(symbol: str, start: date, end: date, by: str, form: Form) -> None:
    """Print how many triangles SYMBOL had, by date, hour, direction or session.

    By session --start and --end are trade dates.
    """
    dates = DateRange(start, end)
    with questions(Settings.from_environment(), "counts") as connection:
        market = registry.market(connection, symbol)
        print_table(counts_by(connection, market, dates, By(by)), form)


@click.command()
@click.option("--symbol", help="Only runs of this symbol.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@format_option
def runs(symbol: str | None, limit: int, form: Form) -> None:
    """Print the audit: what every ingestion read, wrote, left alone and rejected.

    All formats but the table have every column.

    read = inserted + updated + unchanged + rejected; rows no longer delivered are removed.
    """
    settings = Settings.from_environment()
    # Who may only read sees a run that was killed as it was left.
    with suppress(NotPermittedError):
        database_for_work(settings)
    with questions(settings, "runs") as connection:
        query = operations.ingest_runs_in_short if form.for_people else operations.ingest_runs
        print_table(query(connection, limit, symbol), form)


def _print_series(series: Series, symbol: str, form: Form) -> None:
    with questions(Settings.from_environment(), series.name) as connection:
        registry.market(connection, symbol)
        print_table(series.table(connection), form)
