"""When a market trades: its sessions as columns, and how many minutes a UTC date should have.

CME's equity index futures (profile `cme_equity`), all times America/Chicago:

- a session opens at 17:00 on the evening before its trade date, and closes at 16:00, up to
  2015-09-18 at 16:15. A pause from 15:15 to 15:30 lasted until 2021-06-25; it is no close.
- short sessions are a dated table, `cme_equity_short_sessions.csv`, made from traded minutes and
  from the dates a daily chart has. A session that halts at 12:00 has no daily bar of its own: its
  minutes belong to the daily bar of the next trade date that has one.
- the calendar library supplies the other trade dates. Inside `VERIFIED_SPAN` its hours count for
  nothing. Outside, where no table reaches, its early closes are read by the rules the table
  follows: 12:15 and a daily bar of its own on the day before Independence Day, the day after
  Thanksgiving and Christmas Eve; on any other such day a halt at 12:00 without one.
- a Good Friday has a session only when it is the first Friday of its month, the day of the
  employment report. The library lists some others (2024-03-29, 2025-04-18); they never were.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path

import numpy as np

from trisignal_pipeline.errors import CalendarError, RangeError
from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    DateRange,
    day_number,
)
from trisignal_pipeline.market.exchange_calendar import EXCHANGE_TIME, listed_trade_dates

VERIFIED_SPAN = DateRange(date(2014, 5, 1), date(2026, 4, 30))
"""Trade dates whose sessions were checked against traded minutes and exported charts."""

PROFILES = ("cme_equity",)

_OPEN = time(17)
_CLOSE = time(16)
_OLD_CLOSE = time(16, 15)
_OLD_CLOSE_UNTIL = date(2015, 9, 18)
_PAUSE = (time(15, 15), time(15, 30))
_PAUSE_UNTIL = date(2021, 6, 25)
_HALF_DAY_CLOSE = time(12, 15)
_GOOD_FRIDAY_CLOSE = time(8, 15)
# Wider than any run of closed or merged days, so that no daily bar is cut by a question's bounds.
_MARGIN = timedelta(days=14)


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Sessions in order of time, in int64 columns of one length.

    open_ns, close_ns              the session is [open, close), nanoseconds since the epoch (UTC)
    pause_start_ns, pause_end_ns   the pause within it; both equal close_ns where there is none
    trade_date                     the date the session is named by, in days since 1970-01-01
    daily_bar                      the trade date whose daily bar the session's minutes belong to
    daily_open_ns, daily_close_ns  where that daily bar's first session opens and its last closes
    """

    open_ns: Int64s
    close_ns: Int64s
    pause_start_ns: Int64s
    pause_end_ns: Int64s
    trade_date: Int64s
    daily_bar: Int64s
    daily_open_ns: Int64s
    daily_close_ns: Int64s

    def __len__(self) -> int:
        return len(self.open_ns)

    def take(self, rows: slice) -> Sessions:
        """The sessions at `rows`."""
        return Sessions(
            self.open_ns[rows],
            self.close_ns[rows],
            self.pause_start_ns[rows],
            self.pause_end_ns[rows],
            self.trade_date[rows],
            self.daily_bar[rows],
            self.daily_open_ns[rows],
            self.daily_close_ns[rows],
        )

    def locate(self, ts: Int64s) -> Int64s:
        """The row of the session that each instant lies in; -1 for one outside all of them."""
        if not len(self):
            return np.full(len(ts), -1, np.int64)
        rows = np.searchsorted(self.open_ns, ts, side="right") - 1
        inside = (rows >= 0) & (ts < self.close_ns[rows])
        return np.where(inside, rows, -1).astype(np.int64)


def sessions(profile: str, first: date, last: date) -> Sessions:
    """The sessions with a trade date from `first` to `last`, both included.

    Raises:
        CalendarError: no such profile.
        RangeError: `last` comes before `first`.
    """
    require_profile(profile)
    if last < first:
        raise RangeError(f"sessions from {first} to {last}: give the earlier date first")
    years = _cme_equity_sessions(first.year, last.year)
    bounds = np.searchsorted(years.trade_date, [day_number(first), day_number(last) + 1])
    return years.take(slice(int(bounds[0]), int(bounds[1])))


def require_profile(profile: str) -> None:
    """Raise `CalendarError` unless there are sessions under the name `profile`."""
    if profile not in PROFILES:
        raise CalendarError(
            f"session profile {profile!r} does not exist; there is {', '.join(PROFILES)} "
            "(or anchor the symbol's higher timeframes to UTC, which needs none)"
        )


def utc_days(first: date, last: date) -> Sessions:
    """UTC dates from `first` to `last`, both included, as sessions of 24 hours."""
    days = np.arange(day_number(first), day_number(last) + 1, dtype=np.int64)
    start, end = days * NS_PER_DAY, (days + 1) * NS_PER_DAY
    return Sessions(start, end, end, end, days, days, start, end)


