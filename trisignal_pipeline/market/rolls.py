"""Rolls as the stored bars show them: from one date to the next another contract stands.

Bars are not back-adjusted, so at a roll the price jumps by what lies between two contracts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from trisignal_pipeline.market.bars import PRICE_UNIT, Bars, Bools
from trisignal_pipeline.market.contracts import delivery_month, parse_outright
from trisignal_pipeline.market.dates import from_day_number


@dataclass(frozen=True, slots=True)
class LastBar:
    """The last bar of a date: its contract, and its close in int64 units of 1e-9."""

    date: date
    contract: str
    close: int


@dataclass(frozen=True, slots=True)
class Roll:
    """A date whose first bar is of another contract than the last one of the date before.

    before      the last bar of the last date before it that has bars
    contract    what the date's first bar is of
    first_open  of that bar, int64 units of 1e-9
    """

    date: date
    before: LastBar
    contract: str
    first_open: int

    @property
    def gap(self) -> int:
        """First open less last close, int64 units of 1e-9."""
        return self.first_open - self.before.close

    @property
    def gap_points(self) -> float:
        """The gap as a chart shows it."""
        return self.gap / PRICE_UNIT

    @property
    def backwards(self) -> bool:
        """Whether it goes to a contract that expires earlier; False where a name doesn't tell."""
        if parse_outright(self.contract) is None or parse_outright(self.before.contract) is None:
            return False
        day = self.before.date
        return delivery_month(self.contract, day) < delivery_month(self.before.contract, day)


def rolls(bars: Bars, before: LastBar | None) -> list[Roll]:
    """The rolls among `bars`, which are in order of time.

    `before` is the last bar stored of an earlier date; None where there is none.
    """
    if not len(bars):
        return []
    numbers = bars.day_numbers()
    firsts = np.flatnonzero(np.diff(numbers)) + 1
    changed = firsts[bars.contract[firsts] != bars.contract[firsts - 1]]
    found = [
        Roll(
            from_day_number(int(numbers[row])),
            LastBar(
                from_day_number(int(numbers[row - 1])),
                bars.contracts[bars.contract[row - 1]],
                int(bars.close[row - 1]),
            ),
            bars.contracts[bars.contract[row]],
            int(bars.open[row]),
        )
        for row in changed.tolist()
    ]
    contract = bars.contracts[bars.contract[0]]
    if before is not None and before.contract != contract:
        day = from_day_number(int(numbers[0]))
        found.insert(0, Roll(day, before, contract, int(bars.open[0])))
    return found


def of_another_contract(bars: Bars) -> Bools:
    """Which bars are of another contract than most of their date's; the first of equals stands.

    `bars` are in order of time.
    """
    odd = np.zeros(len(bars), np.bool_)
    numbers = bars.day_numbers()
    inside = np.flatnonzero((np.diff(bars.contract) != 0) & (np.diff(numbers) == 0))
    for number in np.unique(numbers[inside]).tolist():
        of_day = slice(*np.searchsorted(numbers, [number, number + 1]).tolist())
        codes, first, counts = np.unique(
            bars.contract[of_day], return_index=True, return_counts=True
        )
        most = min(zip(-counts, first, codes, strict=True))[-1]
        odd[of_day] = bars.contract[of_day] != most
    return odd
