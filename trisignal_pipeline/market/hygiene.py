"""Which bars can be believed.

Three sets of rules, each a superset of what the one before guards against:

basic    what the legacy table refuses: an undefined price, a high or low that isn't one, a
         negative price in a market that can't have one;
strict   what the clean table refuses: the same, and a price below the market's floor;
locked   what guards a signal computed from the legacy table: strict, and jumps from the last good
         close. "Locked" because the rules are a fixed decision, and because a run of rejections
         locks the series out until a close comes near the last good one again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE, Bars, Bools, Int64s


class Rule(StrEnum):
    """The name a bar is reported under: rejected, or flagged where it is only off its tick."""

    UNALIGNED_MINUTE = "UNALIGNED_MINUTE"
    UNDEFINED_PRICE = "UNDEFINED_PRICE"
    OHLC_INTEGRITY = "OHLC_INTEGRITY"
    NEGATIVE_PRICE = "NEGATIVE_PRICE"
    NEGATIVE_VOLUME = "NEGATIVE_VOLUME"
    DUPLICATE_MINUTE = "DUPLICATE_MINUTE"
    SUPERSEDED_BY_LATER_FILE = "SUPERSEDED_BY_LATER_FILE"
    PRICE_FLOOR = "PRICE_LT_1000"
    OFF_TICK = "OFF_TICK"
    DISCONTINUITY = "DISCONTINUITY_500"
    SMALL_RANGE_BIG_GAP = "SMALL_RANGE_BIG_GAP_150"
    FLAT_DISCONTINUITY = "FLAT_DISCONTINUITY_50"


@dataclass(frozen=True, slots=True)
class HygieneThresholds:
    """What a market's prices are held against, in int64 units of 1e-9; None switches a rule off.

    The rule names carry the numbers of an index future near 20,000, for which they were made; the
    numbers themselves belong to the market.
    """

    price_floor: int | None = 0
    discontinuity: int | None = None
    small_range: int | None = None
    big_gap: int | None = None
    flat_discontinuity: int | None = None


INDEX_FUTURE = HygieneThresholds(
    price_floor=1000 * PRICE_UNIT,
    discontinuity=500 * PRICE_UNIT,
    small_range=10 * PRICE_UNIT,
    big_gap=150 * PRICE_UNIT,
    flat_discontinuity=50 * PRICE_UNIT,
)


def undefined_price(bars: Bars) -> Bools:
    """Where any of the four prices isn't there."""
    return _any(price == UNDEFINED_PRICE for price in _prices(bars))


def broken_ohlc(bars: Bars) -> Bools:
    """Where high < max(open, close), or low > min(open, close), or high < low."""
    return (
        (bars.high < np.maximum(bars.open, bars.close))
        | (bars.low > np.minimum(bars.open, bars.close))
        | (bars.high < bars.low)
    )


def below(bars: Bars, bound: int | None) -> Bools:
    """Where any price is below `bound` (int64 units of 1e-9); nowhere if it is None."""
    if bound is None:
        return np.zeros(len(bars), np.bool_)
    return _any(price < bound for price in _prices(bars))


def off_tick(bars: Bars, tick: int | None) -> Bools:
    """Where any price is no multiple of `tick` (int64 units of 1e-9); nowhere if it is None."""
    if tick is None:
        return np.zeros(len(bars), np.bool_)
    return _any(price % tick != 0 for price in _prices(bars))


def nearest_tick(price: int, tick: int) -> int:
    """The multiple of `tick` nearest to `price`, the upper one of two; int units of 1e-9."""
    return (2 * price + tick) // (2 * tick) * tick


@dataclass(frozen=True, slots=True)
class LastGood:
    """The last bar that was accepted: its close (int64 units of 1e-9) and its contract."""

    close: int
    contract: str


@dataclass(frozen=True, slots=True)
class Guard:
    """Where the locked rules stand after some bars: what the next ones are held against.

    locked_for, locked_since_ns, locked_by   how many bars in a row were rejected just now, the OPEN
        of the first of them (nanoseconds, UTC) and the rule it broke; 0 and None after a good bar
    """

    last_good: LastGood | None = None
    locked_for: int = 0
    locked_since_ns: int | None = None
    locked_by: Rule | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Locked:
    """What the locked rules made of a series, in columns of the series' length.

    accepted        which bars stand
    broken          for each rule, which bars broke it
    rejected_in_row how many bars in a row have been rejected up to and with this one
    locked_since    row of the first of them; -1 where it lies before the series
    """

    accepted: Bools
    broken: dict[Rule, Bools]
    rejected_in_row: Int64s
    locked_since: Int64s
    guard: Guard

    def first_rule(self, row: int) -> Rule:
        """The rule the bar at `row` is rejected by; the first one, if it breaks several."""
        return next(rule for rule, mask in self.broken.items() if mask[row])


