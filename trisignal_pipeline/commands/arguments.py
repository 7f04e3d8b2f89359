"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class UtcDate(click.ParamType[date]):
    """A UTC date, written 2024-11-01."""

    name = "date"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        """The date that `value` spells."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as 2024-11-01", param, ctx)


def symbol_and_dates(command: Command) -> Command:
    """`SYMBOL --start DATE --end DATE`, both dates included."""
    command = click.option(
        "--end", required=True, type=UtcDate(), help="Last UTC date, included: 2025-01-31."
    )(command)
    command = click.option(
        "--start", required=True, type=UtcDate(), help="First UTC date: 2024-11-01."
    )(command)
    return click.argument("symbol", metavar="SYMBOL")(command)
