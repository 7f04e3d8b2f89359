"""Bars of one market from several files: made one series, and told apart where they share a minute.

One instrument has one bar a minute. What the files say of it, and in which order they come, decides
which bar stands; when a file arrived decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trisignal_pipeline.market.bars import Bars, Bools, Int32s, Int64s, concatenate


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """Bars in order of time, those of one minute in order of delivery.

    origin   for each bar the delivery it comes from: its position among those that were merged
    """

    bars: Bars
    origin: Int32s

    @classmethod
    def of_one(cls, bars: Bars) -> Delivered:
        """Bars that all come from the same place."""
        return cls(bars, np.zeros(len(bars), np.int32))


def merge_deliveries(deliveries: Sequence[Bars]) -> Delivered:
    """All bars of `deliveries` in order of time, those of one minute in order of delivery."""
    bars = concatenate(deliveries)
    origin = np.repeat(
        np.arange(len(deliveries), dtype=np.int32), [len(part) for part in deliveries]
    )
    if len(bars) < 2 or (np.diff(bars.ts) >= 0).all():
        return Delivered(bars, origin)
    order = np.argsort(bars.ts, kind="stable")
    return Delivered(bars.take(order), origin[order])


@dataclass(frozen=True, slots=True, eq=False)
class SharedMinutes:
    """Which bars give way to another one of their minute, and to which; masks over a series.

    The last bar of a minute stands.

    repeated      the same delivery has another bar of the minute further on
    overruled_by  the delivery whose bar stands, where a later delivery has another bar than this;
                  -1 elsewhere
    copied        every later delivery has the very same bar
    """

    repeated: Bools
    overruled_by: Int32s
    copied: Bools

    @property
    def overruled(self) -> Bools:
        """Where a later delivery has another bar of the minute."""
        return self.overruled_by >= 0


def shared_minutes(bars: Bars, origin: Int32s) -> SharedMinutes:
    """Tell apart bars that share a minute; they are in order of time, ties in order of delivery.

    A bar is overruled once any later delivery contradicts it, even if a third agrees with it again:
    so the deliveries that came first never have to be judged anew, and the answer for all of them
    is the same in whatever order they were seen.
    """
    found = SharedMinutes(
        np.zeros(len(bars), np.bool_),
        np.full(len(bars), -1, np.int32),
        np.zeros(len(bars), np.bool_),
    )
    followed = _same_as_next(bars.ts)
    if not followed.any():
        return found
    preceded = np.concatenate(([False], followed[:-1]))
    rows = np.flatnonzero(followed | preceded)
    repeats = _same_as_next(bars.ts[rows]) & _same_as_next(origin[rows])
    found.repeated[rows[repeats]] = True

    # One bar of each delivery a minute is left.
    rows = rows[~repeats]
    followed = _same_as_next(bars.ts[rows])
    contradicted = followed & ~_same_as_next(*(column[rows] for column in _values(bars)))
    to_come = np.cumsum(contradicted[::-1])[::-1]
    standing = _ends(followed)
    overruled = to_come > to_come[standing]
    found.overruled_by[rows[overruled]] = origin[rows[standing[overruled]]]
    found.copied[rows[followed & ~overruled]] = True
    return found


def copied_later(bars: Bars, origin: Int32s) -> Bools:
    """Where a later delivery has the very same bar, whatever else there is of its minute."""
    columns = (bars.ts, *_values(bars))
    order = np.lexsort((origin, *columns))
    same = _same_as_next(*(column[order] for column in columns))
    copied = np.zeros(len(bars), np.bool_)
    copied[order] = origin[order] < origin[order][_ends(same)]
    return copied


def _values(bars: Bars) -> tuple[Int64s | Int32s, ...]:
    return bars.open, bars.high, bars.low, bars.close, bars.volume, bars.contract


def _same_as_next(*columns: Int64s | Int32s) -> Bools:
    same = np.zeros(len(columns[0]), np.bool_)
    same[:-1] = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    return same


def _ends(followed: Bools) -> Int64s:
    """For each row the last one of its group, given which rows are followed by one of theirs."""
    ends = np.flatnonzero(~followed)
    return ends[np.searchsorted(ends, np.arange(len(followed)))]
