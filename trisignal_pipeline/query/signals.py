"""What the signals of a symbol are on a range of UTC dates."""

from __future__ import annotations

from trisignal_pipeline.market.dates import DateRange, utc
from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


def triangles(connection: Connection, symbol: str, dates: DateRange) -> Table:
    """Every triangle, in order of time; `ts` is the bar's OPEN."""
    return read_table(
        connection,
        """
        SELECT ts, direction, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1, htf_bullish,
               htf_bearish, engulfing, sweep_engulfing, require_engulfing,
               require_sweep_engulfing, htf_aligned_only, contract, source_table, logic_version
        FROM triangle_events_v1
        WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
        ORDER BY ts, direction
        """,
        _span(symbol, dates),
    )


def bias(connection: Connection, symbol: str, dates: DateRange) -> Table:
    """The six biases on every minute, in order of time; `ts` is the bar's OPEN."""
    return read_table(
        connection,
        """
        SELECT ts, bias_1m, bias_5m AS bias_m5, bias_15m AS bias_m15, bias_1h AS bias_h1,
               bias_4h AS bias_h4, bias_1d AS bias_d1
        FROM bias_series_1m_v1
        WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
        ORDER BY ts
        """,
        _span(symbol, dates),
    )


def counts(connection: Connection, symbol: str, dates: DateRange) -> Table:
    """How many triangles each UTC date has, by direction; dates with bars and none show 0."""
    return read_table(
        connection,
        """
        SELECT d.date, count(*) FILTER (WHERE e.direction = 'BULL') AS bull,
               count(*) FILTER (WHERE e.direction = 'BEAR') AS bear, count(e.id) AS total
        FROM signal_dates d
        LEFT JOIN triangle_events_v1 e
               ON e.symbol = d.symbol AND e.ts >= d.date::timestamp AT TIME ZONE 'UTC'
              AND e.ts < (d.date + 1)::timestamp AT TIME ZONE 'UTC'
        WHERE d.symbol = %(symbol)s AND d.date BETWEEN %(first)s AND %(last)s AND d.bar_count > 0
        GROUP BY d.date ORDER BY d.date
        """,
        {"symbol": symbol, "first": dates.start, "last": dates.end},
    )


def _span(symbol: str, dates: DateRange) -> dict[str, object]:
    return {"symbol": symbol, "start": utc(dates.start_ns), "end": utc(dates.end_ns)}