def expected_minutes(profile: str, first: date, last: date) -> Int64s:
    """How many minutes the market is open on each UTC date from `first` to `last`, both included.

    0 means closed all day: a date without bars is then not a gap. A minute without a trade has no
    bar, so a quiet market has fewer bars than this and none has more.

    Raises:
        CalendarError: no such profile.
        RangeError: `last` comes before `first`.
    """
    # The evening that opens a session lies on the UTC date before its trade date.
    around = sessions(profile, first, last + timedelta(days=1))
    midnights = np.arange(day_number(first), day_number(last) + 2, dtype=np.int64) * NS_PER_DAY
    starts = np.column_stack((around.open_ns, around.pause_end_ns)).ravel()
    ends = np.column_stack((around.pause_start_ns, around.close_ns)).ravel()
    if not len(starts):
        return np.zeros(len(midnights) - 1, np.int64)
    open_before = np.concatenate(([0], np.cumsum(ends - starts)))
    part = np.searchsorted(starts, midnights, side="right") - 1
    within = np.minimum(midnights, ends[part]) - starts[part]
    elapsed = np.where(part < 0, 0, open_before[part] + within)
    return np.asarray(np.diff(elapsed) // NS_PER_MINUTE, np.int64)


@dataclass(frozen=True, slots=True)
class _ShortSession:
    close: time
    own_daily_bar: bool


@cache
def _dated_table() -> dict[date, _ShortSession]:
    path = Path(__file__).with_name("cme_equity_short_sessions.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return {
            date.fromisoformat(row["trade_date"]): _ShortSession(
                time.fromisoformat(row["close_chicago"]), row["own_daily_bar"] == "yes"
            )
            for row in csv.DictReader(file)
        }


def _trade_dates(first: date, last: date) -> dict[date, _ShortSession]:
    """Every trade date, in order, with its close and whether it has a daily bar of its own."""
    dated = _dated_table()
    found: dict[date, _ShortSession] = {}
    for day, early_close in listed_trade_dates(first, last):
        if early_close == _GOOD_FRIDAY_CLOSE and day.day > 7:
            continue
        if early_close is None or day in VERIFIED_SPAN:
            close = _OLD_CLOSE if day <= _OLD_CLOSE_UNTIL else _CLOSE
            found[day] = _ShortSession(close, own_daily_bar=True)
        else:
            found[day] = _short_session_by_rule(day, early_close)
    found |= {day: short for day, short in dated.items() if first <= day <= last}
    return dict(sorted(found.items()))


def _short_session_by_rule(day: date, early_close: time) -> _ShortSession:
    """What the dated table would say of a day for which the library lists an early close."""
    if early_close != time(12):
        return _ShortSession(early_close, own_daily_bar=True)
    # On a Friday, 3 July is Independence Day itself, observed.
    before_independence_day = (day.month, day.day) == (7, 3) and day.weekday() != 4
    after_thanksgiving = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
    if before_independence_day or after_thanksgiving or (day.month, day.day) == (12, 24):
        return _ShortSession(_HALF_DAY_CLOSE, own_daily_bar=True)
    return _ShortSession(early_close, own_daily_bar=False)


@cache
def _cme_equity_sessions(first_year: int, last_year: int) -> Sessions:
    """All sessions of some years, read-only. 16 years take some 60 ms."""
    first, last = date(first_year, 1, 1), date(last_year, 12, 31)
    listed = _trade_dates(first - _MARGIN, last + _MARGIN)
    rows = [(*_clock_times(day, short.close), day_number(day)) for day, short in listed.items()]
    columns = np.ascontiguousarray(np.array(rows, np.int64).T)
    open_ns, close_ns, pause_start_ns, pause_end_ns, trade_date = columns
    own = np.array([short.own_daily_bar for short in listed.values()], np.bool_)
    # Each session counts towards the first one from itself on that has a daily bar of its own;
    # what follows the last such one lies beyond the margin's use.
    owners = np.flatnonzero(own)
    group = np.minimum(np.searchsorted(owners, np.arange(len(own))), len(owners) - 1)
    first_of_group = np.searchsorted(group, np.arange(len(owners)))
    whole = Sessions(
        open_ns,
        close_ns,
        pause_start_ns,
        pause_end_ns,
        trade_date,
        daily_bar=trade_date[owners][group],
        daily_open_ns=open_ns[first_of_group][group],
        daily_close_ns=close_ns[owners][group],
    )
    kept = np.searchsorted(trade_date, [day_number(first), day_number(last) + 1])
    return _read_only(whole.take(slice(int(kept[0]), int(kept[1]))))


def _clock_times(day: date, close: time) -> tuple[int, int, int, int]:
    """Open, close, start and end of the pause of one session, nanoseconds since the epoch."""
    close_ns = _chicago_ns(day, close)
    pause = (close_ns, close_ns)
    if day <= _PAUSE_UNTIL and close > _PAUSE[1]:
        pause = (_chicago_ns(day, _PAUSE[0]), _chicago_ns(day, _PAUSE[1]))
    return _chicago_ns(day - timedelta(days=1), _OPEN), close_ns, *pause


def _chicago_ns(day: date, clock: time) -> int:
    local = datetime.combine(day, clock, tzinfo=EXCHANGE_TIME)
    return int(local.timestamp()) * NS_PER_SECOND


def _read_only(cached: Sessions) -> Sessions:
    for name in Sessions.__slots__:
        getattr(cached, name).setflags(write=False)
    return cached
