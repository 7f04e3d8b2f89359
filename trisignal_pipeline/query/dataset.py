"""The joined dataset: one row a minute, with its bar, the six biases and the triangle.

The minutes are those of finished dates of clean bars. A minute whose signal isn't computed has no
biases, and one without a triangle has nothing in the triangle's columns.
"""

from __future__ import annotations

import pyarrow as pa
from psycopg import sql

from trisignal_pipeline.query.cursors import Key
from trisignal_pipeline.query.series import Series, Span, about, bounds, minute_of
from trisignal_pipeline.query.signals import DIRECTIONS, bias_codes
from trisignal_pipeline.query.tables import (
    FLAG,
    POINTS,
    TEXT,
    TIME,
    WHOLE,
    WORD,
    flags,
    prices,
    texts,
    times,
    words,
)
from trisignal_pipeline.schemas import PRICES, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import BIAS_NAMES
from trisignal_pipeline.storage.bars import contract_codes
from trisignal_pipeline.storage.binary_copy import copy_out, nanoseconds
from trisignal_pipeline.storage.connection import Connection

_FLAGS = ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
_CONTRACT_WIDTH = 24

DATASET = pa.schema(
    [
        ("ts", TIME),
        *((name, POINTS) for name in PRICES),
        ("volume", WHOLE),
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
        records = copy_out(
            connection,
            sql.SQL(_SELECT).format(
                biases=bias_codes("s"), width=sql.Literal(_CONTRACT_WIDTH), flags=_flag_codes()
            ),
            bounds(symbol, span, behind, limit),
            [
                ("ts", "i8"),
                *((name, "i8") for name in (*PRICES, "volume")),
                ("contract", f"S{_CONTRACT_WIDTH}"),
                *((name, "i2") for name in (*TRIANGLE_BIAS_COLUMNS, "triangle", *_FLAGS)),
            ],
        )
        columns = [times(nanoseconds(records["ts"]))]
        columns += [prices(records[name]) for name in PRICES]
        columns += [pa.array(records["volume"]), texts(*contract_codes(records["contract"]))]
        columns += [words(records[name], BIAS_NAMES) for name in TRIANGLE_BIAS_COLUMNS]
        columns += [words(records["triangle"], DIRECTIONS)]
        columns += [flags(records[name] == 1, records[name] != 2) for name in _FLAGS]
        return pa.table(columns, schema=DATASET)

    return Series("dataset", about(symbol, span), DATASET, read, minute_of)


# Two triangles on one minute, as an earlier system may have left them: the one of the bias.
_SELECT = """
    SELECT b.ts, (b.open * 1000000000)::bigint, (b.high * 1000000000)::bigint,
           (b.low * 1000000000)::bigint, (b.close * 1000000000)::bigint, b.volume,
           rpad(coalesce(b.contract, ''), {width}), {biases},
           CASE t.direction WHEN 'BULL' THEN 0 WHEN 'BEAR' THEN 1 ELSE 2 END::smallint, {flags}
    FROM continuous_bars_1m b
    LEFT JOIN bias_series_1m_v1 s
           ON s.symbol = b.symbol AND s.ts = b.ts AND s.ts > %(behind)s AND s.ts < %(end)s
    LEFT JOIN triangle_events_v1 t
           ON t.symbol = b.symbol AND t.ts = b.ts AND t.ts > %(behind)s AND t.ts < %(end)s
          AND t.direction = CASE s.bias_1m WHEN 'Bullish' THEN 'BULL' ELSE 'BEAR' END
    WHERE b.symbol = %(symbol)s AND b.ts > %(behind)s AND b.ts < %(end)s
    ORDER BY b.ts LIMIT %(limit)s
"""


def _flag_codes() -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("coalesce({}::integer, 2)::smallint").format(sql.Identifier("t", name))
        for name in _FLAGS
    )
