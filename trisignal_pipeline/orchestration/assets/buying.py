"""What the two assets that may buy bars share: how much they may spend, and the purchase itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import dagster as dg
from pydantic import Field

from trisignal_pipeline.market.conditions import DEGRADED
from trisignal_pipeline.orchestration.lost_runs import in_place_of
from trisignal_pipeline.orchestration.run_scope import SymbolDates
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.audit import spent_by
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.purchases import (
    DEFAULT_BUDGET_USD,
    Budget,
    Purchases,
    Wanted,
    dollars,
)


class BuyingConfig(dg.Config):
    """How bars are bought, where the source is databento_api."""

    budget_usd: float = Field(
        default=DEFAULT_BUDGET_USD,
        ge=0,
        description=(
            "What the run may spend at Databento, all its assets together, in US dollars. What "
            "costs more is refused before anything is bought."
        ),
    )
    buy_again: bool = Field(
        default=False,
        description="Buy dates that are there already once more: for corrected data.",
    )


NotSold = Mapping[tuple[str, date], str]
"""Why a symbol's date can't be bought."""


def buy_missing(
    context: dg.AssetExecutionContext,
    database: Database,
    purchases: Purchases,
    scopes: Sequence[SymbolDates],
    config: BuyingConfig,
) -> NotSold:
    """Buy what of the run's dates is missing, and say in its log what came of it.

    Raises:
        BudgetError: it costs more than the run may still spend; nothing was bought.
        ConfigurationError, ApiUnavailableError, ApiRefusedError, WrongDeliveryError: as they say.
    """
    run_id = context.run.run_id
    with database.connect("purchases") as connection:
        wanted = [Wanted(registry.market(connection, s.symbol), s.dates) for s in scopes]
        runs = [run_id, *in_place_of(context.instance, context.run)]
        budget = Budget(Decimal(str(config.budget_usd)), spent_by(connection, runs))
    bought = purchases.buy(
        wanted,
        budget,
        asset=context.asset_key.to_user_string(),
        dagster_run_id=run_id,
        again=config.buy_again,
    )
    context.log.info(
        "%d files bought for %s, %d taken from another folder",
        len(bought.files),
        dollars(bought.spent_usd),
        len(bought.lent),
    )
    for quote in bought.quotes:
        symbol = quote.wanted.market.symbol
        for dates in quote.degraded:
            context.log.warning("%s %s: Databento calls them %s", symbol, dates, DEGRADED)
        for dates, reason in quote.left_out:
            context.log.warning("%s %s not bought: %s", symbol, dates, reason)
    return {
        (str(quote.wanted.market.symbol), day): f"not bought: {reason}"
        for quote in bought.quotes
        for dates, reason in quote.left_out
        for day in dates
    }
