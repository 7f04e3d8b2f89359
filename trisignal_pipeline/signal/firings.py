"""What one bar does to the bias of its series, rule by rule and gap by gap, as a person would tell.

The kernel answers what the bias is; this answers why. It looks at every gap on every bar, so it is
for a minute somebody asks about, not for a history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.signal.bias import (
    EARLIER_HIGH,
    EARLIER_LOW,
    HIGHEST,
    LOWEST,
    SEEN_ANY,
    BiasState,
)
from trisignal_pipeline.signal.rules import BEARISH, BULLISH


class GapKind(StrEnum):
    """The four sets a gap can be in. An inverse gap is named by what it has become."""

    BULLISH = "bullish gap"
    BEARISH = "bearish gap"
    INVERSE_BULLISH = "bullish inverse gap"
    INVERSE_BEARISH = "bearish inverse gap"

    @property
    def goes_above(self) -> bool:
        """Whether a close above its top takes a gap out of the set; else one below its bottom."""
        return self in (GapKind.BEARISH, GapKind.INVERSE_BEARISH)

    @property
    def turns(self) -> int:
        """The bias that follows when a gap leaves the set, as a code of `rules`."""
        return BULLISH if self.goes_above else BEARISH


class FiredRule(StrEnum):
    """The rules of the bias, in the order in which a bar meets them."""

    NEW_HIGH = "new high"
    NEW_LOW = "new low"
    NEW_GAP = "new gap"
    INVERSION = "inversion"
    INVALIDATION = "invalidation"


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar: `ts` its open in nanoseconds (UTC), prices in units of 1e-9."""

    ts: int
    open: int
    high: int
    low: int
    close: int


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """A price gap that is alive, or was until this bar. Bounds in units of 1e-9.

    born_ns  the bar that opened it: its `ts`, nanoseconds (UTC)
    """

    bottom: int
    top: int
    born_ns: int
    kind: GapKind

    @property
    def threshold(self) -> int:
        """The price a close must go beyond for the gap to leave its set."""
        return self.top if self.kind.goes_above else self.bottom


@dataclass(frozen=True, slots=True)
class Firing:
    """One rule that applied to the bar.

    bias   what it makes of the bias, a code of `rules`; None for a new gap, which changes none
    level  the price the close was compared with, units of 1e-9; None for a new gap
    gap    the gap it applied to, with the kind it had before; None for a new high or low
    """

    rule: FiredRule
    bias: int | None
    level: int | None
    gap: Gap | None


@dataclass(frozen=True, slots=True)
class CarriedBar:
    """A bar and what it did to its series: the biases around it, and what fired, in order.

    gaps   the gaps alive after it, in no particular order
    """

    bar: Candle
    bias_before: int
    bias_after: int
    firings: tuple[Firing, ...]
    gaps: tuple[Gap, ...]


def gaps_of(state: BiasState) -> tuple[Gap, ...]:
    """The gaps alive in `state`, set by set."""
    sets = (
        (GapKind.BULLISH, state.bullish),
        (GapKind.BEARISH, state.bearish),
        (GapKind.INVERSE_BULLISH, state.inverse_bullish),
        (GapKind.INVERSE_BEARISH, state.inverse_bearish),
    )
    return tuple(gap for kind, gaps in sets for gap in _gaps(kind, gaps))


def carry(state: BiasState, bar: Candle) -> CarriedBar:
    """What `bar`, the next one of the series, does to it: rules 1 to 4 in their order.

    Args:
        state: the series before the bar; it is left as it is.
        bar: a bar of the same series, later than all it has seen.
    """
    alive = list(gaps_of(state))
    firings = [*_extremes(state, bar), *_new_gaps(state, bar)]
    alive += [firing.gap for firing in firings if firing.gap is not None]
    # A gap that is inverted by this bar is held against the rules of its new set at once.
    for rule, kind, becomes in (
        (FiredRule.INVERSION, GapKind.BULLISH, GapKind.INVERSE_BEARISH),
        (FiredRule.INVERSION, GapKind.BEARISH, GapKind.INVERSE_BULLISH),
        (FiredRule.INVALIDATION, GapKind.INVERSE_BEARISH, None),
        (FiredRule.INVALIDATION, GapKind.INVERSE_BULLISH, None),
    ):
        gone = _first_to_go(gap for gap in alive if gap.kind is kind and _is_beyond(bar, gap))
        firings += [Firing(rule, kind.turns, gap.threshold, gap) for gap in gone]
        alive = [gap for gap in alive if gap.kind is not kind or not _is_beyond(bar, gap)]
        if becomes is not None:
            alive += [Gap(gap.bottom, gap.top, gap.born_ns, becomes) for gap in gone]
    bias = state.bias
    for firing in firings:
        bias = bias if firing.bias is None else firing.bias
    return CarriedBar(bar, state.bias, bias, tuple(firings), tuple(alive))


def _extremes(state: BiasState, bar: Candle) -> Iterator[Firing]:
    """Rule 1: the close against the extremes of all earlier bars."""
    if not state.scalars[SEEN_ANY]:
        return
    highest, lowest = int(state.scalars[HIGHEST]), int(state.scalars[LOWEST])
    if bar.close > highest:
        yield Firing(FiredRule.NEW_HIGH, BULLISH, highest, None)
    elif bar.close < lowest:
        yield Firing(FiredRule.NEW_LOW, BEARISH, lowest, None)


def _new_gaps(state: BiasState, bar: Candle) -> Iterator[Firing]:
    """Rule 2: the range against that of two bars back; no gap opens to bars that aren't there."""
    earlier_high, earlier_low = (int(state.scalars[at]) for at in (EARLIER_HIGH, EARLIER_LOW))
    if earlier_high < bar.low:
        gap = Gap(earlier_high, bar.low, bar.ts, GapKind.BULLISH)
        yield Firing(FiredRule.NEW_GAP, None, None, gap)
    if earlier_low > bar.high:
        gap = Gap(bar.high, earlier_low, bar.ts, GapKind.BEARISH)
        yield Firing(FiredRule.NEW_GAP, None, None, gap)


def _is_beyond(bar: Candle, gap: Gap) -> bool:
    """Whether the close takes the gap out of its set. A close on the bound itself does not."""
    return bar.close > gap.threshold if gap.kind.goes_above else bar.close < gap.threshold


def _first_to_go(gaps: Iterable[Gap]) -> list[Gap]:
    """Gaps of one set, the one whose bound the close crosses first before the others."""
    return sorted(
        gaps,
        key=lambda gap: (gap.threshold if gap.kind.goes_above else -gap.threshold, gap.born_ns),
    )


def _gaps(kind: GapKind, gaps: Int64s) -> Iterator[Gap]:
    for bottom, top, born_ns in gaps.tolist():
        yield Gap(bottom, top, born_ns, kind)
