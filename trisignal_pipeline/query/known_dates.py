"""Which dates of a span there can be anything of: whoever asks for all time is answered as soon."""

from __future__ import annotations

from datetime import timedelta

from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.storage.connection import Connection

_LONGEST_PERIOD = timedelta(days=14)
"""A bar's period may open so long before its first minute, holidays between."""


def known_dates(
    connection: Connection, symbol: str, start_ns: int, end_ns: int
) -> DateRange | None:
    """The UTC dates of [start_ns, end_ns) that lie between the first and the last with clean bars.

    None if no date does.
    """
    found = connection.execute(
        """
        SELECT min(date), max(date) FROM bar_dates
        WHERE symbol = %s AND layer = 'clean' AND state = 'complete' AND bar_count > 0
        """,
        (symbol,),
    ).fetchone()
    if end_ns <= start_ns or found is None or found[0] is None:
        return None
    first = max(date_of_ns(start_ns), found[0] - _LONGEST_PERIOD)
    last = min(date_of_ns(end_ns - 1), found[1])
    return DateRange(first, last) if first <= last else None
