"""How many triangles there were, by date, hour, direction or session."""

from __future__ import annotations

from enum import StrEnum
from typing import LiteralString

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange, from_day_number, utc
from trisignal_pipeline.market.sessions import sessions, utc_days
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


class By(StrEnum):
    """What triangles are counted by.

    DATE       UTC dates that have bars; one without triangles counts 0
    HOUR       hours of the UTC day, 0 to 23
    DIRECTION  BULL and BEAR
    SESSION    the exchange's sessions, by trade date; those that have bars
    """

    DATE = "date"
    HOUR = "hour"
    DIRECTION = "direction"
    SESSION = "session"


def counted_by(name: str) -> By:
    """What `name` spells.

    Raises:
        ConfigurationError: triangles are not counted by that.
    """
    if name not in set(By):
        raise ConfigurationError(
            f"triangles are not counted by {name!r}; there are {', '.join(By)}"
        )
    return By(name)


def counts(connection: Connection, market: Market, dates: DateRange, by: By = By.DATE) -> Table:
    """Triangles of `dates` counted by `by`, in its order.

    `dates` are UTC dates; by session, trade dates.

    Raises:
        CalendarError: the market's session profile does not exist.
    """
    parameters: dict[str, object] = {
        "symbol": str(market.symbol),
        "first": dates.start,
        "last": dates.end,
        "start": utc(dates.start_ns),
        "end": utc(dates.end_ns),
    }
    if by is By.SESSION:
        of = (
            utc_days(dates.start, dates.end)
            if market.anchor == Anchor.UTC
            else sessions(market.session_profile, dates.start, dates.end)
        )
        parameters |= {
            "trade_dates": [from_day_number(day) for day in of.trade_date.tolist()],
            "opens": [utc(ts) for ts in of.open_ns.tolist()],
            "closes": [utc(ts) for ts in of.close_ns.tolist()],
        }
    return read_table(connection, _QUERIES[by], parameters)


_QUERIES: dict[By, LiteralString] = {
    By.DATE: """
        SELECT d.date, count(*) FILTER (WHERE e.direction = 'BULL') AS bull,
               count(*) FILTER (WHERE e.direction = 'BEAR') AS bear, count(e.id) AS total
        FROM signal_dates d
        LEFT JOIN triangle_events_v1 e
               ON e.symbol = d.symbol AND e.ts >= d.date::timestamp AT TIME ZONE 'UTC'
              AND e.ts < (d.date + 1)::timestamp AT TIME ZONE 'UTC'
        WHERE d.symbol = %(symbol)s AND d.date BETWEEN %(first)s AND %(last)s AND d.bar_count > 0
        GROUP BY d.date ORDER BY d.date
    """,
    By.HOUR: """
        SELECT h.hour, count(*) FILTER (WHERE e.direction = 'BULL') AS bull,
               count(*) FILTER (WHERE e.direction = 'BEAR') AS bear, count(e.ts) AS total
        FROM generate_series(0, 23) AS h (hour)
        LEFT JOIN (
            SELECT ts, direction, extract(hour FROM ts AT TIME ZONE 'UTC')::integer AS hour
            FROM triangle_events_v1
            WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
        ) e ON e.hour = h.hour
        GROUP BY h.hour ORDER BY h.hour
    """,
    By.DIRECTION: """
        SELECT d.direction, count(e.ts) AS total
        FROM (VALUES ('BULL'), ('BEAR')) AS d (direction)
        LEFT JOIN triangle_events_v1 e
               ON e.symbol = %(symbol)s AND e.ts >= %(start)s AND e.ts < %(end)s
              AND e.direction = d.direction
        GROUP BY d.direction ORDER BY d.direction DESC
    """,
    By.SESSION: """
        SELECT s.trade_date AS session, s.open, s.close,
               count(*) FILTER (WHERE e.direction = 'BULL') AS bull,
               count(*) FILTER (WHERE e.direction = 'BEAR') AS bear, count(e.id) AS total
        FROM unnest(%(trade_dates)s::date[], %(opens)s::timestamptz[], %(closes)s::timestamptz[])
             AS s (trade_date, open, close)
        LEFT JOIN triangle_events_v1 e
               ON e.symbol = %(symbol)s AND e.ts >= s.open AND e.ts < s.close
        WHERE EXISTS (
            SELECT FROM signal_dates d
            WHERE d.symbol = %(symbol)s AND d.bar_count > 0
              AND d.date BETWEEN (s.open AT TIME ZONE 'UTC')::date
                             AND (s.close AT TIME ZONE 'UTC')::date)
        GROUP BY s.trade_date, s.open, s.close ORDER BY s.open
    """,
}
