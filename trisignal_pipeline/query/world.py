"""The state of the world at one minute: the bar, the six biases, the triangle, the session."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from trisignal_pipeline.errors import NotFoundError
from trisignal_pipeline.market.dates import (
    date_of_ns,
    from_day_number,
    iso_minute,
    utc,
)
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.dataset import DATASET, dataset
from trisignal_pipeline.query.series import TimeSpan
from trisignal_pipeline.query.signals import DIRECTIONS
from trisignal_pipeline.query.tables import DATE, FLAG, TIME, WORD, as_words
from trisignal_pipeline.storage.connection import Connection, rows
from trisignal_pipeline.storage.doubts import dates_in_doubt

WORLD = pa.schema(
    [
        *DATASET,
        ("trade_date", DATE),
        ("session_open", TIME),
        ("session_close", TIME),
        ("last_triangle", WORD),
        ("last_triangle_ts", TIME),
        ("in_doubt", FLAG),
    ]
)
"""The columns of the dataset; then the session the minute lies in (empty outside of any), the
latest triangle up to and with this minute, and whether the date's signal is in doubt."""


def world(connection: Connection, market: Market, ts_ns: int) -> pa.Table:
    """One row: what was known when the bar that opens at `ts_ns` (nanoseconds, UTC) closed.

    Raises:
        NotFoundError: no clean bar of a finished date opens there; the message names the nearest.
    """
    symbol = str(market.symbol)
    minute = dataset(symbol, TimeSpan(ts_ns, ts_ns + 1)).page(connection, 1).rows
    if not minute.num_rows:
        raise NotFoundError(_why_absent(connection, symbol, ts_ns))
    last = rows(
        connection,
        """
        SELECT direction, ts FROM triangle_events_v1
        WHERE symbol = %(symbol)s AND ts <= %(ts)s ORDER BY ts DESC, direction LIMIT 1
        """,
        symbol=symbol,
        ts=utc(ts_ns),
    )
    trade_date, opens, closes = _session(market, ts_ns)
    day = date_of_ns(ts_ns)
    columns = [
        *minute.columns,
        pa.array([trade_date], DATE),
        pa.array([opens], TIME),
        pa.array([closes], TIME),
        as_words(pa.array([one["direction"] for one in last] or [None], pa.string()), DIRECTIONS),
        pa.array([one["ts"] for one in last] or [None], TIME),
        pa.array([day in dates_in_doubt(connection, symbol)], FLAG),
    ]
    return pa.table(columns, schema=WORLD)


def _session(market: Market, ts_ns: int) -> tuple[object, object, object]:
    """Trade date, open and close of the session a minute lies in."""
    day = date_of_ns(ts_ns)
    of = sessions(market.session_profile, day, day + timedelta(days=1))
    [row] = of.locate(np.array([ts_ns], np.int64)).tolist()
    if row < 0:
        return None, None, None
    return (
        from_day_number(int(of.trade_date[row])),
        utc(int(of.open_ns[row])),
        utc(int(of.close_ns[row])),
    )


def _why_absent(connection: Connection, symbol: str, ts_ns: int) -> str:
    """That there is no bar, and where the nearest ones are."""
    [found] = rows(
        connection,
        """
        SELECT (SELECT max(ts) FROM market_bars_ohlcv_1m_clean
                WHERE symbol = %(symbol)s AND ts < %(ts)s) AS before,
               (SELECT min(ts) FROM market_bars_ohlcv_1m_clean
                WHERE symbol = %(symbol)s AND ts > %(ts)s) AS after
        """,
        symbol=symbol,
        ts=utc(ts_ns),
    )
    nearest = [f"{ts:%Y-%m-%dT%H:%M:%SZ}" for ts in found.values() if ts is not None]
    at = iso_minute(ts_ns)
    if not nearest:
        return f"{symbol} {at}: no clean bars of {symbol} are stored; backfill some"
    return (
        f"{symbol} {at}: no clean bar of a finished date opens there; the nearest ones: "
        f"{' and '.join(nearest)}. Why there is none says: trisignal explain {symbol} {at}"
    )
