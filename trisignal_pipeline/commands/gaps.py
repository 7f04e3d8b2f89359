"""`trisignal gaps`: open minutes without a bar."""

from __future__ import annotations

from datetime import date

import click

from trisignal_pipeline.commands.arguments import symbol_and_dates
from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.gaps import GapKind
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.query import gaps as queries
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry


@click.command()
@symbol_and_dates
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([kind.value for kind in GapKind]),
    multiple=True,
    help="Only gaps of this kind; may be given several times.",
)
@format_option
def gaps(symbol: str, start: date, end: date, kinds: tuple[str, ...], form: Form) -> None:
    """Print the gaps of SYMBOL's clean bars: minutes on which the market was open without a bar.

    \b
    no_trade    chance explains it, given how many of the minutes around it traded
    rejected    its bars were rejected
    halt        chance doesn't, but the other markets were silent as well
    suspicious  nothing explains it: bars are missing

    \b
    trisignal gaps GLBX.MDP3:NQ --start 2024-11-01 --end 2024-11-30 --kind suspicious --kind halt
    """
    dates = DateRange(start, end)
    with questions(Settings.from_environment(), "gaps") as connection:
        market = registry.market(connection, symbol)
        warning = calendar_warning(market, dates)
        if warning:
            click.echo(f"warning: {warning}", err=True)
        not_judged = queries.dates_not_judged(connection, market, dates)
        if not_judged:
            click.echo(
                f"warning: {symbol}: trading days whose gaps are not known: {len(not_judged)}, "
                f"the first {not_judged[0]}; they have no finished clean bars, or some that nobody "
                "has judged yet: backfill them",
                err=True,
            )
        print_table(queries.gaps(connection, symbol, dates, kinds), form)
