"""What the clean bars of each date add up to, kept so that the view `daily_summary` is quick.

The view takes only rows of the dates as they are now, and adds up the others itself: a row that is
missing or old costs time, never the truth.
"""

from __future__ import annotations

from trisignal_pipeline.storage.connection import Connection


def keep_daily_summaries(connection: Connection, symbol: str) -> int:
    """Make the kept summaries of `symbol` those of its finished dates; how many were made anew."""
    connection.execute(
        """
        DELETE FROM daily_summaries k
        WHERE k.symbol = %(symbol)s AND NOT EXISTS (
            SELECT FROM bar_dates d
            WHERE d.symbol = k.symbol AND d.date = k.date AND d.layer = 'clean'
              AND d.state = 'complete' AND d.bar_count > 0)
        """,
        {"symbol": symbol},
    )
    made = connection.execute(
        """
        INSERT INTO daily_summaries
            (symbol, date, bars_completed_at, open, high, low, close, volume)
        SELECT d.symbol, d.date, d.completed_at, f.open, f.high, f.low, f.close, f.volume
        FROM bar_dates d
        CROSS JOIN LATERAL summarised_bars(d.symbol, d.date) f
        WHERE d.symbol = %(symbol)s AND d.layer = 'clean' AND d.state = 'complete'
          AND d.bar_count > 0 AND NOT EXISTS (
              SELECT FROM daily_summaries k
              WHERE k.symbol = d.symbol AND k.date = d.date
                AND k.bars_completed_at = d.completed_at)
        ON CONFLICT (symbol, date) DO UPDATE SET
            bars_completed_at = excluded.bars_completed_at, open = excluded.open,
            high = excluded.high, low = excluded.low, close = excluded.close,
            volume = excluded.volume
        """,
        {"symbol": symbol},
    )
    return made.rowcount
