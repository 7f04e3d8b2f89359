"""One minute as values: its bar, what it did on each timeframe, why it is a triangle or not.

Made from the state before the minute and the minute's bar alone; `explanation_text` puts it in
words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import Bars, require_ascending
from trisignal_pipeline.market.dates import from_day_number, iso_minute
from trisignal_pipeline.market.sessions import Sessions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.bias import bias_of
from trisignal_pipeline.signal.firings import Candle, CarriedBar, Gap, carry, gaps_of
from trisignal_pipeline.signal.replay import EngineState, LastMinute, TimeframeState
from trisignal_pipeline.signal.rules import BULLISH, HIGHER_TIMEFRAMES, NEUTRAL, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import UnfinishedBar, fold, sessions_around
from trisignal_pipeline.signal.triangles import alignment, engulfing


@dataclass(frozen=True, slots=True)
class FinishedBar:
    """A bar of some timeframe that is seen from this minute on, and what it did to the bias.

    late  its last minute did not trade: it was finished just before this minute, which lies in a
          later period; else this minute is its last one
    """

    carried: CarriedBar
    late: bool


@dataclass(frozen=True, slots=True)
class NearbyGaps:
    """The live gaps of one timeframe around a price.

    above   the one whose bottom lies nearest above it
    below   the one whose top lies nearest below it
    around  those that hold it, bounds included, the narrowest first
    alive   how many gaps are alive in all
    """

    above: Gap | None
    below: Gap | None
    around: tuple[Gap, ...]
    alive: int


@dataclass(frozen=True, slots=True)
class TimeframeView:
    """One timeframe before and after the minute. Biases are codes of `rules`.

    finished    the bars finished on the minute or just before it; for 1m always the minute's own
    unfinished  the bar that is being made, the minute included; none on 1m, right after a last
                minute, or before the first session
    gaps        around the minute's close, after the minute
    """

    timeframe: str
    bias_before: int
    bias_after: int
    finished: tuple[FinishedBar, ...]
    unfinished: UnfinishedBar | None
    gaps: NearbyGaps


@dataclass(frozen=True, slots=True)
class SessionOfMinute:
    """The session a minute lies in, [open_ns, close_ns); with the UTC anchor the UTC date.

    daily_bar  the trade date whose daily bar the session's minutes belong to
    """

    trade_date: date
    open_ns: int
    close_ns: int
    daily_bar: date


@dataclass(frozen=True, slots=True)
class EngulfingFlags:
    """How the bar engulfs the one before it."""

    bullish: bool
    bearish: bool
    bullish_sweep: bool
    bearish_sweep: bool


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """One filter of triangles, by its name in the registry.

    passed  whether the flip passes it, switched on or not; None without a flip
    """

    name: str
    switched_on: bool
    passed: bool | None


@dataclass(frozen=True, slots=True)
class MinuteExplanation:
    """All there is to say of one minute.

    previous    the accepted bar before it; None on the first one of the history
    session     None for a minute outside every session, which no higher bar holds
    timeframes  one view for each of `TIMEFRAMES`
    flip        BULLISH or BEARISH where the 1-minute bias became that, else NEUTRAL
    triangle    the flip, if every filter that is switched on lets it pass, else NEUTRAL
    """

    bar: Candle
    volume: int
    contract: str
    previous: LastMinute | None
    session: SessionOfMinute | None
    timeframes: tuple[TimeframeView, ...]
    engulfing: EngulfingFlags
    aligned_timeframes: tuple[str, ...]
    htf_bullish: bool
    htf_bearish: bool
    filters: tuple[FilterVerdict, ...]
    flip: int
    triangle: int

    @property
    def biases(self) -> tuple[int, ...]:
        """The bias seen on the minute, one for each of `TIMEFRAMES`."""
        return tuple(view.bias_after for view in self.timeframes)


def explain(before: EngineState, minute: Bars, filters: TriangleFilters) -> MinuteExplanation:
    """What happened on one minute.

    Args:
        before: the state before the minute; it is left as it is.
        minute: exactly one 1-minute bar, later than all that `before` has seen.
        filters: which triangles count.

    Raises:
        InvalidBarsError: not one bar, or one that doesn't follow.
        ConfigurationError: a filter names a timeframe that doesn't exist.
    """
    bar = _only_bar(before, minute)
    around = sessions_around(before.anchor, before.session_profile, minute.ts)
    views = (_minute_view(before, bar), *_higher_views(before, minute, around))
    htf_bullish, htf_bearish = alignment(
        np.array([[view.bias_after for view in views]], np.int8), filters.aligned_timeframes
    )
    flags = engulfing(minute, before.last)
    engulfed = EngulfingFlags(
        bool(flags.bullish[0]),
        bool(flags.bearish[0]),
        bool(flags.bullish_sweep[0]),
        bool(flags.bearish_sweep[0]),
    )
    flip = NEUTRAL if views[0].bias_after == views[0].bias_before else views[0].bias_after
    verdicts = _filter_verdicts(filters, flip, engulfed, bool(htf_bullish[0]), bool(htf_bearish[0]))
    stopped = any(verdict.switched_on and not verdict.passed for verdict in verdicts)
    return MinuteExplanation(
        bar,
        int(minute.volume[0]),
        minute.contracts[minute.contract[0]],
        before.last,
        _session_of(around, minute),
        views,
        engulfed,
        filters.aligned_timeframes,
        bool(htf_bullish[0]),
        bool(htf_bearish[0]),
        verdicts,
        flip,
        NEUTRAL if stopped else flip,
    )


def nearby(gaps: Iterable[Gap], price: int) -> NearbyGaps:
    """The gaps around `price` (units of 1e-9)."""
    alive = tuple(gaps)
    above = (gap for gap in alive if gap.bottom > price)
    below = (gap for gap in alive if gap.top < price)
    holding = (gap for gap in alive if gap.bottom <= price <= gap.top)
    return NearbyGaps(
        min(above, key=lambda gap: (gap.bottom, gap.top, gap.born_ns), default=None),
        max(below, key=lambda gap: (gap.top, gap.bottom, -gap.born_ns), default=None),
        tuple(sorted(holding, key=lambda gap: (gap.top - gap.bottom, gap.born_ns))),
        len(alive),
    )


def _only_bar(before: EngineState, minute: Bars) -> Candle:
    if len(minute) != 1:
        raise InvalidBarsError(f"{len(minute)} bars can't be explained as one minute; give one bar")
    require_ascending(minute.ts)
    ts = int(minute.ts[0])
    if before.last is not None and ts <= before.last.ts:
        raise InvalidBarsError(
            f"{iso_minute(ts)} does not come after {iso_minute(before.last.ts)}, the last bar the "
            "state has seen; give the state before the minute"
        )
    columns = (minute.open, minute.high, minute.low, minute.close)
    return Candle(ts, *(int(column[0]) for column in columns))


def _minute_view(before: EngineState, bar: Candle) -> TimeframeView:
    carried = carry(before.minutes, bar)
    return TimeframeView(
        TIMEFRAMES[0],
        carried.bias_before,
        carried.bias_after,
        (FinishedBar(carried, late=False),),
        None,
        nearby(carried.gaps, bar.close),
    )


def _higher_views(before: EngineState, minute: Bars, around: Sessions) -> list[TimeframeView]:
    # The engine knows no volume, so the bar it is making has none to add to.
    silent = replace(minute, volume=np.zeros(1, np.int64))
    return [
        _higher_view(timeframe, state, silent, around)
        for timeframe, state in zip(HIGHER_TIMEFRAMES, before.higher, strict=True)
    ]


def _higher_view(
    timeframe: str, state: TimeframeState, minute: Bars, around: Sessions
) -> TimeframeView:
    finished, unfinished = fold(minute, timeframe, around, state.unfinished)
    series = state.series
    gaps = gaps_of(series)
    seen = []
    for row in range(len(finished)):
        columns = (finished.ts, finished.open, finished.high, finished.low, finished.close)
        carried = carry(series, Candle(*(int(column[row]) for column in columns)))
        # The minute is in a bar of its own: what it leaves, or else the last one it finished.
        own = unfinished is None and row == len(finished) - 1
        seen.append(FinishedBar(carried, late=not own))
        gaps = carried.gaps
        series, _ = bias_of(
            series,
            finished.ts[row : row + 1],
            finished.high[row : row + 1],
            finished.low[row : row + 1],
            finished.close[row : row + 1],
        )
    bias_after = seen[-1].carried.bias_after if seen else state.series.bias
    return TimeframeView(
        timeframe,
        state.series.bias,
        bias_after,
        tuple(seen),
        unfinished,
        nearby(gaps, int(minute.close[0])),
    )


def _session_of(around: Sessions, minute: Bars) -> SessionOfMinute | None:
    row = int(around.locate(minute.ts)[0])
    if row < 0:
        return None
    return SessionOfMinute(
        from_day_number(int(around.trade_date[row])),
        int(around.open_ns[row]),
        int(around.close_ns[row]),
        from_day_number(int(around.daily_bar[row])),
    )


def _filter_verdicts(
    filters: TriangleFilters,
    flip: int,
    engulfed: EngulfingFlags,
    htf_bullish: bool,
    htf_bearish: bool,
) -> tuple[FilterVerdict, ...]:
    """How the flip fares with each filter. Asking for both kinds of engulfing is asking for a
    sweep, which is never without the other.
    """
    bullish, bearish = (
        (htf_bullish, engulfed.bullish, engulfed.bullish_sweep),
        (htf_bearish, engulfed.bearish, engulfed.bearish_sweep),
    )
    passed: tuple[bool | None, ...] = (None, None, None)
    if flip != NEUTRAL:
        passed = bullish if flip == BULLISH else bearish
    names = ("htf_aligned_only", "require_engulfing", "require_sweep_engulfing")
    return tuple(
        FilterVerdict(name, getattr(filters, name), verdict)
        for name, verdict in zip(names, passed, strict=True)
    )
