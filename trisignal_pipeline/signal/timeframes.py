"""Higher bars, built from 1-minute bars: 5m, 15m, 1h, 4h and 1d.

Periods count from the open of a session and are cut at its close; the daily bar is all the sessions
that belong to it. UTC periods are the same thing with UTC dates as sessions. A higher bar is
finished on the 1-minute bar that is the last minute of its period; if that minute did not trade,
just before the first 1-minute bar of a later period. Minutes outside every session belong to no
higher bar and finish none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trisignal_pipeline.market.bars import Bars, Bools, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, date_of_ns
from trisignal_pipeline.market.sessions import Sessions, sessions, utc_days
from trisignal_pipeline.market.symbols import Anchor
from trisignal_pipeline.signal.rules import PERIOD_NS, require_higher_timeframe


@dataclass(frozen=True, slots=True)
class UnfinishedBar:
    """A higher bar of which minutes may still come. `ts` is the start of its period."""

    ts: int
    open: int
    high: int
    low: int
    close: int
    volume: int


@dataclass(frozen=True, slots=True, eq=False)
class HigherBars:
    """Bars of one higher timeframe, in columns of one length.

    ts           int64, start of the period (nanoseconds since the epoch, UTC), whether or not that
                 minute traded; for a daily bar the open of its first session
    open, high, low, close   int64, units of 1e-9
    volume       int64
    finished_on  int64, row of the 1-minute bar from which on the finished bar is seen; -1 for a
                 bar that isn't finished, which can only be the last one
    """

    ts: Int64s
    open: Int64s
    high: Int64s
    low: Int64s
    close: Int64s
    volume: Int64s
    finished_on: Int64s

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def finished(self) -> Bools:
        """Which bars are finished: all, or all but the last."""
        return self.finished_on >= 0


def sessions_around(anchor: Anchor, profile: str, ts: Int64s) -> Sessions:
    """The sessions that minutes with ascending `ts` (nanoseconds since the epoch) can lie in.

    Raises:
        CalendarError: session anchor, and no such profile.
    """
    # A session's open lies on the UTC date before its trade date.
    first = date_of_ns(int(ts[0]))
    last = date_of_ns(int(ts[-1]) + NS_PER_DAY)
    return utc_days(first, last) if anchor == Anchor.UTC else sessions(profile, first, last)


def higher_bars(bars: Bars, timeframe: str, of: Sessions) -> HigherBars:
    """All bars of a higher timeframe, the unfinished last one included.

    Args:
        bars: 1-minute bars in ascending time.
        timeframe: one of `HIGHER_TIMEFRAMES`.
        of: the sessions around them, for instance from `sessions_around`.

    Raises:
        ConfigurationError: no such timeframe.
    """
    finished, last = fold(bars, timeframe, of, None)
    if last is None:
        return finished
    row = (last.ts, last.open, last.high, last.low, last.close, last.volume, -1)
    return HigherBars(
        *(
            np.append(getattr(finished, name), value)
            for name, value in zip(HigherBars.__slots__, row, strict=True)
        )
    )


def fold(
    bars: Bars, timeframe: str, of: Sessions, unfinished: UnfinishedBar | None
) -> tuple[HigherBars, UnfinishedBar | None]:
    """The higher bars that `bars` finish, and the one they leave unfinished, if any.

    Args:
        bars: 1-minute bars in ascending time, all later than those that went before.
        timeframe: one of `HIGHER_TIMEFRAMES`.
        of: the sessions around them.
        unfinished: what the bars before these left unfinished.

    Raises:
        ConfigurationError: no such timeframe.
    """
    require_higher_timeframe(timeframe)
    # Imports the compiler and loads (once on a machine: makes) the compiled code.
    from trisignal_pipeline.signal.folding import SCALARS, fold_minutes  # noqa: PLC0415

    period_ns = PERIOD_NS[timeframe]
    carried = np.zeros(SCALARS, np.int64)
    if unfinished is not None:
        values = (1, *(getattr(unfinished, name) for name in UnfinishedBar.__slots__))
        carried[: len(values)] = values
    out = np.empty((len(HigherBars.__slots__), _most_periods(bars, period_ns, of)), np.int64)
    count = fold_minutes(
        _column(bars.ts),
        _column(bars.open),
        _column(bars.high),
        _column(bars.low),
        _column(bars.close),
        _column(bars.volume),
        _column(of.open_ns),
        _column(of.close_ns),
        _column(of.daily_open_ns),
        _column(of.daily_close_ns),
        period_ns,
        carried,
        out,
    )
    left = UnfinishedBar(*(int(value) for value in carried[1:])) if carried[0] else None
    return HigherBars(*(column[:count].copy() for column in out)), left


def _most_periods(bars: Bars, period_ns: int, of: Sessions) -> int:
    """How many higher bars can be finished: one for each period that can hold a bar, and one more
    that was left unfinished before.
    """
    if period_ns == 0:
        return min(len(bars), len(of)) + 1
    periods = -(-(of.close_ns - of.open_ns) // period_ns)
    return min(len(bars), int(periods.sum())) + 1


def _column(values: Int64s) -> Int64s:
    """The values as the kernel wants them: one after the other in memory."""
    return np.ascontiguousarray(values, np.int64)
