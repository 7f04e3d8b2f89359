"""Clean dates made from legacy bars that have become other bars since.

Materialising clean bars again mends them. It passes over a date whose legacy bars a check found
broken, so such a date is not named here: the signal doesn't read it, and making it would not help.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from trisignal_pipeline.market.dates import DateRange, contiguous_ranges
from trisignal_pipeline.storage.connection import Connection

STALE = sql.SQL("""
    SELECT c.symbol, c.date
    FROM bar_dates c
    JOIN bar_dates l ON l.symbol = c.symbol AND l.date = c.date AND l.layer = 'legacy'
    WHERE c.layer = 'clean' AND c.state = 'complete' AND l.state = 'complete'
      AND c.made_from <> l.completed_at
      AND NOT EXISTS (
          SELECT FROM data_quality_results r
          WHERE r.symbol = c.symbol AND r.date = c.date AND r.asset = 'legacy_bars'
            AND NOT r.passed AND r.severity = 'ERROR')
""")
"""The query for them: `symbol` and `date`."""


def stale_clean_dates(connection: Connection) -> Mapping[str, list[DateRange]]:
    """By symbol, the clean dates of an older legacy version, as the fewest ranges that hold them.

    Dates whose legacy bars are just being written, and clean dates made before versions were kept,
    are not among them.
    """
    found = connection.execute(
        sql.SQL(
            "SELECT symbol, array_agg(date ORDER BY date) FROM ({}) AS stale "
            "GROUP BY symbol ORDER BY symbol"
        ).format(STALE)
    )
    return {symbol: contiguous_ranges(days) for symbol, days in found}
