"""What the signals of a symbol are over a span of time: its biases and its triangles."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from psycopg import sql

from trisignal_pipeline.query.cursors import Key
from trisignal_pipeline.query.series import Series, Span, about, bounds, minute_of
from trisignal_pipeline.query.tables import (
    FLAG,
    TEXT,
    TIME,
    WORD,
    Table,
    always,
    as_words,
    times,
    words,
)
from trisignal_pipeline.schemas import BIAS_COLUMNS, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES
from trisignal_pipeline.storage.binary_copy import copy_out, nanoseconds
from trisignal_pipeline.storage.connection import Connection

DIRECTIONS = DIRECTION_NAMES[1:]

BIAS = pa.schema([always("ts", TIME), *(always(name, WORD) for name in TRIANGLE_BIAS_COLUMNS)])
"""The columns of biases. `ts` is the bar's OPEN; they are known at its close."""

TRIANGLES = pa.schema(
    [
        always("ts", TIME),
        always("direction", WORD),
        *(always(name, WORD) for name in TRIANGLE_BIAS_COLUMNS),
        *((name, FLAG) for name in ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")),
        *(
            (name, FLAG)
            for name in ("require_engulfing", "require_sweep_engulfing", "htf_aligned_only")
        ),
        *((name, TEXT) for name in ("contract", "source_table", "logic_version")),
    ]
)
"""The columns of triangles. `ts` is the OPEN of the bar on whose close the bias flipped."""


def bias(symbol: str, span: Span) -> Series:
    """The six biases on every minute that opens in `span`, named as triangles name them."""

    def read(connection: Connection, behind: Key | None, limit: int) -> pa.Table:
        records = copy_out(
            connection,
            sql.SQL(
                "SELECT ts, {biases} FROM bias_series_1m_v1 WHERE symbol = %(symbol)s "
                "AND ts > %(behind)s AND ts < %(end)s ORDER BY ts LIMIT %(limit)s"
            ).format(biases=_bias_codes()),
            bounds(symbol, span, behind, limit),
            [("ts", "i8"), *((name, "i2") for name in BIAS_COLUMNS)],
        )
        return pa.table(
            [
                times(nanoseconds(records["ts"])),
                *(words(records[name], BIAS_NAMES) for name in BIAS_COLUMNS),
            ],
            schema=BIAS,
        )

    return Series("bias", about(symbol, span), BIAS, read, minute_of)


def triangles(symbol: str, span: Span, directions: Sequence[str] = DIRECTIONS) -> Series:
    """The triangles of `directions` (BULL, BEAR) on bars that open in `span`."""

    def read(connection: Connection, behind: Key | None, limit: int) -> pa.Table:
        found = connection.execute(
            """
            SELECT ts, direction, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1,
                   htf_bullish, htf_bearish, engulfing, sweep_engulfing, require_engulfing,
                   require_sweep_engulfing, htf_aligned_only, contract, source_table, logic_version
            FROM triangle_events_v1
            WHERE symbol = %(symbol)s AND ts < %(end)s AND direction = ANY(%(directions)s)
              AND (ts, direction) > (%(behind)s, %(behind_direction)s)
            ORDER BY ts, direction LIMIT %(limit)s
            """,
            {
                **bounds(symbol, span, behind, limit),
                "directions": list(directions),
                "behind_direction": "" if behind is None else behind[1],
            },
        )
        plain = {
            name: TEXT if kind == WORD else kind
            for name, kind in zip(TRIANGLES.names, TRIANGLES.types, strict=True)
        }
        columns = [
            as_words(column.combine_chunks(), DIRECTIONS if name == "direction" else BIAS_NAMES)
            if TRIANGLES.field(name).type == WORD
            else column
            for name, column in zip(
                TRIANGLES.names, Table.of_rows(plain, found).whole().columns, strict=True
            )
        ]
        return pa.table(columns, schema=TRIANGLES)

    def key_of(rows: pa.Table, row: int) -> Key:
        return (*minute_of(rows, row), rows.column("direction")[row].as_py())

    asked = {**about(symbol, span), "directions": sorted(directions)}
    return Series("triangles", asked, TRIANGLES, read, key_of, (int, str))


def _bias_codes() -> sql.Composed:
    """The six biases of a row, each by its place in `BIAS_NAMES`."""
    return sql.SQL(", ").join(
        sql.SQL(
            "CASE {} WHEN 'Neutral' THEN 0 WHEN 'Bullish' THEN 1 WHEN 'Bearish' THEN 2 END"
            "::smallint"
        ).format(sql.Identifier(name))
        for name in BIAS_COLUMNS
    )
