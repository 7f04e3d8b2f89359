"""`trisignal quality`: how far dates are covered and aligned, and what the checks said of them."""

from __future__ import annotations

from datetime import date

import click

from trisignal_pipeline.commands.arguments import symbol_and_dates
from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.query import quality as queries
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry


@click.group()
def quality() -> None:
    """Print how good what is stored is, date by date. Nothing is written."""


@quality.command()
@symbol_and_dates
@format_option
def coverage(symbol: str, start: date, end: date, form: Form) -> None:
    """Print how much of each date's sessions SYMBOL's clean bars cover.

    covered is 1 where each open minute has a bar or lies in a lull that chance explains.
    """
    dates = DateRange(start, end)
    with questions(Settings.from_environment(), "coverage") as connection:
        market = registry.market(connection, symbol)
        warning = calendar_warning(market, dates)
        if warning:
            click.echo(f"warning: {warning}", err=True)
        print_table(queries.coverage(connection, market, dates), form)


@quality.command()
@symbol_and_dates
@format_option
def alignment(symbol: str, start: date, end: date, form: Form) -> None:
    """Print whether SYMBOL's bars, biases and triangles lie on the same minutes and agree."""
    dates = DateRange(start, end)
    with questions(Settings.from_environment(), "alignment") as connection:
        registry.market(connection, symbol)
        print_table(queries.alignment(connection, symbol, dates), form)


@quality.command()
@symbol_and_dates
@format_option
def determinism(symbol: str, start: date, end: date, form: Form) -> None:
    """Compute SYMBOL's signal again, and print on how many minutes it is another than stored.

    A minute differs where bars or rules have changed since: such a date is in doubt. One that is
    not in doubt and differs was changed by hand, or the computation is not what it was.
    """
    dates = DateRange(start, end)
    with questions(Settings.from_environment(), "determinism") as connection:
        market = registry.market(connection, symbol)
        print_table(queries.determinism(connection, market, dates), form)


@quality.command()
@symbol_and_dates
@format_option
def verdicts(symbol: str, start: date, end: date, form: Form) -> None:
    """Print the latest verdict of every check on each of SYMBOL's dates."""
    dates = DateRange(start, end)
    with questions(Settings.from_environment(), "verdicts") as connection:
        registry.market(connection, symbol)
        print_table(queries.verdicts(connection, symbol, dates), form)
