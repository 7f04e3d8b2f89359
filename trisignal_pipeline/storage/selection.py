"""Which stored bars the signal reads: clean ones where the date has them, else legacy ones.

The choice is made by date, in the view `selected_bar_dates`: a date's clean bars if their
materialisation completed and no check found them broken, else its legacy bars under the same
conditions, else none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import numpy as np

from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.market.dates import contiguous_ranges, from_day_number
from trisignal_pipeline.market.hygiene import (
    Guard,
    HygieneThresholds,
    LastGood,
    Locked,
    locked_rules,
)
from trisignal_pipeline.storage.bars import CLEAN, TABLE_OF_LAYER, read_bars
from trisignal_pipeline.storage.connection import Connection


@dataclass(frozen=True, slots=True)
class SelectedDate:
    """A date the signal can read. `history` stands for all selected bars up to and with it."""

    date: date
    layer: str
    bar_count: int
    history: int

    @property
    def table(self) -> str:
        """The table its bars are read from."""
        return TABLE_OF_LAYER[self.layer].name


@dataclass(frozen=True, slots=True)
class LockedOut:
    """Bars of one date of the legacy table that the locked rules kept from the signal.

    longest         the most bars rejected in a row, up to and with one of this date
    longest_since_ns, longest_by   where that run began (OPEN, nanoseconds), and by which rule
    """

    date: date
    rejected: int
    by_rule: dict[str, int]
    longest: int
    longest_since_ns: int
    longest_by: str


@dataclass(frozen=True, slots=True, eq=False)
class SelectedBars:
    """Bars in order of time that the signal may read, and what was left out of them."""

    bars: Bars
    locked_out: tuple[LockedOut, ...]
    guard: Guard


def selected_dates(
    connection: Connection, symbol: str, upto: date | None = None
) -> list[SelectedDate]:
    """The dates of the symbol's history, in order, up to and with `upto`."""
    found = connection.execute(
        """
        SELECT date, layer, bar_count, history_fingerprint FROM selected_bar_dates
        WHERE symbol = %s AND date <= coalesce(%s, 'infinity'::date) ORDER BY date
        """,
        (symbol, upto),
    )
    return [SelectedDate(row[0], row[1], row[2], int(row[3])) for row in found]


def read_selected(
    connection: Connection,
    symbol: str,
    dates: Sequence[SelectedDate],
    limits: HygieneThresholds,
    guard: Guard,
) -> SelectedBars:
    """The bars of `dates` (in order), those of the legacy table passed through the locked rules.

    The rules go on from `guard`, and from date to date and table to table: the last good close is
    that of the last bar accepted from either.
    """
    parts: list[Bars] = []
    locked_out: list[LockedOut] = []
    for layer, of_layer in groupby(dates, key=lambda selected: selected.layer):
        table = TABLE_OF_LAYER[layer]
        days = [selected.date for selected in of_layer if selected.bar_count]
        for part in contiguous_ranges(days):
            bars = read_bars(connection, table, symbol, part.start_ns, part.end_ns)
            if table is not CLEAN:
                judged = locked_rules(bars, limits, guard)
                locked_out += _by_date(bars, judged, guard)
                bars, guard = bars.take(judged.accepted), judged.guard
            elif len(bars):
                last = bars.contracts[bars.contract[-1]]
                guard = Guard(LastGood(int(bars.close[-1]), last))
            parts.append(bars)
    return SelectedBars(concatenate(parts), tuple(locked_out), guard)


def _by_date(bars: Bars, judged: Locked, before: Guard) -> list[LockedOut]:
    described = []
    numbers = bars.day_numbers()
    for number in np.unique(numbers[~judged.accepted]).tolist():
        rows = np.flatnonzero((numbers == number) & ~judged.accepted)
        longest = int(rows[np.argmax(judged.rejected_in_row[rows])])
        first = int(judged.locked_since[longest])
        since_ns, rule = before.locked_since_ns, before.locked_by
        if first >= 0:
            since_ns, rule = int(bars.ts[first]), judged.first_rule(first)
        assert since_ns is not None
        assert rule is not None
        described.append(
            LockedOut(
                from_day_number(number),
                len(rows),
                {
                    rule.value: int(mask[rows].sum())
                    for rule, mask in judged.broken.items()
                    if mask[rows].any()
                },
                int(judged.rejected_in_row[longest]),
                since_ns,
                rule.value,
            )
        )
    return described
