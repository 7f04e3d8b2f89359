"""The gaps that were alive at a moment, replayed from the nearest saved state."""

from __future__ import annotations

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.firings import Gap, gaps_of
from trisignal_pipeline.signal.replay import advance
from trisignal_pipeline.signal.rules import HIGHER_TIMEFRAMES, TIMEFRAMES
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.explanation import before_minute


def live_gaps(
    connection: Connection, market: Market, ts_ns: int, timeframe: str
) -> tuple[Gap, ...]:
    """The gaps of one of `TIMEFRAMES` that are alive once the minute at `ts_ns` has closed.

    Args:
        connection: in a transaction that reads all of it as it is at one instant.
        market: whose anchor and thresholds count.
        ts_ns: the bar's OPEN, nanoseconds (UTC).

    Returns:
        The gaps, the one nearest to the minute's close first.

    Raises:
        RangeError: the signal has no bar there; the message says why.
    """
    if timeframe not in TIMEFRAMES:
        raise RangeError(f"{timeframe!r} is no timeframe; these are: {', '.join(TIMEFRAMES)}")
    before, minute, _ = before_minute(connection, market, ts_ns)
    after, _ = advance(before, minute)
    series = after.minutes
    if timeframe in HIGHER_TIMEFRAMES:
        series = after.higher[HIGHER_TIMEFRAMES.index(timeframe)].series
    close = int(minute.close[0])

    def nearest_first(gap: Gap) -> tuple[int, int]:
        return max(gap.bottom - close, close - gap.top, 0), -gap.born_ns

    return tuple(sorted(gaps_of(series), key=nearest_first))
