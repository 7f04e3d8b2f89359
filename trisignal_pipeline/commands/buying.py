"""What commands that buy have in common: their options, and what they say of a purchase."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import click

from trisignal_pipeline.storage.purchases import DEFAULT_BUDGET_USD, Quote, dollars

Command = TypeVar("Command", bound=Callable[..., Any])


class Dollars(click.ParamType[Decimal]):
    """An amount of US dollars."""

    name = "usd"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """The amount that `value` spells."""
        try:
            amount = Decimal(str(value))
        except ArithmeticError:
            amount = Decimal(-1)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is not an amount of dollars; write it as 7.50", param, ctx)
        return amount


def budget_and_again(command: Command) -> Command:
    """`--budget USD --again`."""
    command = click.option(
        "--again", is_flag=True, help="Buy dates that are there already once more."
    )(command)
    return click.option(
        "--budget",
        type=Dollars(),
        default=str(DEFAULT_BUDGET_USD),
        show_default=True,
        metavar="USD",
        help="What may be spent; what costs more is refused before anything is bought.",
    )(command)


def print_quote(quote: Quote) -> None:
    """Say what was left out of a purchase, and what the vendor calls faulty."""
    symbol = quote.wanted.market.symbol
    for dates, reason in quote.left_out:
        click.echo(f"warning: {symbol} {dates}: not bought: {reason}", err=True)
    for dates in quote.degraded:
        click.echo(f"warning: {symbol} {dates}: Databento calls them degraded", err=True)


def print_offers(quote: Quote, verb: str) -> None:
    """List the files of a purchase with their costs; `verb` is what happened to them."""
    for offer in quote.offers:
        click.echo(f"{verb} {offer.order}: {dollars(offer.cost_usd)}")
