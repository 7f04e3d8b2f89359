"""`trisignal reingest`: clean bars of one symbol straight from Databento's API."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal

import click

from trisignal_pipeline.commands.arguments import symbol_and_dates
from trisignal_pipeline.commands.backfill import print_summary
from trisignal_pipeline.commands.buying import budget_and_again
from trisignal_pipeline.commands.progress import progress_bar
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings


@click.command()
@symbol_and_dates
@budget_and_again
def reingest(symbol: str, start: date, end: date, budget: Decimal, *, again: bool) -> None:
    """Make clean bars of SYMBOL, and the signals that follow, from bars of Databento's API.

    This costs money, as `trisignal fetch` does. Files are kept below TRISIGNAL_API_DIR. Legacy bars
    are neither read nor changed, and a later backfill leaves these dates' clean bars alone unless
    it is told to --replace-api-dates.

    \b
    trisignal reingest GLBX.MDP3:NQ --start 2024-11-12 --end 2024-11-12
    """
    dates = DateRange(start, end)
    # Dagster takes seconds to import; a mistyped date should not wait for it.
    from trisignal_pipeline.orchestration import backfill as backfills  # noqa: PLC0415

    with progress_bar(symbol, dates) as progress:
        done = backfills.backfill(
            Settings.from_environment(),
            symbol,
            dates,
            progress,
            assets=backfills.FROM_CLEAN_BARS_ON,
            buying=backfills.Buying(budget, again),
        )
    print_summary(done)
    if not done.succeeded:
        sys.exit(1)
