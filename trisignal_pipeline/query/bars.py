"""Bars of any timeframe as a chart shows them, made from stored minutes: clean ones as a rule.

They are folded by the code that feeds the engine, `signal.timeframes`, so to lay them over a chart
is to check what the signal is computed from. `ts` is the start of a bar's period: a daily bar opens
with its session, one that is merged of several with the first of them.

A bar is given only if it is whole: if every UTC date on which its period trades has finished bars
of the layer. What is not whole is named, never shown as if it were. Of a moment in the past it is
not known which dates had been finished: there a date counts that had any bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from trisignal_pipeline.market.bars import Bars, Bools, Int64s, concatenate
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    DateRange,
    by_year,
    contiguous_ranges,
    date_of_ns,
    day_number,
    from_day_number,
)
from trisignal_pipeline.market.sessions import (
    Sessions,
    expected_minutes,
    sessions,
    utc_days,
)
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.signal.rules import PERIOD_NS, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import HigherBars, higher_bars
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import CLEAN, BarsTable, read_bars
from trisignal_pipeline.storage.connection import Connection

# Longer than any run of sessions that share a daily bar, weekends and holidays included.
_LONGEST_PERIOD = timedelta(days=14)


@dataclass(frozen=True, slots=True, eq=False)
class StoredMinutes:
    """Finished bars of a stretch of time, and what bars of other timeframes need beside them.

    bars      1-minute bars in ascending time
    sessions  the sessions (under the UTC anchor: days) that periods are counted from
    missing   UTC dates, in days since 1970-01-01, that trade and have no finished bars
    """

    bars: Bars
    sessions: Sessions
    missing: Int64s


@dataclass(frozen=True, slots=True, eq=False)
class WholeBars:
    """Bars of one timeframe. `left_out` are the starts of periods that are not whole."""

    bars: HigherBars
    left_out: Int64s


def read_minutes(
    connection: Connection,
    market: Market,
    timeframe: str,
    dates: DateRange,
    *,
    table: BarsTable = CLEAN,
    as_of: datetime | None = None,
) -> StoredMinutes:
    """The minutes that bars of `timeframe` which open on `dates` are made of.

    They reach to the end of the last period that opens on `dates`, be it days later.
    """
    around = _sessions_around(market, dates)
    needed = DateRange(dates.start, _last_date(timeframe, around, dates))
    symbol = str(market.symbol)
    if as_of is None:
        complete = complete_dates(connection, symbol, table.layer, needed)
        filled = [day for day, described in complete.items() if described.bar_count]
        known = set(complete)
    else:
        filled = list(needed)
    minutes = _stored(connection, table, symbol, filled, as_of)
    if as_of is not None:
        known = {from_day_number(day) for day in np.unique(minutes.day_numbers()).tolist()}
    return StoredMinutes(minutes, around, _missing(market, needed, known))


def finished_minutes(connection: Connection, symbol: str, dates: DateRange) -> Bars:
    """The clean bars of those of `dates` that are finished, in order of time."""
    complete = complete_dates(connection, symbol, CLEAN.layer, dates)
    filled = [day for day, described in complete.items() if described.bar_count]
    return _stored(connection, CLEAN, symbol, filled, None)


def _stored(
    connection: Connection,
    table: BarsTable,
    symbol: str,
    days: Sequence[date],
    as_of: datetime | None,
) -> Bars:
    return concatenate(
        read_bars(connection, table, symbol, part.start_ns, part.end_ns, as_of=as_of)
        for span in contiguous_ranges(days)
        for part in by_year(span)
    )


def _sessions_around(market: Market, dates: DateRange) -> Sessions:
    """Every session, under the UTC anchor every day, of the periods that touch `dates`."""
    first, last = dates.start - _LONGEST_PERIOD, dates.end + _LONGEST_PERIOD
    if market.anchor == Anchor.UTC:
        return utc_days(first, last)
    return sessions(market.session_profile, first, last)


def whole_bars(minutes: StoredMinutes, timeframe: str, start_ns: int, end_ns: int) -> WholeBars:
    """The bars of `timeframe` whose period starts in [start_ns, end_ns) (nanoseconds, UTC).

    `finished_on` counts rows of `minutes.bars`.
    """
    made = fold_minutes(minutes, timeframe)
    made = _take(made, (made.ts >= start_ns) & (made.ts < end_ns))
    last_ns = period_ends(made.ts, timeframe, minutes.sessions) - 1
    before = np.searchsorted(minutes.missing, made.ts // NS_PER_DAY)
    whole = before == np.searchsorted(minutes.missing, last_ns // NS_PER_DAY, side="right")
    return WholeBars(_take(made, whole), made.ts[~whole])


def fold_minutes(minutes: StoredMinutes, timeframe: str) -> HigherBars:
    """All bars of `timeframe` that hold any of `minutes`; of 1m, the minutes themselves."""
    if timeframe != TIMEFRAMES[0]:
        return higher_bars(minutes.bars, timeframe, minutes.sessions)
    own = minutes.bars
    rows = np.arange(len(own), dtype=np.int64)
    return HigherBars(own.ts, own.open, own.high, own.low, own.close, own.volume, rows)


def period_ends(starts: Int64s, timeframe: str, of: Sessions) -> Int64s:
    """Where the periods that begin at `starts` end; nanoseconds since the epoch, int64 [n]."""
    if timeframe == TIMEFRAMES[0]:
        return starts + NS_PER_MINUTE
    row = of.locate(starts)
    if PERIOD_NS[timeframe]:
        return np.minimum(starts + PERIOD_NS[timeframe], of.close_ns[row])
    return of.daily_close_ns[row]


def _last_date(timeframe: str, around: Sessions, dates: DateRange) -> date:
    """The last UTC date that periods which open on `dates` reach into."""
    opened = around.open_ns < dates.end_ns
    if timeframe == TIMEFRAMES[0] or not opened.any():
        return dates.end
    closes = around.close_ns if PERIOD_NS[timeframe] else around.daily_close_ns
    return max(dates.end, date_of_ns(int(closes[opened].max()) - 1))


def _missing(market: Market, dates: DateRange, complete: set[date]) -> Int64s:
    trades = np.ones(len(dates), np.bool_)
    if market.anchor != Anchor.UTC:
        trades = expected_minutes(market.session_profile, dates.start, dates.end) > 0
    absent = [
        day_number(day)
        for day, open_that_day in zip(dates, trades.tolist(), strict=True)
        if open_that_day and day not in complete
    ]
    return np.array(absent, np.int64)


def _take(made: HigherBars, rows: Bools) -> HigherBars:
    return HigherBars(*(getattr(made, name)[rows] for name in HigherBars.__slots__))
