"""Commands that list what is kept of bars that don't stand: `quarantine` and `revisions`."""

from __future__ import annotations

from datetime import date

import click

from trisignal_pipeline.commands.arguments import symbol_and_maybe_dates
from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.market.hygiene import Rule
from trisignal_pipeline.query import kept_bars
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import TABLE_OF_LAYER


@click.command()
@symbol_and_maybe_dates
@click.option(
    "--rule",
    type=click.Choice(tuple(Rule)),
    metavar="RULE",
    help="Only bars that break this rule.",
)
@click.option("--released", is_flag=True, help="Also bars that are no longer rejected.")
@format_option
def quarantine(
    symbol: str, start: date | None, end: date | None, rule: str | None, released: bool, form: Form
) -> None:
    """Print the rejected bars of SYMBOL: values as delivered, rules broken, file and run.

    A price that is missing was not delivered. `ts` is the OPEN of the bar, UTC.

    \b
    trisignal quarantine GLBX.MDP3:NQ --start 2024-11-01 --rule OHLC_INTEGRITY
    """
    with questions(Settings.from_environment(), "quarantine") as connection:
        registry.market(connection, symbol)
        found = kept_bars.quarantined(
            connection, symbol, start=start, end=end, rule=rule, released=released
        )
        print_table(found, form)


@click.command()
@symbol_and_maybe_dates
@click.option("--layer", type=click.Choice(tuple(TABLE_OF_LAYER)), help="Only this table's bars.")
@format_option
def revisions(
    symbol: str, start: date | None, end: date | None, layer: str | None, form: Form
) -> None:
    """Print the versions of bars of SYMBOL that stand no longer.

    updated: another version followed; removed: none did; superseded: it never stood, since a later
    file had another bar for its minute. `ts` is the OPEN of the bar, UTC, in both layers.

    \b
    trisignal revisions GLBX.MDP3:NQ --start 2024-11-01 --end 2024-11-01
    """
    with questions(Settings.from_environment(), "revisions") as connection:
        registry.market(connection, symbol)
        print_table(
            kept_bars.revisions(connection, symbol, start=start, end=end, layer=layer), form
        )
