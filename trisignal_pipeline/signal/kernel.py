"""The bias of one bar series, compiled: rules 1 to 4, one bar after another.

Of the four sets of gaps only the threshold that removes a gap is ever compared, so each set is
kept in the order in which its gaps go:

- a bullish gap goes when the close falls below its bottom: the highest bottom goes first. Every
  bullish gap alive after bar t-2 has a bottom at or below that bar's close, hence at or below its
  high, and that high is the bottom of the gap bar t can open. So only the gap of bar t-1 can lie
  above a new one, and a plain array in ascending order, used as a stack, takes it with at most one
  shift. Bearish gaps are the mirror image. (Bars whose close lies outside their range would cost
  more shifts, nothing else.)
- inverse gaps come in any order: a bearish one goes when the close rises above its top, lowest
  top first; a bullish one when it falls below its bottom, highest bottom first. They are binary
  heaps.

Each gap enters two sets and leaves two sets at most, at O(log n) each. A bar on which nothing goes
costs four comparisons, however many gaps are alive.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.signal.bias import (
    BIAS,
    BIRTH,
    BOTTOM,
    EARLIER_HIGH,
    EARLIER_LOW,
    HIGHEST,
    LAST_HIGH,
    LAST_LOW,
    LOWEST,
    NEVER_ABOVE,
    NEVER_BELOW,
    SEEN_ANY,
    TOP,
)
from trisignal_pipeline.signal.compiled import compiled, inlined
from trisignal_pipeline.signal.rules import BEARISH, BULLISH

_GAPS = types.Array(types.int64, 2, "C")
_COLUMN = types.Array(types.int64, 1, "C", readonly=True)
_SIGNATURE = types.void(
    *(_COLUMN,) * 4,
    types.Array(types.int64, 1, "C"),
    types.Array(types.int64, 1, "C"),
    *(_GAPS,) * 4,
    types.Array(types.int8, 1, "C"),
)


@inlined
def _set_gap(gaps: Int64s, row: int, bottom: int, top: int, birth: int) -> None:
    gaps[row, BOTTOM] = bottom
    gaps[row, TOP] = top
    gaps[row, BIRTH] = birth


@inlined
def _move_gap(gaps: Int64s, source: int, target: int) -> None:
    gaps[target, BOTTOM] = gaps[source, BOTTOM]
    gaps[target, TOP] = gaps[source, TOP]
    gaps[target, BIRTH] = gaps[source, BIRTH]


@inlined
def _stack_push(
    stack: Int64s, size: int, bottom: int, top: int, birth: int, key: int, sign: int
) -> None:
    """Add a gap to a stack with the largest `sign * threshold` in its last row."""
    threshold = sign * (bottom if key == BOTTOM else top)
    row = size
    while row > 0 and sign * stack[row - 1, key] > threshold:
        _move_gap(stack, row - 1, row)
        row -= 1
    _set_gap(stack, row, bottom, top, birth)


@inlined
def _heap_push(
    heap: Int64s, size: int, bottom: int, top: int, birth: int, key: int, sign: int
) -> None:
    """Add a gap to a heap with the largest `sign * threshold` at row 0."""
    threshold = sign * (bottom if key == BOTTOM else top)
    row = size
    while row > 0:
        parent = (row - 1) >> 1
        if sign * heap[parent, key] >= threshold:
            break
        _move_gap(heap, parent, row)
        row = parent
    _set_gap(heap, row, bottom, top, birth)


@inlined
def _heap_pop(heap: Int64s, size: int, key: int, sign: int) -> None:
    """Drop row 0 of a heap of `size` gaps."""
    last = size - 1
    threshold = sign * heap[last, key]
    row = 0
    while True:
        child = 2 * row + 1
        if child >= last:
            break
        if child + 1 < last and sign * heap[child + 1, key] > sign * heap[child, key]:
            child += 1
        if threshold >= sign * heap[child, key]:
            break
        _move_gap(heap, child, row)
        row = child
    _move_gap(heap, last, row)


@compiled(_SIGNATURE)
def run_bias(  # noqa: PLR0912, PLR0915 - the four rules share their state in registers
    ts: Int64s,
    high: Int64s,
    low: Int64s,
    close: Int64s,
    scalars: Int64s,
    sizes: Int64s,
    bullish: Int64s,
    bearish: Int64s,
    inverse_bullish: Int64s,
    inverse_bearish: Int64s,
    bias_out: npt.NDArray[np.int8],
) -> None:
    """Carry the bias of one series over `n` more bars.

    Args:
        ts, high, low, close: int64 [n], ascending; nanoseconds and price units.
        scalars: int64 [8], rewritten in place.
        sizes: int64 [4], gaps alive in each of the sets that follow; rewritten in place.
        bullish, bearish, inverse_bullish, inverse_bearish: int64 [room, 3], rewritten in place.
            A bar opens two gaps at most, and a gap is in one set at a time, so each set needs
            room for all gaps alive and two more for every bar. (Growing them here would cost
            every bar some 20 ns of reference counting.)
        bias_out: int8 [n], receives the bias after each bar.
    """
    bias = scalars[BIAS]
    highest, lowest = scalars[HIGHEST], scalars[LOWEST]
    last_high, last_low = scalars[LAST_HIGH], scalars[LAST_LOW]
    earlier_high, earlier_low = scalars[EARLIER_HIGH], scalars[EARLIER_LOW]
    bullish_n, bearish_n, inverse_bullish_n, inverse_bearish_n = sizes

    # The first threshold of each set, so that a quiet bar touches no memory but its own.
    floor = bullish[bullish_n - 1, BOTTOM] if bullish_n else NEVER_BELOW
    ceiling = bearish[bearish_n - 1, TOP] if bearish_n else NEVER_ABOVE
    inverse_floor = inverse_bullish[0, BOTTOM] if inverse_bullish_n else NEVER_BELOW
    inverse_ceiling = inverse_bearish[0, TOP] if inverse_bearish_n else NEVER_ABOVE

    seen_any = scalars[SEEN_ANY] > 0
    for i in range(len(ts)):
        bar_high, bar_low, bar_close = high[i], low[i], close[i]

        if i > 0 or seen_any:  # the first bar of all compares with nothing
            if bar_close > highest:
                bias = BULLISH
            elif bar_close < lowest:
                bias = BEARISH
        highest = max(highest, bar_high)
        lowest = min(lowest, bar_low)

        if earlier_high < bar_low:
            _stack_push(bullish, bullish_n, earlier_high, bar_low, ts[i], BOTTOM, 1)
            bullish_n += 1
            floor = max(floor, earlier_high)
        if earlier_low > bar_high:
            _stack_push(bearish, bearish_n, bar_high, earlier_low, ts[i], TOP, -1)
            bearish_n += 1
            ceiling = min(ceiling, earlier_low)

        if floor > bar_close:
            bias = BEARISH
            while floor > bar_close:
                bullish_n -= 1
                top, birth = bullish[bullish_n, TOP], bullish[bullish_n, BIRTH]
                _heap_push(inverse_bearish, inverse_bearish_n, floor, top, birth, TOP, -1)
                inverse_bearish_n += 1
                inverse_ceiling = min(inverse_ceiling, top)
                floor = bullish[bullish_n - 1, BOTTOM] if bullish_n else NEVER_BELOW
        if ceiling < bar_close:
            bias = BULLISH
            while ceiling < bar_close:
                bearish_n -= 1
                bottom, birth = bearish[bearish_n, BOTTOM], bearish[bearish_n, BIRTH]
                _heap_push(inverse_bullish, inverse_bullish_n, bottom, ceiling, birth, BOTTOM, 1)
                inverse_bullish_n += 1
                inverse_floor = max(inverse_floor, bottom)
                ceiling = bearish[bearish_n - 1, TOP] if bearish_n else NEVER_ABOVE

        if inverse_ceiling < bar_close:
            bias = BULLISH
            while inverse_ceiling < bar_close:
                _heap_pop(inverse_bearish, inverse_bearish_n, TOP, -1)
                inverse_bearish_n -= 1
                inverse_ceiling = inverse_bearish[0, TOP] if inverse_bearish_n else NEVER_ABOVE
        if inverse_floor > bar_close:
            bias = BEARISH
            while inverse_floor > bar_close:
                _heap_pop(inverse_bullish, inverse_bullish_n, BOTTOM, 1)
                inverse_bullish_n -= 1
                inverse_floor = inverse_bullish[0, BOTTOM] if inverse_bullish_n else NEVER_BELOW

        earlier_high, earlier_low = last_high, last_low
        last_high, last_low = bar_high, bar_low
        bias_out[i] = bias

    if len(ts):
        scalars[SEEN_ANY] = 1
    scalars[BIAS] = bias
    scalars[HIGHEST], scalars[LOWEST] = highest, lowest
    scalars[LAST_HIGH], scalars[LAST_LOW] = last_high, last_low
    scalars[EARLIER_HIGH], scalars[EARLIER_LOW] = earlier_high, earlier_low
    sizes[0], sizes[1], sizes[2], sizes[3] = (
        bullish_n,
        bearish_n,
        inverse_bullish_n,
        inverse_bearish_n,
    )
