"""The bias of one bar series as values: a state that is never changed, only followed by another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trisignal_pipeline.market.bars import Int64s, require_whole_numbers
from trisignal_pipeline.signal.rules import NEUTRAL

Int8s = npt.NDArray[np.int8]

# Places in the vector of scalars.
SEEN_ANY, BIAS = 0, 1
HIGHEST, LOWEST = 2, 3
LAST_HIGH, LAST_LOW = 4, 5
EARLIER_HIGH, EARLIER_LOW = 6, 7

# Columns of a set of gaps.
BOTTOM, TOP, BIRTH = 0, 1, 2

# Prices that no close is beyond: thresholds of an empty set, and of bars that aren't there. The
# lower one is not -(2**63), which the compiler would take for unsigned, and then mix as floats.
NEVER_ABOVE = 2**63 - 1
NEVER_BELOW = -NEVER_ABOVE

# Bars given to the kernel at once: many to a call, and few enough that room for all the gaps they
# might open, memory that is hardly ever touched, stays small.
_CHUNK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class BiasState:
    """All that the bias of the bars to come depends on, and nothing else: two histories after which
    the same future gives the same biases, gap by gap, have equal states.

    scalars          int64 [8]: whether a bar has been seen, the bias, the extremes, high and low of
                     the last two bars
    bullish, bearish, inverse_bullish, inverse_bearish
                     the gaps alive, int64 [k, 3]: bottom, top (price units) and the `ts` of the
                     bar that opened the gap; in the order in which closes would remove them, the
                     first to go last in the first two sets and first in the other two. An inverse
                     gap is named by what it has become: a bullish one was a bearish gap.
    """

    scalars: Int64s
    bullish: Int64s
    bearish: Int64s
    inverse_bullish: Int64s
    inverse_bearish: Int64s

    def __post_init__(self) -> None:
        for part in self.parts():
            part.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BiasState):
            return NotImplemented
        return all(map(np.array_equal, self.parts(), other.parts()))

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    def parts(self) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s]:
        """The scalars and the four sets of gaps, in the order of the fields."""
        return (
            self.scalars,
            self.bullish,
            self.bearish,
            self.inverse_bullish,
            self.inverse_bearish,
        )

    @property
    def bias(self) -> int:
        """The bias after the last of them, as a code of `rules`."""
        return int(self.scalars[BIAS])

    @property
    def gaps_alive(self) -> int:
        """How many gaps are alive, in all four sets together."""
        return sum(len(gaps) for gaps in self.parts()[1:])


def no_bars_yet() -> BiasState:
    """The state before the first bar."""
    scalars = np.empty(8, np.int64)
    scalars[SEEN_ANY], scalars[BIAS] = 0, NEUTRAL
    scalars[HIGHEST], scalars[LOWEST] = NEVER_BELOW, NEVER_ABOVE  # any bar widens them
    for high, low in ((LAST_HIGH, LAST_LOW), (EARLIER_HIGH, EARLIER_LOW)):
        scalars[high], scalars[low] = NEVER_ABOVE, NEVER_BELOW  # no bar leaves a gap to them
    return BiasState(scalars, *(np.empty((0, 3), np.int64) for _ in range(4)))


def bias_of(
    state: BiasState, ts: Int64s, high: Int64s, low: Int64s, close: Int64s
) -> tuple[BiasState, Int8s]:
    """The bias after each of `n` bars that follow those `state` has seen.

    Args:
        state: what came before; it is left as it is.
        ts, high, low, close: int64 [n]; nanoseconds since the epoch, units of 1e-9.

    Returns:
        The state after the last bar, and int8 [n], codes of `rules`.

    Raises:
        InvalidBarsError: a column is not of whole numbers, NaN among them, say.
    """
    for name, column in (("ts", ts), ("high", high), ("low", low), ("close", close)):
        require_whole_numbers(name, column)
    # Imports the compiler and loads (once on a machine: makes) the compiled code.
    from trisignal_pipeline.signal.kernel import run_bias  # noqa: PLC0415

    bias = np.empty(len(ts), np.int8)
    scalars = state.scalars.copy()
    sets = list(state.parts()[1:])
    sizes = np.array([len(gaps) for gaps in sets], np.int64)
    ts, high, low, close = (np.ascontiguousarray(c, np.int64) for c in (ts, high, low, close))
    for first in range(0, len(ts), _CHUNK):
        rows = slice(first, first + _CHUNK)
        room = int(sizes.sum()) + 2 * len(ts[rows])
        sets = [_with_room(gaps, alive, room) for gaps, alive in zip(sets, sizes, strict=True)]
        bullish, bearish, inverse_bullish, inverse_bearish = sets
        run_bias(
            ts[rows],
            high[rows],
            low[rows],
            close[rows],
            scalars,
            sizes,
            bullish,
            bearish,
            inverse_bullish,
            inverse_bearish,
            bias[rows],
        )
    bullish, bearish, inverse_bullish, inverse_bearish = (
        gaps[:alive] for gaps, alive in zip(sets, sizes, strict=True)
    )
    return BiasState(
        scalars,
        _sorted_by(bullish[:, BOTTOM], bullish),
        _sorted_by(-bearish[:, TOP], bearish),
        _sorted_by(-inverse_bullish[:, BOTTOM], inverse_bullish),
        _sorted_by(inverse_bearish[:, TOP], inverse_bearish),
    ), bias


def _sorted_by(threshold: Int64s, gaps: Int64s) -> Int64s:
    """The gaps in the one order their set has: what is sorted is a stack, and a heap too.

    The kernel leaves a heap in an order that tells of gaps long gone.
    """
    order = np.lexsort((gaps[:, BIRTH], gaps[:, TOP], gaps[:, BOTTOM], threshold))
    return np.ascontiguousarray(gaps[order])


def _with_room(gaps: Int64s, alive: int, room: int) -> Int64s:
    """The gaps that are alive, in an array that may be written and holds at least `room`."""
    if len(gaps) >= room and gaps.flags.writeable:
        return gaps
    wider = np.empty((2 * room, 3), np.int64)
    wider[:alive] = gaps[:alive]
    return wider
