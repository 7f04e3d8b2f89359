"""Replaying a symbol's stored history, month by month, from the nearest saved state on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest

import numpy as np

from trisignal_pipeline.market.bars import Bars, Int32s, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, day_number
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.replay import BiasSeries, advance
from trisignal_pipeline.signal.triangles import Triangles, triangles
from trisignal_pipeline.storage.checkpoints import DAILY_STATES, Standpoint, nearest
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.selection import LockedOut, SelectedDate, read_selected
from trisignal_pipeline.storage.signals import SignalDate, SignalRows


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedPart:
    """What the signal made of a stretch of dates, and where it stands after them.

    market       whose rules counted
    window       every UTC date of the stretch, with bars or without
    selected     those of them that have bars the signal can read
    locked_out   legacy bars that were kept out, by date
    after        where the replay stands after the last selected date of the window
    """

    market: Market
    window: DateRange
    bars: Bars
    bias: BiasSeries
    triangles: Triangles
    selected: dict[date, SelectedDate]
    locked_out: dict[date, LockedOut]
    after: Standpoint

    def of(self, dates: DateRange) -> tuple[SignalRows, list[SignalDate]]:
        """The rows of `dates`, and what each selected date among them has."""
        minutes = _between(self.bias.ts, dates)
        events = _between(self.triangles.ts, dates)
        series = BiasSeries(self.bias.ts[minutes], self.bias.bias[minutes])
        found = self.triangles.take(events)
        at = np.searchsorted(self.bars.ts, found.ts)
        chosen = [selected for day, selected in self.selected.items() if day in dates]
        tables = tuple(dict.fromkeys(selected.table for selected in chosen))
        rows = SignalRows(
            series,
            found,
            tables,
            self._table_codes(series.ts, tables),
            self._table_codes(found.ts, tables),
            self.bars.contracts,
            self.bars.contract[at],
            self.market.rules,
        )
        counts = np.bincount(_days_from(dates, found.ts), minlength=len(dates))
        return rows, [
            SignalDate(
                selected,
                int(counts[(selected.date - dates.start).days]),
                self.locked_out.get(selected.date),
            )
            for selected in chosen
        ]

    def _table_codes(self, ts: Int64s, tables: tuple[str, ...]) -> Int32s:
        """For each minute the position in `tables` of the table its date is read from."""
        codes = np.zeros(len(self.window), np.int32)
        for day, selected in self.selected.items():
            if selected.table in tables:
                codes[(day - self.window.start).days] = tables.index(selected.table)
        return codes[_days_from(self.window, ts)]


def replay(
    connection: Connection, market: Market, dates: Sequence[SelectedDate], wanted: DateRange
) -> Iterator[ReplayedPart]:
    """Replay what is needed to know the signal of `wanted`, in parts that follow each other.

    Args:
        connection: reads bars and saved states.
        market: whose anchor, filters and thresholds count.
        dates: all selected dates of the symbol, in order.
        wanted: the dates whose signal is asked for.

    The replay starts from the nearest usable state before `wanted`, so the first parts may lie
    before it; every part ends where a state is worth saving. The parts hold every date of `wanted`,
    and memory holds one part.
    """
    point = nearest(connection, market, dates, wanted.start)
    for window in _windows(dates, point.date, wanted):
        inside = [selected for selected in dates if selected.date in window]
        read = read_selected(connection, str(market.symbol), inside, market.hygiene, point.guard)
        engine, series = advance(point.engine, read.bars)
        found = triangles(read.bars, series, market.filters, previous=point.engine.last)
        point = Standpoint(inside[-1].date if inside else point.date, engine, read.guard)
        yield ReplayedPart(
            market,
            window,
            read.bars,
            series,
            found,
            {selected.date: selected for selected in inside},
            {locked_out.date: locked_out for locked_out in read.locked_out},
            point,
        )


def _windows(
    dates: Sequence[SelectedDate], after: date | None, wanted: DateRange
) -> Iterator[DateRange]:
    """Stretches of dates that end where a state is worth saving, up to the end of `wanted`.

    That is the last selected date of a month, and each of the newest dates, on which a correction
    is likely to start.
    """
    days = [selected.date for selected in dates]
    newest = set(days[-DAILY_STATES:])
    ends = [
        day
        for day, following in zip_longest(days, days[1:])
        if day in newest or following is None or following.replace(day=1) > day
    ]
    start = wanted.start if not days else min(wanted.start, days[0])
    if after is not None:
        start = after + timedelta(days=1)
    for end in ends:
        if start <= end < wanted.end:
            yield DateRange(start, end)
            start = end + timedelta(days=1)
    yield DateRange(start, wanted.end)


def _between(ts: Int64s, dates: DateRange) -> slice:
    first, after = np.searchsorted(ts, [dates.start_ns, dates.end_ns])
    return slice(int(first), int(after))


def _days_from(dates: DateRange, ts: Int64s) -> Int64s:
    return ts // NS_PER_DAY - day_number(dates.start)
