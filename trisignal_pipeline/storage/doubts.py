"""Which stored signals were computed from other bars, or under other rules, than there are now.

Nothing marks them: they are told by comparing what each was computed from with what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage.connection import Connection


@dataclass(frozen=True, slots=True)
class Doubt:
    """What of one symbol is in doubt. `from_ns` is the first bar's OPEN (nanoseconds, UTC)."""

    symbol: str
    from_ns: int
    first: date
    last: date
    dates: int
    reasons: str


def doubts(connection: Connection) -> list[Doubt]:
    """One entry for each symbol that has signals in doubt, in order of the symbols."""
    found = connection.execute(
        """
        SELECT symbol, (extract(epoch FROM from_ts) * 1000000000)::bigint, first_date, last_date,
               dates, reasons
        FROM signal_doubts_under(%s) ORDER BY symbol
        """,
        (LOGIC_VERSION,),
    )
    return [Doubt(*row) for row in found]


def dates_in_doubt(connection: Connection, symbol: str) -> list[date]:
    """The symbol's dates whose stored signal is in doubt, in order."""
    found = connection.execute(
        """
        SELECT date FROM signal_dates_in_doubt WHERE symbol = %(symbol)s
        UNION
        SELECT date FROM signal_dates WHERE symbol = %(symbol)s AND logic_version <> %(logic)s
        ORDER BY date
        """,
        {"symbol": symbol, "logic": LOGIC_VERSION},
    )
    return [row[0] for row in found]
