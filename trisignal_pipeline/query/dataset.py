"""The joined dataset: one row a minute, with its bar, the six biases and the triangle.

The minutes are those of finished dates of clean bars. A minute whose signal isn't computed has no
biases, and one without a triangle has nothing in the triangle's columns.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trisignal_pipeline.market.bars import Bars, Int64s
from trisignal_pipeline.query.bars import finished_minutes
from trisignal_pipeline.query.cursors import Key
from trisignal_pipeline.query.known_dates import known_dates
from trisignal_pipeline.query.series import (
    Series,
    Span,
    TimeSpan,
    about,
    minute_of,
    portions,
)
from trisignal_pipeline.query.signals import bias, triangles
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
from trisignal_pipeline.storage.connection import Connection

_FLAGS = ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")

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
    """The joined rows of the minutes that open in `span`.

    The three tables are read one after the other: ask in a transaction that sees one instant.
    """

    def read(connection: Connection, behind: Key | None, limit: int) -> pa.Table:
        start_ns = span.start_ns if behind is None else behind[0] * 1000 + 1
        parts: list[pa.Table] = []
        missing = limit
        known = known_dates(connection, symbol, start_ns, span.end_ns)
        if known is None:
            return DATASET.empty_table()
        for dates in portions(known.start_ns, known.end_ns, limit):
            found = finished_minutes(connection, symbol, dates).between(start_ns, span.end_ns)
            bars = found.take(slice(0, missing))
            if len(bars):
                parts.append(_joined(connection, symbol, bars))
            missing -= len(bars)
            if not missing:
                break
        return pa.concat_tables([DATASET.empty_table(), *parts])

    return Series("dataset", about(symbol, span), DATASET, read, minute_of)


def _joined(connection: Connection, symbol: str, bars: Bars) -> pa.Table:
    """Bars with what is stored of the signal on their minutes."""
    of_bars = TimeSpan(int(bars.ts[0]), int(bars.ts[-1]) + 1)
    biases = bias(symbol, of_bars).page(connection, len(bars)).rows
    events = triangles(symbol, of_bars).page(connection, 2 * len(bars)).rows
    # Two on one minute, as an earlier system may have left them: the one of the bias.
    is_bull = pc.equal(events.column("direction").cast(TEXT), "BULL")
    of_bias = pc.equal(events.column("bias_1m").cast(TEXT), "Bullish")
    events = events.filter(pc.equal(is_bull, of_bias))
    computed, flipped = _places(bars.ts, biases), _places(bars.ts, events)
    return pa.table(
        [
            times(bars.ts),
            *(prices(getattr(bars, name)) for name in PRICES),
            pa.array(bars.volume),
            texts(bars.contract, bars.contracts),
            *(biases.column(name).take(computed) for name in TRIANGLE_BIAS_COLUMNS),
            events.column("direction").take(flipped),
            *(events.column(name).take(flipped) for name in _FLAGS),
        ],
        schema=DATASET,
    )


def _places(ts: Int64s, rows: pa.Table) -> pa.Array:
    """For each minute the row that has it; null where none does."""
    there = rows.column("ts").cast(pa.int64()).to_numpy() * 1000
    places = np.searchsorted(there, ts)
    found = np.append(there, -1)[places] == ts
    return pa.array(places, mask=~found)
