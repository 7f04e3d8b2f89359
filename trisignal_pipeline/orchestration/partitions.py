"""What assets are partitioned by: UTC dates x symbols.

The symbols are those of the registry, kept in step by `sync_symbols`: a new symbol is a row, not a
release. The dates are whole UTC days, the newest one being yesterday's: today's bars are not all
there yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError

FIRST_DATE_VARIABLE = "TRISIGNAL_FIRST_DATE"

CME_HISTORY_START = date(2010, 6, 6)
"""The first date Databento has of GLBX.MDP3."""

SYMBOL_DIMENSION = "symbol"
DATE_DIMENSION = "date"


def first_bar_date(environment: Mapping[str, str] = os.environ) -> date:
    """The first date that is a partition: `TRISIGNAL_FIRST_DATE`, or the start of CME history.

    Raises:
        ConfigurationError: the variable holds no date.
    """
    named = environment.get(FIRST_DATE_VARIABLE)
    if not named:
        return CME_HISTORY_START
    try:
        return date.fromisoformat(named)
    except ValueError as error:
        raise ConfigurationError(
            f"{FIRST_DATE_VARIABLE} is {named!r}; write a date such as {CME_HISTORY_START}"
        ) from error


SYMBOLS = dg.DynamicPartitionsDefinition(name=SYMBOL_DIMENSION)
BAR_DATES = dg.DailyPartitionsDefinition(start_date=str(first_bar_date()), timezone="UTC")
DAILY_BY_SYMBOL = dg.MultiPartitionsDefinition(
    {DATE_DIMENSION: BAR_DATES, SYMBOL_DIMENSION: SYMBOLS}
)


def partition_key(symbol: str, day: date) -> str:
    """What Dagster calls the bars of `symbol` on `day`: `2024-11-01|GLBX.MDP3:NQ`.

    Dagster joins the dimensions in the order of their names, date before symbol.
    """
    return f"{day}|{symbol}"


def parse_partition_key(key: str) -> tuple[str, date]:
    """Symbol and date of a key made by `partition_key`, or by Dagster."""
    day, _, symbol = key.partition("|")
    return symbol, date.fromisoformat(day)


@dataclass(frozen=True, slots=True)
class SymbolChanges:
    """What `sync_symbols` did."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def sync_symbols(instance: dg.DagsterInstance, symbols: Iterable[str]) -> SymbolChanges:
    """Make Dagster's symbol partitions those of `symbols`, in order of their names where new.

    Removing one takes its partitions out of Dagster's sight; rows and past runs stay.
    """
    known = instance.get_dynamic_partitions(SYMBOL_DIMENSION)
    wanted = set(symbols)
    added = tuple(sorted(wanted.difference(known)))
    removed = tuple(symbol for symbol in known if symbol not in wanted)
    if added:
        instance.add_dynamic_partitions(SYMBOL_DIMENSION, list(added))
    for symbol in removed:
        instance.delete_dynamic_partition(SYMBOL_DIMENSION, symbol)
    return SymbolChanges(added, removed)
