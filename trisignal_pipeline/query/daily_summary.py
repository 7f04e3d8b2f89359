"""The days of a symbol in short: the view `daily_summary`."""

from __future__ import annotations

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


def daily_summary(connection: Connection, symbol: str, dates: DateRange) -> Table:
    """The finished UTC dates of clean bars among `dates`: prices in points, counts of triangles.

    Counts are empty of a date whose signal isn't computed.
    """
    return read_table(
        connection,
        """
        SELECT date, contract, rolled, open::float8, high::float8, low::float8, close::float8,
               volume, bars, expected_minutes, found_minutes, bull, bear, aligned, engulfing
        FROM daily_summary
        WHERE symbol = %(symbol)s AND date BETWEEN %(first)s AND %(last)s
        ORDER BY date
        """,
        {"symbol": symbol, "first": dates.start, "last": dates.end},
    )
