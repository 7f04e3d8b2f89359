"""`trisignal fetch`: raw files of one symbol, bought at Databento."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import click

from trisignal_pipeline.commands.arguments import symbol_and_dates
from trisignal_pipeline.commands.buying import budget_and_again, print_offers, print_quote
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.purchases import Budget, Purchases, Wanted, dollars
from trisignal_pipeline.storage.readiness import database_for_work

ASSET = "raw_dbn_files"


@click.command()
@symbol_and_dates
@budget_and_again
@click.option("--estimate", is_flag=True, help="Only say what would be bought, and for how much.")
def fetch(
    symbol: str, start: date, end: date, budget: Decimal, *, again: bool, estimate: bool
) -> None:
    """Buy at Databento what no file below TRISIGNAL_RAW_DIR holds of SYMBOL yet.

    This costs money: the account of DATABENTO_API_KEY is billed. What is missing is priced first,
    and refused as a whole if it costs more than --budget. Files are verified before they are kept,
    below databento_api in the raw folder, and nothing that is kept is bought again.

    \b
    trisignal fetch GLBX.MDP3:NQ --start 2024-11-01 --end 2025-01-31 --estimate
    """
    settings = Settings.from_environment()
    database = database_for_work(settings)
    with database.connect("fetch") as connection:
        wanted = Wanted(registry.market(connection, symbol), tuple(DateRange(start, end)))
    shop = Purchases.for_raw(database, settings)
    if estimate:
        [quote] = shop.estimate([wanted], again=again)
        print_quote(quote)
        print_offers(quote, "would buy")
        click.echo(f"{wanted}: {quote.kept} dates there, {dollars(quote.cost_usd)} for the others")
        return
    bought = shop.buy([wanted], Budget(budget), asset=ASSET, again=again)
    [quote] = bought.quotes
    print_quote(quote)
    for job in bought.lent:
        click.echo(f"taken from {settings.api_dir}: {job}")
    print_offers(quote, "bought")
    click.echo(
        f"{wanted}: {quote.kept} dates were there, {len(bought.files)} files bought for "
        f"{dollars(bought.spent_usd)}"
    )