def locked_rules(bars: Bars, limits: HygieneThresholds, before: Guard) -> Locked:
    """Judge bars of the legacy table before a signal is computed from them.

    `before` is where the rules stood before the series: the last good close is that of the last bar
    accepted from either table. A rejected bar does not become the last good one. At a change of
    contract the comparison starts afresh: across a roll it would be a comparison of two
    instruments.
    """
    broken = {
        Rule.OHLC_INTEGRITY: broken_ohlc(bars) | undefined_price(bars),
        Rule.PRICE_FLOOR: below(bars, limits.price_floor),
        Rule.DISCONTINUITY: np.zeros(len(bars), np.bool_),
        Rule.SMALL_RANGE_BIG_GAP: np.zeros(len(bars), np.bool_),
        Rule.FLAT_DISCONTINUITY: np.zeros(len(bars), np.bool_),
    }
    static = broken[Rule.OHLC_INTEGRITY] | broken[Rule.PRICE_FLOOR]
    accepted = np.zeros(len(bars), np.bool_)
    stops = np.flatnonzero(_stops_a_run(bars, limits, static))

    row, last_good = 0, before.last_good
    while row < len(bars):
        row = _next_accepted(bars, limits, static, last_good, row, broken)
        if row == len(bars):
            break
        after = np.searchsorted(stops, row, side="right")
        end = int(stops[after]) if after < len(stops) else len(bars)
        accepted[row:end] = True
        last_good = LastGood(int(bars.close[end - 1]), bars.contracts[bars.contract[end - 1]])
        row = end
    return _with_lock_outs(bars, accepted, broken, before, last_good)


def _with_lock_outs(
    bars: Bars,
    accepted: Bools,
    broken: dict[Rule, Bools],
    before: Guard,
    last_good: LastGood | None,
) -> Locked:
    """Count the bars rejected in a row, those before the series included."""
    rows = np.arange(len(bars))
    last_accepted = np.maximum.accumulate(np.where(accepted, rows, -1))
    carried = last_accepted < 0
    rejected_in_row = rows - last_accepted + np.where(carried, before.locked_for, 0)
    locked_since = np.where(carried & (before.locked_for > 0), -1, last_accepted + 1)
    judged = Locked(accepted, broken, rejected_in_row, locked_since, before)
    if not len(bars):
        return judged
    guard = Guard(last_good)
    if not accepted[-1]:
        first = int(locked_since[-1])
        inside = first >= 0
        guard = Guard(
            last_good,
            int(rejected_in_row[-1]),
            int(bars.ts[first]) if inside else before.locked_since_ns,
            judged.first_rule(first) if inside else before.locked_by,
        )
    return replace(judged, guard=guard)


def _jumps(
    bars: Bars, limits: HygieneThresholds, reference: Int64s | int, comparable: Bools
) -> dict[Rule, Bools]:
    """Which rules each bar breaks against a `reference` close, where the two are comparable."""
    gap = _distance(bars.close, reference)
    flat = (bars.open == bars.high) & (bars.high == bars.low) & (bars.low == bars.close)
    nowhere = np.zeros(len(bars), np.bool_)
    return {
        Rule.DISCONTINUITY: nowhere
        if limits.discontinuity is None
        else comparable & (gap > limits.discontinuity),
        Rule.SMALL_RANGE_BIG_GAP: nowhere
        if limits.small_range is None or limits.big_gap is None
        else comparable
        & (_distance(bars.high, bars.low) <= limits.small_range)
        & (gap >= limits.big_gap),
        Rule.FLAT_DISCONTINUITY: nowhere
        if limits.flat_discontinuity is None
        else comparable & flat & (gap > limits.flat_discontinuity),
    }


def _distance(prices: Int64s, others: Int64s | int) -> npt.NDArray[np.uint64]:
    """How far apart prices are; two of int64 may be further than int64 can tell."""
    higher, lower = np.maximum(prices, others), np.minimum(prices, others)
    return higher.view(np.uint64) - lower.view(np.uint64)


def _stops_a_run(bars: Bars, limits: HygieneThresholds, static: Bools) -> Bools:
    """Where a bar would be rejected if the bar right before it were the last good one."""
    if not len(bars):
        return static
    previous = np.concatenate((bars.close[:1], bars.close[:-1]))
    same_contract = np.concatenate(([False], bars.contract[1:] == bars.contract[:-1]))
    return _any([static, *_jumps(bars, limits, previous, same_contract & ~static).values()])


def _next_accepted(
    bars: Bars,
    limits: HygieneThresholds,
    static: Bools,
    last_good: LastGood | None,
    row: int,
    broken: dict[Rule, Bools],
) -> int:
    """The first bar from `row` on that stands beside `last_good`; marks what those before it broke.

    Looks ahead in windows that double, so that a lock-out costs what it is long.
    """
    window = 1
    while row < len(bars):
        end = min(row + window, len(bars))
        ahead = bars.take(slice(row, end))
        if last_good is None or last_good.contract not in bars.contracts:
            comparable = np.zeros(end - row, np.bool_)
            reference = 0
        else:
            code = bars.contracts.index(last_good.contract)
            comparable = (ahead.contract == code) & ~static[row:end]
            reference = last_good.close
        jumps = _jumps(ahead, limits, reference, comparable)
        rejected = _any([static[row:end], *jumps.values()])
        standing = np.flatnonzero(~rejected)
        found = int(standing[0]) if len(standing) else end - row
        for rule, mask in jumps.items():
            broken[rule][row : row + found] = mask[:found]
        row += found
        if len(standing):
            break
        window *= 2
    return row


def _any(masks: Iterable[Bools]) -> Bools:
    first, *others = masks
    either = first.copy()
    for mask in others:
        either |= mask
    return either


def _prices(bars: Bars) -> tuple[Int64s, ...]:
    return bars.open, bars.high, bars.low, bars.close
