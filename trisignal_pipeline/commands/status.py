"""`trisignal status`: what is stored of each symbol, and what of it is in doubt."""

from __future__ import annotations

import click

from trisignal_pipeline.commands.printing import format_option, print_table
from trisignal_pipeline.query.operations import symbol_states
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.readiness import ready_database


@click.command()
@format_option
def status(form: str) -> None:
    """Print what is stored of each symbol: dates, bars, triangles, and what is in doubt."""
    with ready_database(Settings.from_environment()).reading().connect("status") as connection:
        print_table(symbol_states(connection), form)
