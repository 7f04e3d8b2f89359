"""The gaps of clean bars: open minutes without a bar, and what they are held for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from trisignal_pipeline.market.dates import DateRange, utc
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


def gaps(connection: Connection, symbol: str, dates: DateRange, kinds: Sequence[str]) -> Table:
    """Gaps of `kinds` (values of `GapKind`) on `dates`, in order of time; of all kinds if none."""
    return read_table(
        connection,
        """
        SELECT ts, minutes, kind, why FROM session_gaps
        WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
          AND (%(kinds)s::text[] = '{}' OR kind = ANY(%(kinds)s))
        ORDER BY ts
        """,
        {
            "symbol": symbol,
            "start": utc(dates.start_ns),
            "end": utc(dates.end_ns),
            "kinds": list(kinds),
        },
    )


def dates_not_judged(connection: Connection, market: Market, dates: DateRange) -> list[date]:
    """Of `dates`, those on which the market trades and nobody looked for gaps yet."""
    judged = {
        day
        for (day,) in connection.execute(
            """
            SELECT date FROM bar_dates
            WHERE symbol = %s AND layer = 'clean' AND state = 'complete'
              AND expected_minutes IS NOT NULL AND date BETWEEN %s AND %s
            """,
            (str(market.symbol), dates.start, dates.end),
        )
    }
    minutes = expected_minutes(market.session_profile, dates.start, dates.end).tolist()
    return [day for day, open_ in zip(dates, minutes, strict=True) if open_ and day not in judged]
