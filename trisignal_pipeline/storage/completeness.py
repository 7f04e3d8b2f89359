"""How complete the dates of clean bars are: kept with the dates, gap by gap, and read again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from psycopg import sql

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, utc
from trisignal_pipeline.market.gaps import Completeness, GapKind
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.replacement import replace_span


@dataclass(frozen=True, slots=True)
class RareGap:
    """A gap that chance doesn't explain: `ts` is the OPEN (UTC) of its first minute."""

    ts: datetime
    minutes: int
    kind: GapKind
    at_edge: bool
    why: str


_INCOMING = """
    SELECT 'epoch'::timestamptz + minute * interval '1 minute' AS ts, minutes, kind,
           minutes_around, traded_around, at_edge
    FROM unnest(%(minute)s::int[], %(minutes)s::int[], %(kinds)s::text[], %(around)s::int[],
                %(traded)s::int[], %(at_edge)s::bool[])
         AS gap (minute, minutes, kind, minutes_around, traded_around, at_edge)
"""


def record_completeness(
    connection: Connection, symbol: str, found: Completeness, off_tick: Int64s | None
) -> None:
    """Keep what was found of the clean bars of some dates; the caller commits.

    Doing it again changes nothing. `off_tick` counts bars on each date; None where no tick is
    known.
    """
    gaps, dates = found.gaps, found.dates
    replace_span(
        connection,
        "bar_gaps",
        symbol,
        (dates.start_ns, dates.end_ns),
        sql.SQL(_INCOMING),
        key=("ts",),
        values=("minutes", "kind", "minutes_around", "traded_around", "at_edge"),
        parameters={
            "minute": (gaps.start_ns // NS_PER_MINUTE).tolist(),
            "minutes": gaps.minutes.tolist(),
            "kinds": [kind.value for kind in gaps.kinds()],
            "around": gaps.around.tolist(),
            "traded": gaps.traded.tolist(),
            "at_edge": gaps.at_edge.tolist(),
        },
    )
    connection.execute(
        """
        UPDATE bar_dates d SET
            (expected_minutes, found_minutes, no_trade_minutes, rejected_minutes,
             suspicious_minutes, longest_gap, outside_count, off_tick_count)
            = (n.expected, n.found, n.no_trade, n.rejected, n.suspicious, n.longest, n.outside,
               n.off_tick)
        FROM unnest(%s::date[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[],
                    %s::int[], %s::int[])
             AS n (date, expected, found, no_trade, rejected, suspicious, longest, outside,
                   off_tick)
        WHERE d.symbol = %s AND d.layer = %s AND d.date = n.date
          AND (d.expected_minutes, d.found_minutes, d.no_trade_minutes, d.rejected_minutes,
               d.suspicious_minutes, d.longest_gap, d.outside_count, d.off_tick_count)
              IS DISTINCT FROM
              (n.expected, n.found, n.no_trade, n.rejected, n.suspicious, n.longest, n.outside,
               n.off_tick)
        """,
        (
            list(dates),
            found.expected.tolist(),
            found.found.tolist(),
            found.minutes_in(~gaps.rare & ~gaps.rejected).tolist(),
            found.minutes_in(gaps.rejected).tolist(),
            found.minutes_in(gaps.rare).tolist(),
            found.longest().tolist(),
            found.outside.tolist(),
            [None] * len(dates) if off_tick is None else off_tick.tolist(),
            symbol,
            CLEAN.layer,
        ),
    )


def rejected_minutes(connection: Connection, symbol: str, dates: DateRange) -> Int64s:
    """Minutes whose bars were rejected on the way to the clean bars of `dates`.

    Bars that were kept out of the legacy table count where clean bars are made from it.

    Returns:
        Their OPEN in nanoseconds (UTC), in order.
    """
    found = connection.execute(
        """
        SELECT DISTINCT extract(epoch FROM q.ts)::bigint / 60
        FROM quarantined_bars q
        JOIN bar_dates d ON d.symbol = q.symbol AND d.date = (q.ts AT TIME ZONE 'UTC')::date
             AND d.layer = %s
        WHERE q.symbol = %s AND q.ts >= %s AND q.ts < %s AND q.released_at IS NULL
          AND q.layer IN (d.layer, d.source)
        ORDER BY 1
        """,
        (CLEAN.layer, symbol, utc(dates.start_ns), utc(dates.end_ns)),
    )
    return np.array([minute for (minute,) in found], np.int64) * NS_PER_MINUTE


def rare_gaps(connection: Connection, symbol: str, dates: DateRange) -> list[RareGap]:
    """Suspicious gaps and halts of `dates`, in order of time, as other markets tell them apart."""
    found = connection.execute(
        """
        SELECT ts, minutes, kind, at_edge, why FROM session_gaps
        WHERE symbol = %s AND ts >= %s AND ts < %s AND kind IN ('suspicious', 'halt')
        ORDER BY ts
        """,
        (symbol, utc(dates.start_ns), utc(dates.end_ns)),
    )
    return [
        RareGap(ts, minutes, GapKind(kind), at_edge, why)
        for ts, minutes, kind, at_edge, why in found
    ]
