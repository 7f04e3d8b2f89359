"""Bars of any timeframe as a series: read a page at a time, or all in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pyarrow as pa

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.bars import read_minutes, whole_bars
from trisignal_pipeline.query.cursors import Key
from trisignal_pipeline.query.series import (
    MINUTES_A_DAY,
    Series,
    Span,
    about,
    minute_of,
    portions,
)
from trisignal_pipeline.query.tables import POINTS, TIME, WHOLE, always, prices, times
from trisignal_pipeline.schemas import PRICES
from trisignal_pipeline.signal.rules import require_timeframe
from trisignal_pipeline.signal.timeframes import HigherBars
from trisignal_pipeline.storage.bars import CLEAN, BarsTable
from trisignal_pipeline.storage.connection import Connection

BARS = pa.schema(
    [
        always("ts", TIME),
        *(always(name, POINTS) for name in PRICES),
        always("volume", WHOLE),
    ]
)
"""The columns of bars. `ts` is the start of a bar's period."""

_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": MINUTES_A_DAY}


def bar_series(
    market: Market,
    timeframe: str,
    span: Span,
    *,
    table: BarsTable = CLEAN,
    as_of: datetime | None = None,
    on_left_out: Callable[[Int64s], object] | None = None,
) -> Series:
    """The whole bars of `timeframe` (one of `TIMEFRAMES`) whose period starts in `span`.

    They are made from the minutes that `table` holds or, with `as_of`, held at that moment.
    `on_left_out` is told the starts (ns) of the periods that are not whole, as reading passes them.

    Raises:
        ConfigurationError: there is no such timeframe.
    """
    require_timeframe(timeframe)

    def read(connection: Connection, behind: Key | None, limit: int) -> pa.Table:
        start_ns = span.start_ns if behind is None else behind[0] * 1000 + 1
        parts: list[pa.Table] = []
        missing = limit
        minutes_wanted = limit * _MINUTES[timeframe]
        for dates in portions(start_ns, span.end_ns, minutes_wanted):
            minutes = read_minutes(connection, market, timeframe, dates, table=table, as_of=as_of)
            found = whole_bars(
                minutes,
                timeframe,
                max(start_ns, dates.start_ns),
                min(span.end_ns, dates.end_ns),
            )
            parts.append(as_table(found.bars).slice(0, missing))
            missing -= parts[-1].num_rows
            if on_left_out is not None:
                last_ns = int(found.bars.ts[parts[-1].num_rows - 1]) if not missing else span.end_ns
                on_left_out(found.left_out[found.left_out < last_ns])
            if not missing:
                break
        return pa.concat_tables([BARS.empty_table(), *parts])

    asked = {**about(str(market.symbol), span), "timeframe": timeframe, "layer": table.layer}
    return Series("bars", asked | {"as_of": as_of}, BARS, read, minute_of)


def as_table(bars: HigherBars) -> pa.Table:
    """Bars in columns that leave the product."""
    return pa.table(
        [times(bars.ts), *(prices(getattr(bars, name)) for name in PRICES), pa.array(bars.volume)],
        schema=BARS,
    )
