"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import click

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.minutes import parse_minute

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


class UtcMoment(click.ParamType[datetime]):
    """A moment, written 2024-11-01T14:30:00Z; UTC where it names no other zone."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The moment that `value` spells."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time; write it as 2024-11-01T14:30:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Minute(click.ParamType[int]):
    """A minute with its time zone, as nanoseconds since the epoch (UTC)."""

    name = "minute"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The minute that `value` spells."""
        try:
            return parse_minute(str(value))
        except RangeError as error:
            self.fail(str(error), param, ctx)


def symbol_and_dates(command: Command) -> Command:
    """`SYMBOL --start DATE --end DATE`, both dates included."""
    command = click.option(
        "--end", required=True, type=UtcDate(), help="Last UTC date, included: 2025-01-31."
    )(command)
    command = click.option(
        "--start", required=True, type=UtcDate(), help="First UTC date: 2024-11-01."
    )(command)
    return click.argument("symbol", metavar="SYMBOL")(command)


def symbol_and_maybe_dates(command: Command) -> Command:
    """`SYMBOL [--start DATE] [--end DATE]`, both dates included; all dates without them."""
    command = click.option("--end", type=UtcDate(), help="Last UTC date of the OPEN, included.")(
        command
    )
    command = click.option("--start", type=UtcDate(), help="First UTC date of the OPEN.")(command)
    return click.argument("symbol", metavar="SYMBOL")(command)
