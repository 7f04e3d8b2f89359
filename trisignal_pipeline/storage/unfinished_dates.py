"""Dates of which an asset is missing, or was being changed when its run ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.lead_doubts import CHECK as LEAD_CHECK


def unfinished_dates(connection: Connection, symbol: str, dates: DateRange) -> list[date]:
    """The dates that lack complete legacy bars or clean ones, or a signal though they have bars."""
    found = connection.execute(
        """
        SELECT wanted.day::date FROM generate_series(%(first)s::timestamp, %(last)s::timestamp,
                                                     interval '1 day') AS wanted (day)
        WHERE (SELECT count(*) FROM bar_dates b
               WHERE b.symbol = %(symbol)s AND b.date = wanted.day::date
                 AND b.state = 'complete') < 2
           OR EXISTS (SELECT FROM bar_dates b
                      WHERE b.symbol = %(symbol)s AND b.date = wanted.day::date
                        AND b.layer = 'clean' AND b.bar_count > 0)
              AND NOT EXISTS (SELECT FROM signal_dates s
                              WHERE s.symbol = %(symbol)s AND s.date = wanted.day::date
                                AND NOT s.withdrawn)
        ORDER BY 1
        """,
        {"symbol": symbol, "first": dates.start, "last": dates.end},
    )
    return [day for (day,) in found]


def last_judged(connection: Connection, symbol: str, dates: DateRange) -> Mapping[date, datetime]:
    """When a run last gave a verdict on each date; a date without any is left out."""
    return dict(
        connection.execute(
            """
            SELECT date, max(checked_at) FROM data_quality_results
            WHERE symbol = %s AND date BETWEEN %s AND %s AND check_name <> %s GROUP BY date
            """,
            (symbol, dates.start, dates.end, LEAD_CHECK),
        )
    )


def last_looked_for(
    connection: Connection, symbol: str, dates: DateRange
) -> Mapping[date, datetime]:
    """When a run last looked for the files of each date, or asked the API for it."""
    return dict(
        connection.execute(
            """
            SELECT date, max(checked_at) FROM data_quality_results
            WHERE symbol = %s AND date BETWEEN %s AND %s AND asset = 'raw_dbn_files' GROUP BY date
            """,
            (symbol, dates.start, dates.end),
        )
    )
