"""The gaps of clean bars: open minutes without a bar, and what they are held for."""

from __future__ import annotations

from collections.abc import Sequence

from trisignal_pipeline.market.dates import DateRange, utc
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
