"""Carrying the whole signal of a market over its bars: six biases a minute, and state that is kept.

The result is the same, byte for byte, however a history is cut into calls of `advance`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import Bars, Int64s, require_ascending
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.market.sessions import Sessions, require_profile
from trisignal_pipeline.market.symbols import Anchor
from trisignal_pipeline.signal.bias import BiasState, Int8s, bias_of, no_bars_yet
from trisignal_pipeline.signal.rules import HIGHER_TIMEFRAMES, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import UnfinishedBar, fold, sessions_around


@dataclass(frozen=True, slots=True, eq=False)
class BiasSeries:
    """The biases seen on each 1-minute bar.

    ts    int64 [n], the bar's open, nanoseconds since the epoch (UTC)
    bias  int8 [n, 6], a code of `rules` for each of `TIMEFRAMES`; `BIAS_NAMES[code]` is its name
    """

    ts: Int64s
    bias: Int8s

    def __len__(self) -> int:
        return len(self.ts)

    def column(self, timeframe: str) -> Int8s:
        """The bias of one of `TIMEFRAMES`, int8 [n]."""
        return self.bias[:, TIMEFRAMES.index(timeframe)]


@dataclass(frozen=True, slots=True)
class LastMinute:
    """The latest 1-minute bar and the six biases seen on it: what the next bar is compared with."""

    ts: int
    open: int
    high: int
    low: int
    close: int
    bias: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimeframeState:
    """One higher timeframe: the bias of its finished bars, and the bar that isn't finished."""

    series: BiasState
    unfinished: UnfinishedBar | None


@dataclass(frozen=True, slots=True)
class EngineState:
    """Everything the signal of the bars to come depends on. Never changed, only followed.

    Two histories that lead to equal states have the same signal from there on. A state is valid for
    exactly the bars, the rules and the anchor it was made from.
    """

    anchor: Anchor
    session_profile: str
    minutes: BiasState
    higher: tuple[TimeframeState, ...]
    last: LastMinute | None

    @property
    def gaps_alive(self) -> int:
        """How many gaps are alive, over all six timeframes."""
        return self.minutes.gaps_alive + sum(state.series.gaps_alive for state in self.higher)


def start(anchor: Anchor = Anchor.SESSION, session_profile: str = "cme_equity") -> EngineState:
    """The state before a market's first bar.

    Raises:
        CalendarError: session anchor, and no such profile.
    """
    if anchor == Anchor.SESSION:
        require_profile(session_profile)
    empty = TimeframeState(no_bars_yet(), None)
    return EngineState(
        anchor, session_profile, no_bars_yet(), (empty,) * len(HIGHER_TIMEFRAMES), None
    )


def advance(state: EngineState, bars: Bars) -> tuple[EngineState, BiasSeries]:
    """The biases on each of `bars`, which follow those that `state` has seen.

    Args:
        state: what came before; it is left as it is.
        bars: 1-minute bars in ascending time.

    Returns:
        The state after the last bar, and the biases on every bar.

    Raises:
        InvalidBarsError: the bars are not in ascending time, or don't follow those seen.
    """
    biases = np.empty((len(TIMEFRAMES), len(bars)), np.int8)
    if not len(bars):
        return state, BiasSeries(bars.ts, biases.T)
    require_ascending(bars.ts)
    if state.last is not None and bars.ts[0] <= state.last.ts:
        raise InvalidBarsError(
            f"the first bar, {iso_minute(int(bars.ts[0]))}, does not come after the last one that "
            f"was replayed, {iso_minute(state.last.ts)}; replay from an earlier state"
        )
    minutes, biases[0] = bias_of(state.minutes, bars.ts, bars.high, bars.low, bars.close)
    around = sessions_around(state.anchor, state.session_profile, bars.ts)
    higher = []
    for row, timeframe in enumerate(HIGHER_TIMEFRAMES):
        followed, biases[row + 1] = _advance_higher(state.higher[row], timeframe, bars, around)
        higher.append(followed)
    last = LastMinute(
        int(bars.ts[-1]),
        int(bars.open[-1]),
        int(bars.high[-1]),
        int(bars.low[-1]),
        int(bars.close[-1]),
        tuple(int(code) for code in biases[:, -1]),
    )
    followed_by = EngineState(state.anchor, state.session_profile, minutes, tuple(higher), last)
    return followed_by, BiasSeries(bars.ts, biases.T)


def _advance_higher(
    state: TimeframeState, timeframe: str, bars: Bars, around: Sessions
) -> tuple[TimeframeState, Int8s]:
    """One higher timeframe after `bars`, and its bias as seen on each of them: int8 [n]."""
    # A volume is no part of the signal: a corrected one must not make the state another.
    silent = replace(bars, volume=np.zeros(len(bars), np.int64))
    finished, unfinished = fold(silent, timeframe, around, state.unfinished)
    series, bias = bias_of(state.series, finished.ts, finished.high, finished.low, finished.close)
    # Each bias is seen from the minute that finished its bar until the next one is finished.
    seen = np.repeat(
        np.concatenate(([np.int8(state.series.bias)], bias)),
        np.diff(finished.finished_on, prepend=0, append=len(bars)),
    )
    return TimeframeState(series, unfinished), seen
