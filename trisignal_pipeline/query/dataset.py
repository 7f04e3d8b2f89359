"""The joined dataset: one row a minute, with its bar, the six biases and the triangle.

The minutes are those of finished dates of clean bars. A minute whose signal isn't computed has no
biases, and one without a triangle has nothing in the triangle's columns.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from psycopg import sql

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE
from trisignal_pipeline.market.differences import positions
from trisignal_pipeline.query.cursors import Key
from trisignal_pipeline.query.series import (
    Series,
    Span,
    TimeSpan,
    about,
    bounds,
    minute_of,
)
from trisignal_pipeline.query.signals import DIRECTIONS, bias, triangles
from trisignal_pipeline.query.tables import (
    FLAG,
    POINTS,
    TEXT,
    TIME,
    WHOLE,
    WORD,
    always,
    prices,
    texts,
    times,
)
from trisignal_pipeline.schemas import PRICES, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import BIAS_NAMES, BULLISH
from trisignal_pipeline.storage.bars import contract_codes
from trisignal_pipeline.storage.binary_copy import copy_out, nanoseconds
from trisignal_pipeline.storage.connection import Connection

_FLAGS = ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
_CONTRACT_WIDTH = 24

DATASET = pa.schema(
    [
        always("ts", TIME),
        *(always(name, POINTS) for name in PRICES),
        always("volume", WHOLE),
        ("contract", TEXT),
        *((name, WORD) for name in TRIANGLE_BIAS_COLUMNS),
        ("triangle", WORD),
        *((name, FLAG) for name in _FLAGS),
    ]
)
"""The columns of the dataset. `ts` is the bar's OPEN; all the rest is known at its close."""

PARTS = {
    "bars": (*PRICES, "volume", "contract"),
    "bias": TRIANGLE_BIAS_COLUMNS,
    "triangles": ("triangle", *_FLAGS),
}
"""Groups of its columns."""


def dataset(symbol: str, span: Span) -> Series:
    """The joined rows of the minutes that open in `span`."""

    def read(connection: Connection, behind: Key | None, limit: int) -> pa.Table:
        bars = copy_out(
            connection,
            sql.SQL(_BARS).format(width=sql.Literal(_CONTRACT_WIDTH)),
            bounds(symbol, span, behind, limit),
            [
                ("ts", "i8"),
                *((name, "i8") for name in (*PRICES, "volume")),
                ("contract", f"S{_CONTRACT_WIDTH}"),
            ],
        )
        ts = nanoseconds(bars["ts"])
        columns = [times(ts), *(prices(bars[name]) for name in PRICES)]
        columns += [pa.array(bars["volume"]), texts(*contract_codes(bars["contract"]))]
        columns += _signals(connection, symbol, ts)
        return pa.table(columns, schema=DATASET)

    return Series("dataset", about(symbol, span), DATASET, read, minute_of)


_BARS = """
    SELECT ts, (open * 1000000000)::bigint, (high * 1000000000)::bigint,
           (low * 1000000000)::bigint, (close * 1000000000)::bigint, volume,
           rpad(coalesce(contract, ''), {width})
    FROM continuous_bars_1m
    WHERE symbol = %(symbol)s AND ts > %(behind)s AND ts < %(end)s
    ORDER BY ts LIMIT %(limit)s
"""


def _signals(connection: Connection, symbol: str, ts: Int64s) -> list[pa.ChunkedArray]:
    """The columns of biases and triangles on the minutes `ts`, joined here: each is read in the
    order of its key, whatever the planner knows of the tables.
    """
    there = TimeSpan(int(ts[0]), int(ts[-1]) + NS_PER_MINUTE) if len(ts) else TimeSpan(0, 0)
    found = bias(symbol, there).read(connection, None, _ALL)
    bias_rows = _rows_at(ts, _nanoseconds(found))
    biases = [found.column(name).take(bias_rows) for name in TRIANGLE_BIAS_COLUMNS]
    events = triangles(symbol, there).read(connection, None, _ALL)
    first = _one_a_minute(events, found)
    at = _rows_at(ts, _nanoseconds(events)[first])
    event_rows = pa.array(first).take(at)
    return [*biases, *(events.column(name).take(event_rows) for name in ("direction", *_FLAGS))]


_ALL = 2**62


def _one_a_minute(events: pa.Table, biases: pa.Table) -> Int64s:
    """The rows of `events` without a second one on a minute, as an earlier system may have left
    it: the one of the bias stays.
    """
    ts = _nanoseconds(events)
    bias_1m = biases.column("bias_1m").take(_rows_at(ts, _nanoseconds(biases)))
    is_bull = np.array(events.column("direction").to_pylist(), np.object_) == DIRECTIONS[0]
    says_bull = np.array(bias_1m.to_pylist(), np.object_) == BIAS_NAMES[BULLISH]
    order = np.lexsort((is_bull != says_bull, ts))
    _, first = np.unique(ts[order], return_index=True)
    return np.asarray(order[first], np.int64)


def _rows_at(ts: Int64s, its: Int64s) -> pa.Array:
    """For each of `ts` its place in `its`, both ascending; null where it has none."""
    places, known = positions(ts, its)
    return pa.array(np.where(known, places, 0), mask=~known)


def _nanoseconds(rows: pa.Table) -> Int64s:
    microseconds = rows.column("ts").cast(pa.int64()).to_numpy()
    return np.asarray(microseconds * 1000, np.int64)
