"""Making signals once more, on another way than the run that wrote them, to see whether they agree.

A run goes on from the nearest saved state. Here the replay starts from the state before that one,
or from the first bar, and goes in one piece from there: states in between are neither read nor
saved, so that a wrong one shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.replay import BiasSeries, LastMinute, advance
from trisignal_pipeline.signal.triangles import Triangles, triangles
from trisignal_pipeline.storage.checkpoints import Standpoint, nearest
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.selection import SelectedDate, read_selected

MOST_BARS_BEFORE = 100_000
"""How many bars before the dates asked for may be read, some three months. Where the state before
the nearest one lies further back, the replay starts from the nearest one."""


@dataclass(frozen=True, slots=True, eq=False)
class Recomputed:
    """The signal of `dates`, made once more.

    since       the date of the saved state that was started from; None for the first bar of all
    previous    the bar before the first one of `bars`; None where history starts with them
    """

    dates: DateRange
    since: date | None
    bars: Bars
    bias: BiasSeries
    triangles: Triangles
    previous: LastMinute | None


def recompute(
    connection: Connection,
    market: Market,
    dates: Sequence[SelectedDate],
    ranges: Sequence[DateRange],
) -> Iterator[Recomputed]:
    """Make the signals of each of `ranges`, which are in order, once more. Nothing is stored.

    Args:
        connection: reads bars and saved states.
        market: whose anchor, filters and thresholds count.
        dates: all selected dates of the symbol, in order.
        ranges: each is held in memory at once. One that begins the day after the one before is
            replayed from where that one ended.
    """
    point: Standpoint | None = None
    since: date | None = None
    next_day: date | None = None
    for wanted in ranges:
        if point is None or wanted.start != next_day:
            point = _start(connection, market, dates, wanted.start)
            since = point.date
        inside = [
            selected
            for selected in dates
            if selected.date <= wanted.end and (point.date is None or selected.date > point.date)
        ]
        read = read_selected(connection, str(market.symbol), inside, market.hygiene, point.guard)
        engine, series = advance(point.engine, read.bars)
        yield _within(wanted, since, market, read.bars, series, point.engine.last)
        point = Standpoint(inside[-1].date if inside else point.date, engine, read.guard)
        next_day = wanted.end + timedelta(days=1)


def _start(
    connection: Connection, market: Market, dates: Sequence[SelectedDate], before: date
) -> Standpoint:
    near = nearest(connection, market, dates, before)
    if near.date is None:
        return near
    older = nearest(connection, market, dates, near.date)
    bars = sum(
        selected.bar_count
        for selected in dates
        if selected.date < before and (older.date is None or selected.date > older.date)
    )
    return older if bars <= MOST_BARS_BEFORE else near


def _within(
    dates: DateRange,
    since: date | None,
    market: Market,
    bars: Bars,
    series: BiasSeries,
    before: LastMinute | None,
) -> Recomputed:
    """What of a replay lies in `dates`, which are its last ones; `before` is its first bar's."""
    first = int(np.searchsorted(bars.ts, dates.start_ns))
    if first:
        before = LastMinute(
            int(bars.ts[first - 1]),
            int(bars.open[first - 1]),
            int(bars.high[first - 1]),
            int(bars.low[first - 1]),
            int(bars.close[first - 1]),
            tuple(series.bias[first - 1].tolist()),
        )
    bars = bars.take(slice(first, len(bars)))
    series = BiasSeries(series.ts[first:], series.bias[first:])
    found = triangles(bars, series, market.filters, before)
    return Recomputed(dates, since, bars, series, found, before)
