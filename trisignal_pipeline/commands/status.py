"""`trisignal status`: what is stored of each symbol and in doubt of it, and how all of it is."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.query.health import figures_by_labels, figures_table
from trisignal_pipeline.query.operations import symbol_states
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.health import folders_of, health


@click.command()
@click.option(
    "--health",
    "only_health",
    is_flag=True,
    help="Only the figures of health, one a row; also as csv and json.",
)
@format_option
def status(form: Form, *, only_health: bool) -> None:
    """Print what is stored of each symbol: dates, bars, triangles, and what is in doubt.

    Then how the pipeline and its database are: sizes and growth, freshness, runs, quarantine. csv
    and json have the symbols alone, or with --health the figures alone.
    """
    settings = Settings.from_environment()
    with questions(settings, "status") as connection:
        if not only_health:
            print_table(symbol_states(connection), form)
        if not only_health and not form.for_people:
            return
        measured = health(connection, datetime.now(UTC), folders_of(settings))
    if only_health:
        print_table(figures_table(measured), form)
        return
    for table in figures_by_labels(measured):
        print_table(table, form)
