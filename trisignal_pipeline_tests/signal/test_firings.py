"""What one bar does, rule by rule: each rule by example, all of them against the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from trisignal_pipeline.signal.bias import BiasState, bias_of, no_bars_yet
from trisignal_pipeline.signal.firings import (
    Candle,
    CarriedBar,
    FiredRule,
    Firing,
    Gap,
    GapKind,
    carry,
    gaps_of,
)
from trisignal_pipeline.signal.rules import BEARISH, BULLISH, NEUTRAL
from trisignal_pipeline_tests.signal.generated_bars import price_paths, rows_of, walk
from trisignal_pipeline_tests.signal.plain_signal import MINUTE

HLC = tuple[int, int, int]
"""high, low, close: the open plays no part in the bias."""


def candle(row: int, prices: HLC) -> Candle:
    high, low, close = prices
    return Candle(row * MINUTE, low, high, low, close)


def after(bars: list[Candle]) -> BiasState:
    columns = np.array([(bar.ts, bar.high, bar.low, bar.close) for bar in bars], np.int64)
    return bias_of(no_bars_yet(), *columns.reshape(-1, 4).T)[0]


def carried_on(state: BiasState, bar: Candle) -> BiasState:
    columns = (np.array([value], np.int64) for value in (bar.ts, bar.high, bar.low, bar.close))
    return bias_of(state, *columns)[0]


def last_of(*prices: HLC) -> CarriedBar:
    """What the last of these bars does."""
    bars = [candle(row, one) for row, one in enumerate(prices)]
    return carry(after(bars[:-1]), bars[-1])


def told(carried: CarriedBar) -> list[tuple[FiredRule, int | None]]:
    return [(firing.rule, firing.bias) for firing in carried.firings]


# A bullish gap from 10 to 12, born on the third bar, with the lowest low far below it and the
# highest high far above it, and one bar that leaves no gap behind.
BULLISH_GAP: tuple[HLC, ...] = ((10, 0, 8), (40, 9, 14), (20, 12, 18), (20, 8, 12))
BULLISH_BORN = Gap(10, 12, 2 * MINUTE, GapKind.BULLISH)
# The same upside down: a bearish gap from 28 to 30.
BEARISH_GAP: tuple[HLC, ...] = ((40, 30, 32), (31, 0, 26), (28, 20, 22), (32, 20, 28))
BEARISH_BORN = Gap(28, 30, 2 * MINUTE, GapKind.BEARISH)


def assert_agrees_with_the_kernel(bars: list[Candle]) -> None:
    state = no_bars_yet()
    for bar in bars:
        carried = carry(state, bar)
        state = carried_on(state, bar)
        assert carried.bias_after == state.bias
        assert sorted(carried.gaps) == sorted(gaps_of(state))


@settings(max_examples=100, deadline=None)
@given(price_paths(max_size=60))
def test_any_series_has_the_biases_and_the_gaps_of_the_kernel(
    path: list[tuple[int, int, int, int]],
) -> None:
    assert_agrees_with_the_kernel(
        [Candle(row * MINUTE, *prices) for row, prices in enumerate(path)]
    )


def test_a_long_walk_has_the_biases_and_the_gaps_of_the_kernel() -> None:
    bars = rows_of(walk(np.arange(2_000) * MINUTE, seed=8))
    assert_agrees_with_the_kernel([Candle(*bar) for bar in bars])


@settings(max_examples=60, deadline=None)
@given(price_paths(max_size=60))
def test_the_rules_of_one_bar_come_in_order_and_never_contradict_each_other(
    path: list[tuple[int, int, int, int]],
) -> None:
    state = no_bars_yet()
    for row, prices in enumerate(path):
        bar = Candle(row * MINUTE, *prices)
        fired = carry(state, bar).firings
        state = carried_on(state, bar)
        order = [list(FiredRule).index(firing.rule) for firing in fired]
        assert order == sorted(order)
        assert len({firing.bias for firing in fired} - {None}) <= 1


class TestExtremes:
    def test_the_first_bar_fires_nothing(self) -> None:
        carried = last_of((100, 1, 100))
        assert carried.firings == ()
        assert carried.bias_after == NEUTRAL

    def test_a_new_high_names_the_high_it_is_above(self) -> None:
        carried = last_of((100, 90, 95), (120, 95, 101))
        assert carried.firings == (Firing(FiredRule.NEW_HIGH, BULLISH, 100, None),)
        assert (carried.bias_before, carried.bias_after) == (NEUTRAL, BULLISH)

    def test_a_new_low_names_the_low_it_is_below(self) -> None:
        carried = last_of((100, 90, 95), (95, 80, 89))
        assert carried.firings == (Firing(FiredRule.NEW_LOW, BEARISH, 90, None),)

    @pytest.mark.parametrize("close", [90, 100])
    def test_a_close_on_an_extreme_fires_nothing(self, close: int) -> None:
        assert last_of((100, 90, 95), (100, 90, close)).firings == ()


class TestGaps:
    def test_a_new_gap_has_its_bounds_and_the_bar_that_opened_it(self) -> None:
        carried = last_of(*BULLISH_GAP[:3])
        assert carried.firings == (Firing(FiredRule.NEW_GAP, None, None, BULLISH_BORN),)
        assert carried.gaps == (BULLISH_BORN,)
        assert last_of(*BEARISH_GAP[:3]).gaps == (BEARISH_BORN,)

    def test_ranges_that_touch_open_no_gap(self) -> None:
        assert last_of((10, 0, 8), (40, 9, 14), (20, 10, 18)).firings == ()

    def test_a_close_below_a_bullish_gap_inverts_it(self) -> None:
        carried = last_of(*BULLISH_GAP, (12, 8, 9))
        assert carried.firings == (Firing(FiredRule.INVERSION, BEARISH, 10, BULLISH_BORN),)
        assert carried.gaps == (Gap(10, 12, 2 * MINUTE, GapKind.INVERSE_BEARISH),)

    def test_a_close_above_a_bearish_gap_inverts_it(self) -> None:
        carried = last_of(*BEARISH_GAP, (32, 28, 31))
        assert carried.firings == (Firing(FiredRule.INVERSION, BULLISH, 30, BEARISH_BORN),)
        assert carried.gaps == (Gap(28, 30, 2 * MINUTE, GapKind.INVERSE_BULLISH),)

    def test_a_close_on_the_bound_inverts_nothing(self) -> None:
        assert last_of(*BULLISH_GAP, (12, 8, 10)).firings == ()
        assert last_of(*BEARISH_GAP, (32, 28, 30)).firings == ()

    def test_a_close_above_a_bearish_inverse_gap_invalidates_it(self) -> None:
        carried = last_of(*BULLISH_GAP, (12, 8, 9), (13, 8, 13))
        inverse = Gap(10, 12, 2 * MINUTE, GapKind.INVERSE_BEARISH)
        assert carried.firings == (Firing(FiredRule.INVALIDATION, BULLISH, 12, inverse),)
        assert carried.gaps == ()

    def test_a_close_on_the_bound_invalidates_nothing(self) -> None:
        assert last_of(*BULLISH_GAP, (12, 8, 9), (13, 8, 12)).firings == ()

    def test_a_close_below_a_bullish_inverse_gap_invalidates_it(self) -> None:
        carried = last_of(*BEARISH_GAP, (32, 28, 31), (32, 27, 27))
        inverse = Gap(28, 30, 2 * MINUTE, GapKind.INVERSE_BULLISH)
        assert carried.firings == (Firing(FiredRule.INVALIDATION, BEARISH, 28, inverse),)

    def test_a_later_rule_overrides_an_earlier_one(self) -> None:
        # No series of whole bars leads here: every gap alive lies on its own side of the close.
        scalars = after([candle(0, (100, 0, 50)), candle(1, (100, 0, 50))]).scalars
        gaps = (np.array([[bottom, bottom + 5, 0]]) for bottom in (60, 40, 60, 40))
        state = BiasState(scalars, *gaps)
        carried = carry(state, candle(2, (100, 0, 50)))
        assert told(carried) == [
            (FiredRule.INVERSION, BEARISH),
            (FiredRule.INVERSION, BULLISH),
            (FiredRule.INVALIDATION, BULLISH),
            (FiredRule.INVALIDATION, BEARISH),
        ]
        assert carried.bias_after == BEARISH
        assert carried_on(state, candle(2, (100, 0, 50))).bias == BEARISH

    def test_a_gap_inverted_by_this_bar_is_held_against_invalidation_too(self) -> None:
        # A gap upside down is beyond both bounds at once; whole bars open none.
        scalars = after([candle(0, (100, 0, 50)), candle(1, (100, 0, 50))]).scalars
        none = np.empty((0, 3), np.int64)
        state = BiasState(scalars, np.array([[60, 40, 0]]), none, none, none)
        carried = carry(state, candle(2, (100, 0, 50)))
        assert told(carried) == [
            (FiredRule.INVERSION, BEARISH),
            (FiredRule.INVALIDATION, BULLISH),
        ]
        assert carried.gaps == ()
        after_it = carried_on(state, candle(2, (100, 0, 50)))
        assert (after_it.bias, after_it.gaps_alive) == (BULLISH, 0)

    def test_gaps_of_one_set_go_in_the_order_in_which_the_close_crosses_them(self) -> None:
        bars = [(10, 0, 8), (12, 9, 12), (16, 12, 16), (18, 14, 18), (24, 20, 24)]
        state_before = last_of(*bars)
        bottoms = {gap.bottom for gap in state_before.gaps if gap.kind is GapKind.BULLISH}
        assert bottoms == {10, 12, 16}
        fell = last_of(*bars, (24, 5, 6))
        inverted = [f.gap.bottom for f in fell.firings if f.gap and f.rule is FiredRule.INVERSION]
        assert inverted == [16, 12, 10]
