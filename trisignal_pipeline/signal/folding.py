"""Folding 1-minute bars into higher bars, compiled. `timeframes` has the rules in words."""

from __future__ import annotations

from numba import types

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE
from trisignal_pipeline.signal.compiled import compiled, inlined

# Places in the vector that carries the unfinished bar; the rows of the output lack the first one
# and end with the row of the minute that finished the bar.
EXISTS, TS, OPEN, HIGH, LOW, CLOSE, VOLUME = range(7)
SCALARS = 7

_BEFORE_ALL_TIME = -(2**62)

_COLUMN = types.Array(types.int64, 1, "C", readonly=True)
_SIGNATURE = types.int64(
    *(_COLUMN,) * 10,
    types.int64,
    types.Array(types.int64, 1, "C"),
    types.Array(types.int64, 2, "C"),
)


@inlined
def _finish(carried: Int64s, row: int, out: Int64s, count: int) -> int:
    """Move the carried bar to the output, as seen from minute `row` on; the new count."""
    for field in range(TS, SCALARS):
        out[field - 1, count] = carried[field]
    out[SCALARS - 1, count] = row
    carried[:] = 0
    return count + 1


@compiled(_SIGNATURE)
def fold_minutes(
    ts: Int64s,
    open_: Int64s,
    high: Int64s,
    low: Int64s,
    close: Int64s,
    volume: Int64s,
    session_open: Int64s,
    session_close: Int64s,
    daily_open: Int64s,
    daily_close: Int64s,
    period_ns: int,
    carried: Int64s,
    out: Int64s,
) -> int:
    """Fold `n` minutes into the bars of one higher timeframe.

    Args:
        ts, open_, high, low, close, volume: int64 [n], ascending minutes.
        session_open, session_close, daily_open, daily_close: int64 [s], see `Sessions`.
        period_ns: length of a period; 0 for the daily bar.
        carried: int64 [SCALARS], the unfinished bar before and after; rewritten in place.
        out: int64 [7, room], receives the finished bars: ts, open, high, low, close, volume, and
            the minute's row that finished them.

    Returns:
        How many bars were finished.
    """
    count = 0
    session = 0
    stretch_end = _BEFORE_ALL_TIME  # minutes before this one are in the carried bar's session
    last_minute = _BEFORE_ALL_TIME
    for i in range(len(ts)):
        minute = ts[i]
        if minute >= stretch_end:
            while session < len(session_close) and session_close[session] <= minute:
                session += 1
            if session == len(session_close) or minute < session_open[session]:
                continue
            if period_ns:
                start = minute - (minute - session_open[session]) % period_ns
                end = min(start + period_ns, session_close[session])
            else:
                start, end = daily_open[session], daily_close[session]
            if carried[EXISTS] and carried[TS] != start:
                count = _finish(carried, i, out, count)
            stretch_end = min(end, session_close[session])
            last_minute = end - NS_PER_MINUTE
            if not carried[EXISTS]:
                carried[EXISTS] = 1
                carried[TS] = start
                carried[OPEN] = open_[i]
                carried[HIGH] = high[i]
                carried[LOW] = low[i]
        carried[HIGH] = max(carried[HIGH], high[i])
        carried[LOW] = min(carried[LOW], low[i])
        carried[CLOSE] = close[i]
        carried[VOLUME] += volume[i]
        if minute == last_minute:
            count = _finish(carried, i, out, count)
    return count
