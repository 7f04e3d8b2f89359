"""Triangles: the minutes on which the 1-minute bias flips, and the filters they pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import Bars, Bools, Int64s
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.replay import BiasSeries, LastMinute
from trisignal_pipeline.signal.rules import (
    BEARISH,
    BULLISH,
    NEUTRAL,
    TIMEFRAMES,
    require_higher_timeframe,
)


@dataclass(frozen=True, slots=True, eq=False)
class Triangles:
    """Triangles in order of time, in columns of one length, and the filters they were found with.

    ts               int64, the bar's open, nanoseconds since the epoch (UTC)
    direction        int8, 1 for BULL and -1 for BEAR; `DIRECTION_NAMES[code]` is its name
    bias             int8 [n, 6], the biases seen on the bar, one for each of `TIMEFRAMES`
    htf_bullish, htf_bearish   whether all timeframes switched on agree
    engulfing, sweep_engulfing whether the bar engulfs the one before in the triangle's direction
    """

    ts: Int64s
    direction: Int8s
    bias: Int8s
    htf_bullish: Bools
    htf_bearish: Bools
    engulfing: Bools
    sweep_engulfing: Bools
    filters: TriangleFilters

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: slice | Bools) -> Triangles:
        """The triangles at `rows`."""
        return Triangles(
            self.ts[rows],
            self.direction[rows],
            self.bias[rows],
            self.htf_bullish[rows],
            self.htf_bearish[rows],
            self.engulfing[rows],
            self.sweep_engulfing[rows],
            self.filters,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Engulfing:
    """How each bar engulfs the bar before it: bool columns of one length."""

    bullish: Bools
    bearish: Bools
    bullish_sweep: Bools
    bearish_sweep: Bools


def triangles(
    bars: Bars, series: BiasSeries, filters: TriangleFilters, previous: LastMinute | None
) -> Triangles:
    """The triangles on `bars`.

    Args:
        bars: 1-minute bars in ascending time.
        series: the biases seen on exactly these bars.
        filters: which triangles count.
        previous: the bar before the first one, `EngineState.last` of the state they were replayed
            from; None where history starts with them. The first bar of a history has no triangle:
            its bias is `Neutral`.

    Raises:
        InvalidBarsError: the biases are those of other bars.
        ConfigurationError: a filter names a timeframe that doesn't exist.
    """
    if not np.array_equal(bars.ts, series.ts):
        raise InvalidBarsError(
            f"{len(series)} biases do not belong to these {len(bars)} bars; "
            "give the series that was made from them"
        )
    minute_bias = series.column(TIMEFRAMES[0])
    before = np.int8(NEUTRAL if previous is None else previous.bias[0])
    flipped = (minute_bias != NEUTRAL) & np.not_equal(minute_bias, _shifted(minute_bias, before))
    rows = np.flatnonzero(flipped)
    direction = minute_bias[rows]
    htf_bullish, htf_bearish = alignment(series.bias[rows], filters.aligned_timeframes)
    candle = engulfing(bars, previous, rows)
    bull = direction == BULLISH
    plain = np.where(bull, candle.bullish, candle.bearish)
    sweep = np.where(bull, candle.bullish_sweep, candle.bearish_sweep)

    kept = np.ones(len(rows), np.bool_)
    if filters.htf_aligned_only:
        kept &= np.where(bull, htf_bullish, htf_bearish)
    if filters.require_sweep_engulfing:
        kept &= sweep
    elif filters.require_engulfing:
        kept &= plain
    return Triangles(
        bars.ts[rows][kept],
        direction[kept],
        series.bias[rows][kept],
        htf_bullish[kept],
        htf_bearish[kept],
        plain[kept],
        sweep[kept],
        filters,
    )


def alignment(bias: Int8s, timeframes: tuple[str, ...]) -> tuple[Bools, Bools]:
    """Whether all of `timeframes` are Bullish, and whether all are Bearish: two bool [n].

    With no timeframe switched on both are true.

    Args:
        bias: int8 [n, 6], one column for each of `TIMEFRAMES`.
        timeframes: those switched on, of `HIGHER_TIMEFRAMES`.

    Raises:
        ConfigurationError: no such timeframe.
    """
    for timeframe in timeframes:
        require_higher_timeframe(timeframe)
    switched_on = bias[:, [TIMEFRAMES.index(timeframe) for timeframe in timeframes]]
    return (switched_on == BULLISH).all(axis=1), (switched_on == BEARISH).all(axis=1)


def engulfing(
    bars: Bars, previous: LastMinute | None = None, rows: Int64s | None = None
) -> Engulfing:
    """How bars engulf the bar before them.

    Args:
        bars: 1-minute bars in ascending time.
        previous: the bar before the first one; without it the first one engulfs nothing.
        rows: the rows to look at; None for all of them.
    """
    if rows is None:
        rows = np.arange(len(bars))
    # A bar without a body can't be engulfed, so it stands in where there is no bar before.
    nothing = LastMinute(0, 0, 0, 0, 0, ())
    first = previous or nothing
    open_, high, low, close = (c[rows] for c in (bars.open, bars.high, bars.low, bars.close))
    was_open, was_high, was_low, was_close = (
        np.where(rows > 0, column[rows - 1], value) if len(rows) else column[rows]
        for column, value in (
            (bars.open, first.open),
            (bars.high, first.high),
            (bars.low, first.low),
            (bars.close, first.close),
        )
    )
    bullish = (close > open_) & (was_close < was_open) & (open_ <= was_close) & (close > was_open)
    bearish = (close < open_) & (was_close > was_open) & (open_ >= was_close) & (close < was_open)
    return Engulfing(
        bullish,
        bearish,
        bullish & (low < was_low) & (close > was_close),
        bearish & (high > was_high) & (close < was_close),
    )


def _shifted(column: Int8s, before: np.int8) -> Int8s:
    """The column one row later, with `before` as its first value."""
    return np.concatenate(([before], column[:-1])).astype(np.int8) if len(column) else column
