"""`trisignal db partitions`: the years of the tables of bars and biases, made and dropped."""

from __future__ import annotations

import click

from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.query.tables import TEXT, TIME, WHOLE, Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import years
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.readiness import ready_database

_year = click.argument("year", type=click.IntRange(years.FIRST_YEAR, years.LAST_YEAR))


@click.group(invoke_without_command=True)
@format_option
@click.pass_context
def partitions(context: click.Context, form: Form) -> None:
    """List the partitions by year; or make one, or drop a year.

    Rows are about so many, by the server's own statistics. A year's partitions are made by the
    first row that needs them, and by housekeeping before the year begins.
    """
    if context.invoked_subcommand is not None:
        return
    with questions(Settings.from_environment(), "partitions") as connection:
        found = years.partitions(connection)
    columns = {
        "table": TEXT,
        "partition": TEXT,
        "from": TIME,
        "before": TIME,
        "rows": WHOLE,
        "bytes": WHOLE,
    }
    rows = ((one.table, one.name, one.start, one.end, one.rows, one.size_bytes) for one in found)
    print_table(Table.of_rows(columns, rows), form)


@partitions.command()
@_year
def create(year: int) -> None:
    """Make the partitions of YEAR that are not there yet."""
    with ready_database(Settings.from_environment()).connect("partitions") as connection:
        made = years.make_years(connection, [year])
    click.echo(f"{year}: {made} partitions made" if made else f"{year}: they are there")


@partitions.command()
@_year
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(year: int, *, yes: bool) -> None:
    """Drop the bars and biases of YEAR, and what is known of its dates.

    Years go from the first one on, and only when no signal may use them: each symbol's history has
    to begin later, and its signals have to be computed under that. Raw files stay, and `trisignal
    backfill` makes the bars again from them. In Dagster the dates go on showing that they were
    materialised.

    \b
    trisignal symbols set GLBX.MDP3:NQ history_start=2012-01-01
    trisignal refresh
    trisignal db partitions drop 2011
    """
    database = ready_database(Settings.from_environment())
    owner = Database(database.url, database.lock_timeout_seconds, role=None)
    if not yes:
        with owner.connect("partitions") as connection:
            found = years.drop_year(connection, year, really=False)
            connection.rollback()
        click.confirm(
            f"Drop {found.rows:,} rows and {found.dates} dates of {year}, "
            f"{found.size_bytes:,} bytes in {', '.join(found.partitions)}?",
            abort=True,
        )
    with owner.connect("partitions") as connection:
        dropped = years.drop_year(connection, year, really=True)
    click.echo(f"{year}: dropped {dropped.rows:,} rows of {', '.join(dropped.partitions)}")
