"""Which trade dates an exchange lists: the one file that asks the calendar library.

The library knows the holidays of any year, past or future, by rule. Of its hours only the early
closes are passed on, as a hint: the hours themselves are the business of `sessions`.
"""

from __future__ import annotations

from datetime import date, time
from functools import cache
from zoneinfo import ZoneInfo

EXCHANGE_TIME = ZoneInfo("America/Chicago")

_REGULAR_CLOSES = frozenset({time(15, 15), time(16)})
"""What the library gives on an ordinary day: 15:15 in its years before 2012-11, else 16:00."""


@cache
def listed_trade_dates(first: date, last: date) -> tuple[tuple[date, time | None], ...]:
    """Trade dates of CME's equity index futures from `first` to `last`, both included.

    Returns:
        Each trade date, in order, with the early close the library lists for it (local time of
        Chicago), or None where it lists none.
    """
    # Half a second of imports, which only a question that gets here should cost.
    import pandas as pd  # noqa: PLC0415
    import pandas_market_calendars  # noqa: PLC0415

    calendar = pandas_market_calendars.get_calendar("CME_Equity")
    schedule = calendar.schedule(pd.Timestamp(first), pd.Timestamp(last))
    closes = schedule["market_close"].dt.tz_convert(EXCHANGE_TIME)
    listed: list[tuple[date, time | None]] = []
    for day, close in zip(schedule.index.date, closes.dt.time, strict=True):
        listed.append((day, None if close in _REGULAR_CLOSES else close))
    return tuple(listed)
