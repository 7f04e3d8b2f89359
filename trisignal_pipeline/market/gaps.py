"""Minutes on which a market was open and has no bar, and whether a lull explains them.

A minute without a trade has no record, so a missing bar alone proves nothing: the minutes around it
have to. Of the minutes of the same session and UTC date within an hour of a gap, a share traded. If
minutes trade independently at that rate, a session has

    1380 * p * (1 - p) ** n

gaps of n minutes or more, p being the share by the rule of succession, (traded + 1) / (looked at +
2), so that a full hour doesn't prove that every minute trades. What chance brings at least once in
a thousand sessions is a lull; what is rarer is suspicious.

The limits of that: lulls come in clusters, which makes a quiet market's long ones look rarer than
they are; and where next to nothing traded around a gap, nothing can speak against a lull. No gap
reaches across a midnight (UTC), a pause or a close, so that what is said of a date depends on the
bars of that date alone. One from such a break to the next has nothing around it: the share is then
a half, and 20 minutes are suspicious.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trisignal_pipeline.market.bars import Bools, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, DateRange, day_number
from trisignal_pipeline.market.sessions import Sessions

SESSION_MINUTES = 1380
"""A whole session, from 17:00 to 16:00."""

MINUTES_AROUND = 60
"""How far on each side of a gap the market is looked at."""

SESSIONS_PER_RARE_GAP = 1000
"""A gap that chance brings less often than once in so many sessions is suspicious."""


class GapKind(StrEnum):
    """What a gap is held for."""

    NO_TRADE = "no_trade"
    REJECTED = "rejected"
    SUSPICIOUS = "suspicious"
    HALT = "halt"
    """Only other markets can show that: see storage.completeness."""


_ABSENT, _REJECTED, _FOUND = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """Runs of open minutes without a bar, in order of time, in columns of one length.

    start_ns   int64, the OPEN of the first minute, nanoseconds since the epoch (UTC)
    minutes    int64, how many minutes
    rejected   the minutes have bars, which were rejected
    rare       chance doesn't explain the gap; never where it is `rejected`
    around     int64, how many open minutes within an hour of the gap were looked at
    traded     int64, on how many of them there was a trade, rejected bars included
    at_edge    the gap touches the minute on which the market opens or closes, pauses included
    """

    start_ns: Int64s
    minutes: Int64s
    rejected: Bools
    rare: Bools
    around: Int64s
    traded: Int64s
    at_edge: Bools

    def __len__(self) -> int:
        return len(self.start_ns)

    def kinds(self) -> list[GapKind]:
        """What each gap is held for by its own date alone."""
        return [
            GapKind.REJECTED if rejected else GapKind.SUSPICIOUS if rare else GapKind.NO_TRADE
            for rejected, rare in zip(self.rejected.tolist(), self.rare.tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Completeness:
    """What there is of each date of a range, beside what the session calendar expects.

    dates      the UTC dates
    expected   int64 [dates], minutes on which the market was open
    found      int64 [dates], how many of them have a bar
    outside    int64 [dates], bars on minutes on which the market was closed
    gaps       what makes up the difference of expected and found
    """

    dates: DateRange
    expected: Int64s
    found: Int64s
    outside: Int64s
    gaps: Gaps

    def minutes_in(self, gaps: Bools) -> Int64s:
        """How many minutes of each date lie in those of its gaps."""
        total = np.zeros(len(self.dates), np.int64)
        np.add.at(total, self._dates_of_gaps()[gaps], self.gaps.minutes[gaps])
        return total

    def longest(self) -> Int64s:
        """The longest gap of each date, in minutes; 0 where there is none."""
        longest = np.zeros(len(self.dates), np.int64)
        np.maximum.at(longest, self._dates_of_gaps(), self.gaps.minutes)
        return longest

    def _dates_of_gaps(self) -> Int64s:
        return self.gaps.start_ns // NS_PER_DAY - day_number(self.dates.start)


def completeness(ts: Int64s, rejected: Int64s, of: Sessions, dates: DateRange) -> Completeness:
    """Hold bars against the sessions they should fill.

    Args:
        ts: OPEN of each bar that stands, nanoseconds (UTC), on whole minutes, in order.
        rejected: OPEN of bars that were rejected, in any order; others of the minute may stand.
        of: the market's sessions, at least those that touch `dates`.
        dates: the UTC dates to judge; all of `ts` lie on them.
    """
    starts, ends, opens, closes = _stretches(of, dates)
    lengths = (ends - starts) // NS_PER_MINUTE
    after = np.cumsum(lengths)
    before = after - lengths
    stretch = np.repeat(np.arange(len(starts)), lengths)
    grid = starts[stretch] + (np.arange(len(stretch)) - before[stretch]) * NS_PER_MINUTE
    state = np.full(len(grid), _ABSENT, np.int8)
    state[_positions(grid, rejected)] = _REJECTED
    at = _positions(grid, ts)
    state[at] = _FOUND

    def by_date(minutes: Int64s) -> Int64s:
        return np.bincount(minutes // NS_PER_DAY - day_number(dates.start), minlength=len(dates))

    found = by_date(grid[at])

    first, past = _runs_without_bars(state, stretch)
    row = stretch[first]
    left = np.maximum(before[row], first - MINUTES_AROUND)
    right = np.minimum(after[row], past + MINUTES_AROUND)
    traded_before = np.concatenate(([0], np.cumsum(state != _ABSENT)))
    traded = traded_before[first] - traded_before[left] + traded_before[right] - traded_before[past]
    around = first - left + right - past
    was_rejected = state[first] == _REJECTED
    gaps = Gaps(
        start_ns=grid[first],
        minutes=past - first,
        rejected=was_rejected,
        rare=~was_rejected & _rare(past - first, traded, around),
        around=around,
        traded=traded,
        at_edge=(opens[row] & (first == before[row])) | (closes[row] & (past == after[row])),
    )
    return Completeness(dates, by_date(grid), found, by_date(ts) - found, gaps)


def _rare(minutes: Int64s, traded: Int64s, around: Int64s) -> Bools:
    share = (traded + 1) / (around + 2)
    per_session = SESSION_MINUTES * share * (1 - share) ** minutes
    return np.asarray(per_session * SESSIONS_PER_RARE_GAP < 1, np.bool_)


def _stretches(of: Sessions, dates: DateRange) -> tuple[Int64s, Int64s, Bools, Bools]:
    """Where the market is open without a break, cut at midnights (UTC) and to `dates`.

    Returns:
        From and to (nanoseconds, excluded), and whether the market opens and closes there.
    """
    starts = np.column_stack((of.open_ns, of.pause_end_ns)).ravel()
    ends = np.column_stack((of.pause_start_ns, of.close_ns)).ravel()
    midnights = np.arange(len(dates) + 1) * NS_PER_DAY + dates.start_ns
    cuts = np.unique(np.concatenate((starts, ends, midnights)))
    lower, upper = cuts[:-1], cuts[1:]
    inside = np.searchsorted(starts, lower, "right") > np.searchsorted(ends, lower, "right")
    wanted = inside & (lower >= dates.start_ns) & (upper <= dates.end_ns)
    lower, upper = lower[wanted], upper[wanted]
    return lower, upper, np.isin(lower, starts), np.isin(upper, ends)


def _positions(grid: Int64s, ts: Int64s) -> Int64s:
    """Where in `grid` those of `ts` are that it has."""
    at = np.searchsorted(grid, ts)
    there = at < len(grid)
    there[there] = grid[at[there]] == ts[there]
    return np.asarray(at[there], np.int64)


def _runs_without_bars(state: npt.NDArray[np.int8], stretch: Int64s) -> tuple[Int64s, Int64s]:
    """Where each run of one state, within one stretch, begins and where the next one does."""
    if not len(state):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    changes = (np.diff(state) != 0) | (np.diff(stretch) != 0)
    first = np.concatenate(([0], np.flatnonzero(changes) + 1))
    past = np.concatenate((first[1:], [len(state)]))
    lacking = state[first] != _FOUND
    return first[lacking], past[lacking]
