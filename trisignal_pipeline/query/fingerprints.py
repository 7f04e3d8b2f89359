"""What stored content is told apart by: it changes whenever an answer made from it could."""

from __future__ import annotations

from datetime import date, timedelta

from trisignal_pipeline.market.dates import date_of_ns
from trisignal_pipeline.storage.connection import Connection, rows

_REACH = timedelta(days=14)
"""How far a bar that opens on a date may reach beyond it."""


def content_fingerprint(connection: Connection, symbol: str, start_ns: int, end_ns: int) -> str:
    """A text for the clean bars and signals of `symbol` from `start_ns` to before `end_ns`.

    It is made from what is kept of each UTC date that is touched, and of the dates around them that
    a daily bar may reach into; it reads no bars.
    """
    [found] = rows(
        connection,
        """
        SELECT md5(concat(
            (SELECT r::text FROM symbol_registry r WHERE r.internal_symbol = %(symbol)s), '|',
            (SELECT string_agg(b::text, ';' ORDER BY b.date) FROM bar_dates b
             WHERE b.symbol = %(symbol)s AND b.layer = 'clean'
               AND b.date BETWEEN %(first)s::date AND %(last)s::date), '|',
            (SELECT string_agg(s::text, ';' ORDER BY s.date) FROM signal_dates s
             WHERE s.symbol = %(symbol)s AND s.date BETWEEN %(first)s AND %(last)s))) AS md5
        """,
        symbol=symbol,
        first=date_of_ns(start_ns),
        last=min(date_of_ns(end_ns - 1), date.max - _REACH) + _REACH,
    )
    return str(found["md5"])
