"""What an analyst works with: one row a minute, its bar, its six biases, its triangle."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, NS_PER_SECOND
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.history import (
    Rows,
    Span,
    bars_page,
    bias_page,
    triangles_page,
)
from trisignal_pipeline.signal.rules import TIMEFRAMES
from trisignal_pipeline.storage.connection import Connection

PARTS = ("bars", "bias", "triangles")
"""Groups of columns that can be asked for."""

_MOST = 2**62
_TRIANGLE_COLUMNS = ("direction", "htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")


def dataset_page(
    connection: Connection,
    market: Market,
    span: Span,
    parts: Collection[str] = PARTS,
    *,
    limit: int,
    cursor: str | None = None,
) -> Rows:
    """One row for each clean minute of `span`, with the columns of `parts`: at most `limit`.

    A minute without a bias yet, or without a triangle, has nulls there. A triangle's direction is
    called `triangle` here.

    Raises:
        RangeError: the cursor is none of this question's.
    """
    page = bars_page(connection, market, TIMEFRAMES[0], span, limit=limit, cursor=cursor)
    bars = page.table
    columns = dict(zip(bars.column_names, bars.columns, strict=True))
    if "bars" not in parts:
        columns = {"ts": columns["ts"]}
    ts = _nanoseconds(bars)
    there = (
        Span(span.symbol, int(ts[0]), int(ts[-1]) + NS_PER_MINUTE)
        if len(ts)
        else Span(span.symbol, span.start_ns, span.start_ns)
    )
    if "bias" in parts:
        bias = bias_page(connection, there, limit=_MOST).table
        columns |= _joined(ts, bias, bias.column_names[1:])
    if "triangles" in parts:
        events = triangles_page(connection, there, limit=_MOST).table
        found = _joined(ts, events, _TRIANGLE_COLUMNS)
        columns |= {"triangle": found.pop("direction"), **found}
    return Rows(pa.table(columns), page.next_cursor)


def _joined(
    ts: Int64s, other: pa.Table, names: Collection[str]
) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Columns of `other` on the minutes `ts`; null where it has none."""
    its = _nanoseconds(other)
    if len(its) == len(ts) and (its == ts).all():
        return {name: other.column(name) for name in names}
    at = np.searchsorted(its, ts)
    missing = np.ones(len(ts), np.bool_)
    inside = at < len(its)
    missing[inside] = its[at[inside]] != ts[inside]
    rows = pa.array(np.where(missing, 0, at), mask=missing)
    return {name: other.column(name).take(rows) for name in names}


def _nanoseconds(table: pa.Table) -> Int64s:
    seconds = table.column("ts").cast(pa.int64()).to_numpy()
    return np.asarray(seconds * NS_PER_SECOND, np.int64)
