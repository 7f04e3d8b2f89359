"""Replaying a symbol's stored history, and cutting from it what a range of dates needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from trisignal_pipeline.market.bars import Bars, Int32s, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, day_number
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.replay import BiasSeries, advance, start
from trisignal_pipeline.signal.triangles import Triangles, triangles
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.selection import (
    LockedOut,
    SelectedDate,
    read_selected,
    selected_dates,
)
from trisignal_pipeline.storage.signals import SignalDate, SignalRows


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedHistory:
    """A symbol's signals from its history start on.

    selected     the dates that have bars the signal can read
    locked_out   legacy bars that were kept out, by date
    """

    bars: Bars
    bias: BiasSeries
    triangles: Triangles
    selected: dict[date, SelectedDate]
    locked_out: dict[date, LockedOut]

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
        )
        counts = np.bincount(_days_from(dates, found.ts), minlength=len(dates))
        return rows, [
            SignalDate(selected, int(counts[(selected.date - dates.start).days]))
            for selected in chosen
        ]

    def _table_codes(self, ts: Int64s, tables: tuple[str, ...]) -> Int32s:
        """For each minute the position in `tables` of the table its date is read from."""
        if not len(ts):
            return np.empty(0, np.int32)
        first = day_number(min(self.selected))
        codes = np.zeros(day_number(max(self.selected)) - first + 1, np.int32)
        for day, selected in self.selected.items():
            if selected.table in tables:
                codes[day_number(day) - first] = tables.index(selected.table)
        return codes[ts // NS_PER_DAY - first]


def replay_history(connection: Connection, market: Market, upto: date) -> ReplayedHistory:
    """Read the symbol's bars from its history start to the end of `upto`, and replay them."""
    symbol = str(market.symbol)
    dates = selected_dates(connection, symbol, upto)
    read = read_selected(connection, symbol, dates, market.hygiene)
    _, series = advance(start(market.anchor, market.session_profile), read.bars)
    return ReplayedHistory(
        read.bars,
        series,
        triangles(read.bars, series, market.filters, previous=None),
        {selected.date: selected for selected in dates},
        {locked_out.date: locked_out for locked_out in read.locked_out},
    )


def _between(ts: Int64s, dates: DateRange) -> slice:
    first, after = np.searchsorted(ts, [dates.start_ns, dates.end_ns])
    return slice(int(first), int(after))


def _days_from(dates: DateRange, ts: Int64s) -> Int64s:
    return ts // NS_PER_DAY - day_number(dates.start)
