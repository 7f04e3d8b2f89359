"""What is stored, as data frames: `from trisignal_pipeline import read`.

The database is the one that the environment names, as it is for the `trisignal` command. Dates are
UTC dates, both included, as text (2024-11-01) or as dates. Frames of minutes have an index of
times in UTC, the OPEN of each bar. Prices are float64 in points; biases and directions are
categories; numbers that may be missing are Int64, and flags are boolean.

A frame is as large as what it holds: a year of minutes takes some 50 MB. For more than memory
holds, `trisignal dataset --format parquet` writes a file in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.minutes import parse_minute
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query import counts as _counts
from trisignal_pipeline.query import daily_summary as _daily
from trisignal_pipeline.query import dataset as _dataset
from trisignal_pipeline.query import explanation as _explanation
from trisignal_pipeline.query import operations as _operations
from trisignal_pipeline.query import quality as _quality
from trisignal_pipeline.query import signals as _signals
from trisignal_pipeline.query import world as _world
from trisignal_pipeline.query.bar_series import bar_series
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.explanation import explain_minute

Day = str | date


def bars(symbol: str, start: Day, end: Day, timeframe: str = "1m") -> pd.DataFrame:
    """Whole bars made of clean ones that open on the dates: open, high, low, close, volume.

    They are not back-adjusted: at a roll the price steps.

    Raises:
        ConfigurationError: there is no such timeframe.
        UnknownSymbolError, RangeError: the symbol is not in the registry; a date is none.
    """
    dates = _dates(start, end)
    return _of_minutes(
        symbol, lambda connection, market: bar_series(market, timeframe, dates).table(connection)
    )


def bias(symbol: str, start: Day, end: Day) -> pd.DataFrame:
    """The six biases on every minute of the dates: bias_1m, bias_m5 to bias_d1."""
    series = _signals.bias(symbol, _dates(start, end))
    return _of_minutes(symbol, lambda connection, _: series.table(connection))


def triangles(symbol: str, start: Day, end: Day) -> pd.DataFrame:
    """The triangles of the dates. Each is known a minute after its index, at the bar's close."""
    series = _signals.triangles(symbol, _dates(start, end))
    return _of_minutes(symbol, lambda connection, _: series.table(connection))


def dataset(symbol: str, start: Day, end: Day) -> pd.DataFrame:
    """One row a minute: the clean bar, its contract, the six biases, and the triangle if any."""
    series = _dataset.dataset(symbol, _dates(start, end))
    return _of_minutes(symbol, lambda connection, _: series.table(connection))


def counts(symbol: str, start: Day, end: Day, by: str = "date") -> pd.DataFrame:
    """How many triangles there were, by `date`, `hour`, `direction` or `session`.

    By session `start` and `end` are trade dates.

    Raises:
        ConfigurationError: `by` is none of these.
    """
    dates, counted_by = _dates(start, end), _counts.counted_by(by)
    return _by_first_column(
        symbol, lambda connection, market: _counts.counts(connection, market, dates, counted_by)
    )


def daily(symbol: str, start: Day, end: Day) -> pd.DataFrame:
    """Each finished UTC date in short: contract, prices, volume, coverage, triangles."""
    dates = _dates(start, end)
    return _by_first_column(
        symbol, lambda connection, _: _daily.daily_summary(connection, symbol, dates)
    )


def coverage(symbol: str, start: Day, end: Day) -> pd.DataFrame:
    """How far clean bars cover the sessions of each date."""
    dates = _dates(start, end)
    return _by_first_column(
        symbol, lambda connection, market: _quality.coverage(connection, market, dates)
    )


def world(symbol: str, ts: str | datetime) -> pd.Series:
    """The state of the world at the minute that opens at `ts`, known when its bar closes.

    Raises:
        NotAMinuteError, RangeError: `ts` is not the start of a minute, or names no time zone.
        NotFoundError: no clean bar of a finished date opens there.
    """
    minute = parse_minute(str(ts))
    found = _of_minutes(
        symbol, lambda connection, market: _in_batches(_world.world(connection, market, minute))
    )
    return found.iloc[0]


def explanation(symbol: str, ts: str | datetime) -> dict[str, Any]:
    """Why the minute that opens at `ts` is what it is: every rule that fired, on which gap.

    Plain values, times in ISO 8601, prices as exact decimals in text.

    Raises:
        RangeError: `ts` is not the start of a minute, or the signal has no bar there.
    """
    minute = parse_minute(str(ts))
    with questions(Settings.from_environment(), "notebook", autocommit=True) as connection:
        market = registry.market(connection, symbol)
        return _explanation.as_values(explain_minute(connection, market, minute))


def symbols() -> pd.DataFrame:
    """The registry: which markets there are, and what is particular to each."""
    with questions(Settings.from_environment(), "notebook") as connection:
        return frame(_operations.listed_symbols(connection)).set_index("internal_symbol")


def frame(table: Table) -> pd.DataFrame:
    """Any table of the query room as a data frame with the dtypes stated above."""
    found = table.whole()
    return pd.DataFrame(
        {
            field.name: column.to_pandas(
                types_mapper=(_NULLABLE if field.nullable else _PLAIN).get, date_as_object=False
            )
            for field, column in zip(found.schema, found.columns, strict=True)
        }
    )


_PLAIN = {pa.string(): pd.StringDtype(na_value=float("nan"))}
_NULLABLE = {**_PLAIN, pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def _of_minutes(symbol: str, query: Callable[[Connection, Market], Table]) -> pd.DataFrame:
    return _by_first_column(symbol, query).rename_axis("ts")


def _by_first_column(symbol: str, query: Callable[[Connection, Market], Table]) -> pd.DataFrame:
    with questions(Settings.from_environment(), "notebook") as connection:
        found = frame(query(connection, registry.market(connection, symbol)))
    return found.set_index(str(found.columns[0]))


def _in_batches(rows: pa.Table) -> Table:
    return Table(rows.schema, iter(rows.to_batches()))


def _dates(start: Day, end: Day) -> DateRange:
    return DateRange(_date(start), _date(end))


def _date(day: Day) -> date:
    try:
        return day if isinstance(day, date) else date.fromisoformat(day)
    except ValueError:
        raise RangeError(f"{day!r} is not a date; write it as 2024-11-01") from None
