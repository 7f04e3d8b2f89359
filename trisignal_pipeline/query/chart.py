"""What a chart draws around its candles: the biases where they change, the triangles, sessions, and
which minutes were corrected or kept out.

All of it in columns, times as whole seconds since the epoch (UTC), as charts take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import sql

from trisignal_pipeline.market.bars import PRICE_UNIT, Int64s
from trisignal_pipeline.market.dates import DateRange, date_of_ns, from_day_number, utc
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.kept_bars import quarantined, revisions
from trisignal_pipeline.query.series import Span
from trisignal_pipeline.query.signals import bias
from trisignal_pipeline.schemas import TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import TIMEFRAMES
from trisignal_pipeline.storage.binary_copy import copy_out, nanoseconds
from trisignal_pipeline.storage.connection import Connection, rows
from trisignal_pipeline.storage.live_gaps import live_gaps

Columns = dict[str, Any]

BULL, ALIGNED, ENGULFING, SWEEP = 1, 2, 4, 8
"""Flags of a triangle, added up: it is bullish, the higher timeframes lean its way, its bar engulfs
the one before, and sweeps that one's extreme besides."""

NOT_COMPUTED = 3
"""What stands for a bias of a minute whose signal isn't computed."""

MOST_GAPS = 200
"""How many gaps are told: those nearest to the price."""

_FLAGS = """
    (CASE direction WHEN 'BULL' THEN 1 ELSE 0 END
     + CASE WHEN CASE direction WHEN 'BULL' THEN htf_bullish ELSE htf_bearish END
            THEN 2 ELSE 0 END
     + CASE WHEN engulfing THEN 4 ELSE 0 END
     + CASE WHEN sweep_engulfing THEN 8 ELSE 0 END)
"""


def markets(connection: Connection) -> Columns:
    """The active symbols of the registry, with the first and the last minute of clean bars."""
    found = rows(
        connection,
        """
        SELECT r.internal_symbol AS symbol, r.tick_size, spans.first, spans.last
        FROM symbol_registry r
        LEFT JOIN LATERAL (
            SELECT min(date) AS first, max(date) AS last FROM bar_dates d
            WHERE d.symbol = r.internal_symbol AND d.layer = 'clean' AND d.state = 'complete'
              AND d.bar_count > 0) AS spans ON true
        WHERE r.is_active OR spans.first IS NOT NULL
        ORDER BY spans.first IS NULL, r.internal_symbol
        """,
    )
    return {
        "symbol": [one["symbol"] for one in found],
        "tick_size": [None if one["tick_size"] is None else float(one["tick_size"])
                      for one in found],
        "first_date": [one["first"] for one in found],
        "last_date": [one["last"] for one in found],
    }  # fmt: skip


def marks(connection: Connection, market: Market, span: Span) -> dict[str, Columns]:
    """Everything around the candles of `span`."""
    symbol = str(market.symbol)
    return {
        "biases": bias_changes(connection, symbol, span),
        "triangles": triangle_flags(connection, symbol, span),
        "sessions": sessions_within(market, span),
        "revisions": _kept_out(revisions(connection, symbol, layer="clean", **_dates(span)).rows,
                               "kind", at=2),
        "quarantined": _kept_out(quarantined(connection, symbol, **_dates(span)).rows,
                                 "rules", at=2),
    }  # fmt: skip


def bias_changes(connection: Connection, symbol: str, span: Span) -> Columns:
    """The minutes on which any of the six biases is another than on the minute before, and what all
    six then are: codes of `rules`, or `NOT_COMPUTED`. The first minute counts.
    """
    # Joined here: a plan for tables that were just filled would join row by row.
    minutes = copy_out(
        connection,
        sql.SQL(
            "SELECT ts FROM market_bars_ohlcv_1m_clean WHERE symbol = %(symbol)s "
            "AND ts >= %(start)s AND ts < %(end)s ORDER BY ts"
        ),
        _bounds(symbol, span),
        [("ts", "i8")],
    )["ts"]
    ts_ns = nanoseconds(minutes.astype(np.int64))
    known = bias(symbol, span).table(connection).whole()
    known_ns = known.column("ts").cast(pa.int64()).to_numpy() * 1000
    _, at, of = np.intersect1d(ts_ns, known_ns, assume_unique=True, return_indices=True)
    codes = np.full((len(ts_ns), len(TIMEFRAMES)), NOT_COMPUTED, np.int16)
    for column, name in enumerate(TRIANGLE_BIAS_COLUMNS):
        codes[at, column] = _codes(known.column(name))[of]
    changed = np.ones(len(ts_ns), np.bool_)
    changed[1:] = (codes[1:] != codes[:-1]).any(axis=1)
    told = codes[changed]
    return {
        "ts": _seconds(ts_ns[changed]),
        **{
            timeframe: np.ascontiguousarray(told[:, column])
            for column, timeframe in enumerate(TIMEFRAMES)
        },
    }


