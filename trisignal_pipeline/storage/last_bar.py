"""The last stored legacy bar before a date: what the date's first bar follows."""

from __future__ import annotations

from datetime import date

from trisignal_pipeline.market.rolls import LastBar
from trisignal_pipeline.storage.connection import Connection


def last_legacy_bar(connection: Connection, symbol: str, before: date) -> LastBar | None:
    """The last legacy bar of the last finished date before `before` that has bars."""
    found = connection.execute(
        """
        SELECT d.date, coalesce(b.contract, ''), (b.close * 1000000000)::bigint
        FROM (SELECT date, last_ts FROM bar_dates
              WHERE symbol = %(symbol)s AND layer = 'legacy' AND date < %(before)s
                AND state = 'complete' AND bar_count > 0
              ORDER BY date DESC LIMIT 1) AS d
        JOIN market_bars_ohlcv_1m b
             ON b.symbol = %(symbol)s AND b.ts = d.last_ts + interval '1 minute'
        """,
        {"symbol": symbol, "before": before},
    ).fetchone()
    return None if found is None else LastBar(*found)
