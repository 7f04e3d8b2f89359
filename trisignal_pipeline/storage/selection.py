"""Which stored bars the signal reads: clean ones where the date has them, else legacy ones.

The choice is made by date, in the view `selected_bar_dates`: a date's clean bars if their
materialisation completed and no check found them broken, else its legacy bars under the same
conditions, else none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import groupby

import numpy as np

from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.market.dates import contiguous_ranges, from_day_number
from trisignal_pipeline.market.hygiene import HygieneThresholds, LastGood, Locked, locked_rules
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


@dataclass(frozen=True, slots=True, eq=False)
class LockedOut:
    """Bars of the legacy table that the locked rules kept from the signal, by date."""

    date: date
    rejected: int
    by_rule: dict[str, int]
    longest_run: int
    longest_run_start_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class SelectedBars:
    """The bars of a whole history, in order, and what was left out of it."""

    bars: Bars
    locked_out: tuple[LockedOut, ...]


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
    connection: Connection, symbol: str, dates: list[SelectedDate], limits: HygieneThresholds
) -> SelectedBars:
    """The bars of `dates` (in order), those of the legacy table passed through the locked rules.

    The last good close runs on from date to date and from table to table.
    """
    parts: list[Bars] = []
    locked_out: list[LockedOut] = []
    last_good: LastGood | None = None
    for layer, of_layer in groupby(dates, key=lambda selected: selected.layer):
        table = TABLE_OF_LAYER[layer]
        days = [selected.date for selected in of_layer if selected.bar_count]
        for part in contiguous_ranges(days):
            bars = read_bars(connection, table, symbol, part.start_ns, part.end_ns)
            if table is not CLEAN:
                judged = locked_rules(bars, limits, last_good)
                locked_out += _by_date(bars, judged)
                bars, last_good = bars.take(judged.accepted), judged.last_good
            elif len(bars):
                last_good = LastGood(int(bars.close[-1]), bars.contracts[bars.contract[-1]])
            parts.append(bars)
    return SelectedBars(concatenate(parts), tuple(locked_out))


def _by_date(bars: Bars, judged: Locked) -> list[LockedOut]:
    described = []
    numbers = bars.day_numbers()
    for number in np.unique(numbers[~judged.accepted]).tolist():
        of_day = numbers == number
        run_start, run_length = Locked(judged.accepted[of_day], {}, None).longest_run()
        described.append(
            LockedOut(
                from_day_number(number),
                int((~judged.accepted[of_day]).sum()),
                {
                    rule.value: int(mask[of_day].sum())
                    for rule, mask in judged.broken.items()
                    if mask[of_day].any()
                },
                run_length,
                int(bars.ts[of_day][run_start]),
            )
        )
    return described
