"""Bars of any timeframe in pages that cost no more than so much, with the contract of each.

Few higher bars are made of many minutes. A page of them ends where so many minutes were read, be it
full or not, and its cursor leads on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.bar_series import BARS, as_table
from trisignal_pipeline.query.bars import StoredMinutes, period_ends, read_minutes, whole_bars
from trisignal_pipeline.query.cursors import read_cursor, write_cursor
from trisignal_pipeline.query.known_dates import known_dates
from trisignal_pipeline.query.series import Page, Span, about
from trisignal_pipeline.query.tables import TEXT, texts
from trisignal_pipeline.signal.rules import TIMEFRAMES
from trisignal_pipeline.signal.timeframes import HigherBars
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.connection import Connection

MOST_MINUTES = 400_000
"""How many minutes a page of higher bars is made from, about: fourteen months."""

CONTRACT_BARS = BARS.append(pa.field("contract", TEXT))
"""The columns of bars, and the contract of the last minute of each."""

_MINUTES_AT_ONCE = 100_000


def bar_page(
    connection: Connection,
    market: Market,
    timeframe: str,
    span: Span,
    limit: int,
    cursor: str | None = None,
) -> Page:
    """Whole bars of `timeframe` whose period starts in `span`, at most `limit` of them.

    Raises:
        RangeError: `cursor` is not one of this question.
    """
    symbol = str(market.symbol)
    question = {"name": "bar_page", "timeframe": timeframe, **about(symbol, span)}
    start_ns = span.start_ns
    if cursor is not None:
        start_ns = max(start_ns, read_cursor(question, cursor, (int,))[0] * 1000 + 1)
    parts: list[pa.Table] = []
    left = limit
    for window in _windows(connection, symbol, timeframe, start_ns, span.end_ns, limit):
        minutes = read_minutes(connection, market, timeframe, window.dates)
        first_ns, end_ns = window.dates.start_ns, window.dates.end_ns
        bars = whole_bars(
            minutes, timeframe, max(start_ns, first_ns), min(span.end_ns, end_ns)
        ).bars
        parts.append(_with_contracts(bars, minutes, timeframe).slice(0, left))
        if len(bars) > left:
            return Page(_together(parts), write_cursor(question, (int(bars.ts[left - 1]) // 1000,)))
        left -= len(bars)
        if window.follows and (not left or window.is_last):
            return Page(_together(parts), write_cursor(question, (end_ns // 1000 - 1,)))
    return Page(_together(parts), None)


@dataclass(frozen=True, slots=True)
class _Window:
    """Dates that are read at once.

    follows   there are dates with bars behind them
    is_last   a page reads no further than these
    """

    dates: DateRange
    follows: bool
    is_last: bool


def _windows(
    connection: Connection, symbol: str, timeframe: str, start_ns: int, end_ns: int, limit: int
) -> Iterator[_Window]:
    """The dates of a span, as many at once as hold a page or, of higher bars, some months."""
    known = known_dates(connection, symbol, start_ns, end_ns)
    if known is None:
        return
    counts = complete_dates(connection, symbol, CLEAN.layer, known)
    of_minutes = timeframe == TIMEFRAMES[0]
    at_once = limit if of_minutes else _MINUTES_AT_ONCE
    last = max(counts, default=known.end)
    start, inside, before = known.start, 0, 0
    for day, described in counts.items():
        inside += described.bar_count
        if inside >= at_once and day < last:
            before += inside
            is_last = not of_minutes and before >= MOST_MINUTES
            yield _Window(DateRange(start, day), follows=True, is_last=is_last)
            start, inside = day + timedelta(days=1), 0
    yield _Window(DateRange(start, known.end), follows=False, is_last=True)


def _with_contracts(bars: HigherBars, minutes: StoredMinutes, timeframe: str) -> pa.Table:
    own = minutes.bars
    last = np.searchsorted(own.ts, period_ends(bars.ts, timeframe, minutes.sessions)) - 1
    contracts = texts(own.contract[last], own.contracts)
    return pa.table([*as_table(bars).columns, contracts], schema=CONTRACT_BARS)


def _together(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables([CONTRACT_BARS.empty_table(), *parts])
