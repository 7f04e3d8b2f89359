"""`trisignal bars`: bars of any timeframe, to lay over a chart."""

from __future__ import annotations

from datetime import date, datetime

import click

from trisignal_pipeline.commands.arguments import UtcMoment, symbol_and_dates
from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.market.dates import DateRange, iso_minute
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.query.bar_series import bar_series
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.signal.rules import HIGHER_TIMEFRAMES, TIMEFRAMES
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, TABLE_OF_LAYER


@click.command()
@symbol_and_dates
@click.option(
    "--tf",
    "timeframe",
    type=click.Choice(TIMEFRAMES),
    required=True,
    help="Timeframe of the bars.",
)
@click.option(
    "--layer",
    type=click.Choice(tuple(TABLE_OF_LAYER)),
    default=CLEAN.layer,
    show_default=True,
    help="The table the minutes are read from.",
)
@click.option(
    "--as-of",
    type=UtcMoment(),
    help="As the table was at this moment, for instance 2024-11-05T14:30:00Z.",
)
@format_option
def bars(
    symbol: str,
    timeframe: str,
    start: date,
    end: date,
    layer: str,
    as_of: datetime | None,
    form: Form,
) -> None:
    """Print bars of SYMBOL that open on the UTC dates from --start to --end.

    They are made from clean bars by the code the signal is computed with: over the session, or
    over UTC days where the registry says so. A daily bar opens with its session; one that a holiday
    is merged into opens with the holiday's. Only whole bars are printed.

    With --as-of they are made from what the table held at that moment, before anything was
    corrected since. A date counts as whole if it had any bar then. A time without a zone is UTC.

    \b
    trisignal bars GLBX.MDP3:NQ --tf 4h --start 2024-11-01 --end 2024-11-30 --format csv
    """
    dates = DateRange(start, end)
    left_out: list[int] = []
    with questions(Settings.from_environment(), "bars") as connection:
        market = registry.market(connection, symbol)
        warning = calendar_warning(market, dates)
        if warning and timeframe in HIGHER_TIMEFRAMES:
            click.echo(f"warning: {warning}", err=True)
        series = bar_series(
            market,
            timeframe,
            dates,
            table=TABLE_OF_LAYER[layer],
            as_of=as_of,
            on_left_out=lambda starts: left_out.extend(starts.tolist()),
        )
        print_table(series.table(connection), form)
    if left_out:
        why = f"has no finished {layer} bars, backfill it" if as_of is None else "had no bars then"
        click.echo(
            f"warning: {symbol}: bars that are not whole left out: {len(left_out)}, the first of "
            f"{iso_minute(left_out[0])}; a date their period trades on {why}",
            err=True,
        )