def triangle_flags(connection: Connection, symbol: str, span: Span) -> Columns:
    """The triangles, each with its flags: `BULL`, `ALIGNED`, `ENGULFING`, `SWEEP`, added up."""
    records = copy_out(
        connection,
        sql.SQL(
            "SELECT ts, {flags}::smallint FROM triangle_events_v1 WHERE symbol = %(symbol)s "
            "AND ts >= %(start)s AND ts < %(end)s ORDER BY ts, direction"
        ).format(flags=sql.SQL(_FLAGS)),
        _bounds(symbol, span),
        [("ts", "i8"), ("flags", "i2")],
    )
    flags = np.ascontiguousarray(records["flags"]).astype(np.int16)
    return {"ts": _seconds(nanoseconds(records["ts"])), "flags": flags}


def neighbour(
    connection: Connection, symbol: str, ts_ns: int, wanted: int, *, forward: bool
) -> Columns:
    """The triangle after `ts_ns` (nanoseconds, UTC), or the one before it, with all of the flags
    `wanted`; no row where there is none.
    """
    order = "ts > %(ts)s" if forward else "ts < %(ts)s"
    found = connection.execute(
        sql.SQL(
            "SELECT extract(epoch FROM ts)::bigint, {flags} FROM triangle_events_v1 "
            "WHERE symbol = %(symbol)s AND {beyond} AND ({flags} & %(wanted)s) = %(wanted)s "
            "ORDER BY ts {way} LIMIT 1"
        ).format(
            flags=sql.SQL(_FLAGS),
            beyond=sql.SQL(order),
            way=sql.SQL("ASC" if forward else "DESC"),
        ),
        {"symbol": symbol, "ts": utc(ts_ns), "wanted": wanted},
    ).fetchall()
    return {"ts": [ts for ts, _ in found], "flags": [flags for _, flags in found]}


def last_bar(connection: Connection, symbol: str, before_ns: int) -> Columns:
    """The OPEN of the last clean minute before `before_ns` (nanoseconds, UTC), if there is one."""
    found = connection.execute(
        "SELECT extract(epoch FROM ts)::bigint FROM continuous_bars_1m "
        "WHERE symbol = %s AND ts < %s ORDER BY ts DESC LIMIT 1",
        (symbol, utc(before_ns)),
    ).fetchall()
    return {"ts": [ts for (ts,) in found]}


def sessions_within(market: Market, span: Span) -> Columns:
    """The sessions that open in `span`, whatever higher bars are counted from."""
    first, last = date_of_ns(span.start_ns), date_of_ns(span.end_ns - 1) + timedelta(days=1)
    of = sessions(market.session_profile, first, last)
    inside = (of.open_ns >= span.start_ns) & (of.open_ns < span.end_ns)
    return {
        "open": _seconds(of.open_ns[inside]),
        "close": _seconds(of.close_ns[inside]),
        "trade_date": [from_day_number(day) for day in of.trade_date[inside].tolist()],
    }


def gaps_alive(connection: Connection, market: Market, ts_ns: int, timeframe: str) -> Columns:
    """The gaps of a timeframe that are alive once the minute at `ts_ns` closed, the nearest to its
    close first, `MOST_GAPS` at most; `alive` is how many there are in all.

    Raises:
        RangeError: the signal has no bar there; the message says why.
    """
    found = live_gaps(connection, market, ts_ns, timeframe)
    told = found[:MOST_GAPS]
    return {
        "alive": len(found),
        "kind": [gap.kind.value for gap in told],
        "bottom": [gap.bottom / PRICE_UNIT for gap in told],
        "top": [gap.top / PRICE_UNIT for gap in told],
        "born": [gap.born_ns // 10**9 for gap in told],
    }


def _codes(column: pa.ChunkedArray) -> Int64s:
    """Biases by their places in `BIAS_NAMES`, which is the dictionary of each chunk."""
    chunks = [chunk.indices.to_numpy().astype(np.int64) for chunk in column.chunks]
    return np.concatenate([np.empty(0, np.int64), *chunks])


def _kept_out(found: Any, name: str, *, at: int) -> Columns:
    told = [(row[0], row[at]) for row in found]
    return {"ts": [int(ts.timestamp()) for ts, _ in told], name: [why for _, why in told]}


def _dates(span: Span) -> Mapping[str, Any]:
    dates = DateRange(date_of_ns(span.start_ns), date_of_ns(span.end_ns - 1))
    return {"start": dates.start, "end": dates.end}


def _bounds(symbol: str, span: Span) -> dict[str, object]:
    return {"symbol": symbol, "start": utc(span.start_ns), "end": utc(span.end_ns)}


def _seconds(ts_ns: Int64s) -> Int64s:
    return np.ascontiguousarray(ts_ns // 10**9)
