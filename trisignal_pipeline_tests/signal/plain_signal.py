"""The signal once more, slow and plain: lists, one bar at a time, every gap looked at on every bar.

It shares no code with the product, so that the two can be wrong only separately. Prices are ints,
biases are words, a bar is (ts, open, high, low, close).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PlainBar = tuple[int, int, int, int, int]
PlainSession = tuple[int, int, int, int]
"""open, close of the session, and open, close of the daily bar it belongs to."""

MINUTE = 60_000_000_000
MINUTES = {"5m": 5, "15m": 15, "1h": 60, "4h": 240}
TIMEFRAMES = ("5m", "15m", "1h", "4h", "1d")


@dataclass
class PlainBias:
    bars: list[PlainBar] = field(default_factory=list)
    bullish: list[tuple[int, int]] = field(default_factory=list)
    bearish: list[tuple[int, int]] = field(default_factory=list)
    bearish_inverse: list[tuple[int, int]] = field(default_factory=list)
    bullish_inverse: list[tuple[int, int]] = field(default_factory=list)
    highest: int = 0
    lowest: int = 0
    bias: str = "Neutral"

    def add(self, bar: PlainBar) -> str:
        _, _, high, low, close = bar
        if self.bars:
            if close > self.highest:
                self.bias = "Bullish"
            elif close < self.lowest:
                self.bias = "Bearish"
            self.highest = max(self.highest, high)
            self.lowest = min(self.lowest, low)
        else:
            self.highest, self.lowest = high, low
        if len(self.bars) >= 2:
            _, _, high_before, low_before, _ = self.bars[-2]
            if high_before < low:
                self.bullish.append((high_before, low))
            if low_before > high:
                self.bearish.append((high, low_before))

        gone = [gap for gap in self.bullish if gap[0] > close]
        if gone:
            self.bullish = [gap for gap in self.bullish if gap[0] <= close]
            self.bearish_inverse += gone
            self.bias = "Bearish"
        gone = [gap for gap in self.bearish if gap[1] < close]
        if gone:
            self.bearish = [gap for gap in self.bearish if gap[1] >= close]
            self.bullish_inverse += gone
            self.bias = "Bullish"

        if any(gap[1] < close for gap in self.bearish_inverse):
            self.bearish_inverse = [gap for gap in self.bearish_inverse if gap[1] >= close]
            self.bias = "Bullish"
        if any(gap[0] > close for gap in self.bullish_inverse):
            self.bullish_inverse = [gap for gap in self.bullish_inverse if gap[0] <= close]
            self.bias = "Bearish"

        self.bars.append(bar)
        return self.bias


def plain_biases(bars: Iterable[PlainBar]) -> list[str]:
    series = PlainBias()
    return [series.add(bar) for bar in bars]


def period(ts: int, timeframe: str, sessions: Sequence[PlainSession]) -> tuple[int, int] | None:
    """Start and end of the period that a minute lies in; None outside every session."""
    for session_open, session_close, daily_open, daily_close in sessions:
        if session_open <= ts < session_close:
            if timeframe == "1d":
                return daily_open, daily_close
            start, length = session_open, MINUTES[timeframe] * MINUTE
            while start + length <= ts:
                start += length
            return start, min(start + length, session_close)
    return None


def plain_higher(
    bars: Sequence[PlainBar], timeframe: str, sessions: Sequence[PlainSession]
) -> tuple[list[str], list[PlainBar]]:
    """The bias seen on each 1-minute bar, and the higher bars, the unfinished one included."""
    series = PlainBias()
    seen: list[str] = []
    made: list[PlainBar] = []
    minutes: list[PlainBar] = []
    current: tuple[int, int] | None = None

    def finish() -> None:
        nonlocal current
        assert current is not None
        made.append(merged(current[0], minutes))
        series.add(made[-1])
        minutes.clear()
        current = None

    for bar in bars:
        its_period = period(bar[0], timeframe, sessions)
        if its_period is not None:
            if current is not None and its_period != current:
                finish()
            current = its_period
            minutes.append(bar)
            if bar[0] + MINUTE == current[1]:
                finish()
        seen.append(series.bias)
    if current is not None:
        made.append(merged(current[0], minutes))
    return seen, made


def merged(ts: int, minutes: Sequence[PlainBar]) -> PlainBar:
    return (
        ts,
        minutes[0][1],
        max(bar[2] for bar in minutes),
        min(bar[3] for bar in minutes),
        minutes[-1][4],
    )


def plain_all(bars: Sequence[PlainBar], sessions: Sequence[PlainSession]) -> list[tuple[str, ...]]:
    """All six biases seen on each 1-minute bar."""
    columns = [plain_biases(bars)]
    columns += [plain_higher(bars, timeframe, sessions)[0] for timeframe in TIMEFRAMES]
    return list(zip(*columns, strict=True))


def plain_engulfing(bar: PlainBar, before: PlainBar, direction: str) -> tuple[bool, bool]:
    """Whether `bar` engulfs the bar before it in that direction, and whether it sweeps it too."""
    sign = 1 if direction == "BULL" else -1
    # A bearish candle is a bullish one upside down, high and low changing places.
    open_, close = sign * bar[1], sign * bar[4]
    was_open, was_close = sign * before[1], sign * before[4]
    low = min(sign * bar[2], sign * bar[3])
    was_low = min(sign * before[2], sign * before[3])
    engulfs = close > open_ and was_close < was_open and open_ <= was_close and close > was_open
    return engulfs, engulfs and low < was_low and close > was_close


def plain_triangles(
    bars: Sequence[PlainBar],
    biases: Sequence[tuple[str, ...]],
    *,
    require_engulfing: bool = False,
    require_sweep_engulfing: bool = False,
    htf_aligned_only: bool = False,
    aligned_timeframes: Sequence[str] = TIMEFRAMES,
) -> list[tuple[int, str, bool, bool]]:
    """ts, direction, and the two engulfing flags of each triangle."""
    found = []
    for row in range(1, len(bars)):
        now, was = biases[row][0], biases[row - 1][0]
        if now == was or now == "Neutral":
            continue
        direction = "BULL" if now == "Bullish" else "BEAR"
        engulfs, sweeps = plain_engulfing(bars[row], bars[row - 1], direction)
        higher = dict(zip(TIMEFRAMES, biases[row][1:], strict=True))
        if htf_aligned_only and any(higher[name] != now for name in aligned_timeframes):
            continue
        if require_sweep_engulfing:
            if not sweeps:
                continue
        elif require_engulfing and not engulfs:
            continue
        found.append((bars[row][0], direction, engulfs, sweeps))
    return found
