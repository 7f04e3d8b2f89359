"""The bias of one series: each rule by a small example, all of them against the plain version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.signal.bias import BIRTH, BOTTOM, TOP, BiasState, bias_of, no_bars_yet
from trisignal_pipeline.signal.rules import BEARISH, BIAS_NAMES, BULLISH, NEUTRAL
from trisignal_pipeline_tests.signal.generated_bars import price_paths, rows_of, walk
from trisignal_pipeline_tests.signal.plain_signal import MINUTE, PlainBar, PlainBias, plain_biases

Candle = tuple[int, int, int]
"""high, low, close: the open plays no part in the bias."""


def replay(
    candles: list[Candle], state: BiasState | None = None, seen: int = 0
) -> tuple[BiasState, list[int]]:
    before = state or no_bars_yet()
    columns = np.array(candles, np.int64).reshape(-1, 3).T
    ts = (seen + np.arange(len(candles))) * MINUTE
    after, bias = bias_of(before, ts, *columns)
    return after, bias.tolist()


def gaps(rows: np.ndarray) -> list[tuple[int, int]]:
    return sorted((bottom, top) for bottom, top, _ in rows.tolist())


class TestExtremes:
    def test_the_first_bar_is_neutral_whatever_it_does(self) -> None:
        assert replay([(100, 1, 100)])[1] == [NEUTRAL]

    def test_the_first_bar_enters_the_extremes(self) -> None:
        assert replay([(100, 90, 95), (100, 90, 100)])[1][-1] == NEUTRAL
        assert replay([(100, 90, 95), (101, 90, 101)])[1][-1] == BULLISH
        assert replay([(100, 90, 95), (100, 90, 90)])[1][-1] == NEUTRAL
        assert replay([(100, 90, 95), (100, 89, 89)])[1][-1] == BEARISH

    def test_a_close_is_compared_with_earlier_bars_only(self) -> None:
        # The high of 120 is the bar's own; the one before it reached 100.
        assert replay([(100, 90, 95), (120, 95, 101)])[1][-1] == BULLISH

    def test_a_high_that_no_close_confirms_still_raises_the_bar(self) -> None:
        assert replay([(100, 90, 95), (120, 90, 95), (119, 90, 119)])[1] == [NEUTRAL] * 3

    def test_a_bias_stays_until_something_changes_it(self) -> None:
        assert replay([(100, 90, 95), (101, 95, 101), (101, 95, 96)])[1] == [0, BULLISH, BULLISH]


class TestNewGaps:
    def test_a_bullish_gap_lies_between_the_high_two_bars_back_and_this_low(self) -> None:
        state, _ = replay([(10, 5, 8), (15, 9, 14), (20, 12, 18)])
        assert state.bullish.tolist() == [[10, 12, 2 * MINUTE]]
        assert state.gaps_alive == 1

    def test_a_bearish_gap_lies_between_this_high_and_the_low_two_bars_back(self) -> None:
        state, _ = replay([(20, 15, 18), (16, 10, 11), (12, 5, 8)])
        assert state.bearish.tolist() == [[12, 15, 2 * MINUTE]]
        assert state.gaps_alive == 1

    @pytest.mark.parametrize(
        "candles",
        [
            [(10, 5, 8), (15, 9, 14), (20, 10, 18)],
            [(20, 15, 18), (16, 10, 11), (15, 5, 8)],
        ],
        ids=["bullish", "bearish"],
    )
    def test_bars_that_touch_leave_no_gap(self, candles: list[Candle]) -> None:
        assert replay(candles)[0].gaps_alive == 0

    def test_two_bars_make_no_gap(self) -> None:
        assert replay([(10, 5, 8), (30, 20, 25)])[0].gaps_alive == 0

    def test_a_new_gap_alone_does_not_change_the_bias(self) -> None:
        candles = [(100, 0, 50), (10, 5, 8), (15, 9, 14), (20, 12, 18)]
        state, bias = replay(candles)
        assert gaps(state.bullish) == [(10, 12)]
        assert bias == [NEUTRAL] * 4


WIDE = (1000, -1000, 0)
"""A first bar so wide that no later close leaves its range."""
BULLISH_GAP = [WIDE, (10, 5, 8), (15, 9, 14), (20, 12, 18)]
"""Leaves the bullish gap 10 .. 12."""
BEARISH_GAP = [WIDE, (20, 15, 18), (16, 10, 11), (12, 5, 8)]
"""Leaves the bearish gap 12 .. 15."""


class TestInversion:
    def test_a_close_at_the_bottom_of_a_bullish_gap_inverts_nothing(self) -> None:
        state, bias = replay([*BULLISH_GAP, (18, 10, 10)])
        assert bias[-1] == NEUTRAL
        assert gaps(state.bullish) == [(10, 12)]

    def test_a_close_below_the_bottom_makes_a_bearish_inverse_gap(self) -> None:
        state, bias = replay([*BULLISH_GAP, (18, 9, 9)])
        assert bias[-1] == BEARISH
        assert len(state.bullish) == 0
        assert state.inverse_bearish.tolist() == [[10, 12, 3 * MINUTE]]

    def test_a_close_at_the_top_of_a_bearish_gap_inverts_nothing(self) -> None:
        state, bias = replay([*BEARISH_GAP, (15, 8, 15)])
        assert bias[-1] == NEUTRAL
        assert gaps(state.bearish) == [(12, 15)]

    def test_a_close_above_the_top_makes_a_bullish_inverse_gap(self) -> None:
        state, bias = replay([*BEARISH_GAP, (16, 8, 16)])
        assert bias[-1] == BULLISH
        assert len(state.bearish) == 0
        assert state.inverse_bullish.tolist() == [[12, 15, 3 * MINUTE]]

    def test_a_low_below_a_gap_inverts_nothing(self) -> None:
        state, bias = replay([*BULLISH_GAP, (18, 1, 11)])
        assert bias[-1] == NEUTRAL
        assert gaps(state.bullish) == [(10, 12)]


INVERTED_BULLISH = [*BULLISH_GAP, (18, 9, 9)]
"""Leaves the bearish inverse gap 10 .. 12, bias Bearish."""
INVERTED_BEARISH = [*BEARISH_GAP, (16, 8, 16)]
"""Leaves the bullish inverse gap 12 .. 15, bias Bullish."""


class TestInvalidation:
    def test_a_bearish_inverse_gap_falls_to_a_close_above_its_top(self) -> None:
        state, bias = replay([*INVERTED_BULLISH, (13, 9, 13)])
        assert bias[-1] == BULLISH
        assert len(state.inverse_bearish) == 0

    def test_a_close_at_its_top_leaves_it(self) -> None:
        state, bias = replay([*INVERTED_BULLISH, (12, 9, 12)])
        assert bias[-1] == BEARISH
        assert gaps(state.inverse_bearish) == [(10, 12)]

    def test_a_bullish_inverse_gap_falls_to_a_close_below_its_bottom(self) -> None:
        state, bias = replay([*INVERTED_BEARISH, (16, 11, 11)])
        assert bias[-1] == BEARISH
        assert len(state.inverse_bullish) == 0

    def test_a_close_at_its_bottom_leaves_it(self) -> None:
        state, bias = replay([*INVERTED_BEARISH, (16, 12, 12)])
        assert bias[-1] == BULLISH
        assert gaps(state.inverse_bullish) == [(12, 15)]


def test_of_two_inversions_on_one_bar_the_bullish_one_counts() -> None:
    # Only a close outside its own bar can do both: it is below the bottom of the gap 30 .. 31 that
    # its bar opens, and above the top of the bearish gap 12 .. 15.
    state, bias = replay([*BEARISH_GAP, (30, 5, 10), (30, 5, 10), (40, 31, 20)])
    assert bias[-1] == BULLISH
    assert gaps(state.inverse_bearish) == [(30, 31)]
    assert gaps(state.inverse_bullish) == [(12, 15)]


@settings(max_examples=200, deadline=None)
@given(price_paths())
def test_the_bias_turns_only_with_the_close(path: list[tuple[int, int, int, int]]) -> None:
    _, bias = replay([(high, low, close) for _, high, low, close in path])
    for row in range(1, len(path)):
        if bias[row] != bias[row - 1]:
            assert bias[row] * (path[row][3] - path[row - 1][3]) > 0


@settings(max_examples=400, deadline=None)
@given(price_paths())
def test_any_path_has_the_biases_and_gaps_of_the_plain_version(
    path: list[tuple[int, int, int, int]],
) -> None:
    bars: list[PlainBar] = [(row * MINUTE, *prices) for row, prices in enumerate(path)]
    plain = PlainBias()
    words = [plain.add(bar) for bar in bars]
    state, bias = replay([(high, low, close) for _, high, low, close in path])
    assert [BIAS_NAMES[code] for code in bias] == words
    assert gaps(state.bullish) == sorted(plain.bullish)
    assert gaps(state.bearish) == sorted(plain.bearish)
    assert gaps(state.inverse_bearish) == sorted(plain.bearish_inverse)
    assert gaps(state.inverse_bullish) == sorted(plain.bullish_inverse)


any_candle = st.tuples(*(st.integers(-30, 30),) * 3)


@settings(max_examples=200, deadline=None)
@given(st.lists(any_candle, min_size=1, max_size=60))
def test_even_closes_outside_their_range_are_treated_by_the_letter(candles: list[Candle]) -> None:
    bars = [(row * MINUTE, 0, *candle) for row, candle in enumerate(candles)]
    assert [BIAS_NAMES[code] for code in replay(candles)[1]] == plain_biases(bars)


@settings(max_examples=200, deadline=None)
@given(price_paths(), st.data())
def test_a_series_cut_anywhere_ends_in_the_same_state(
    path: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    candles = [(high, low, close) for _, high, low, close in path]
    whole, bias = replay(candles)
    cut = data.draw(st.integers(0, len(candles)))
    first, first_bias = replay(candles[:cut])
    before = [part.copy() for part in first.parts()]
    second, second_bias = replay(candles[cut:], first, seen=cut)
    assert first_bias + second_bias == bias
    assert second == whole
    assert all(map(np.array_equal, before, first.parts())), "the earlier state was changed"


def test_a_walk_over_many_chunks_matches_the_plain_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trisignal_pipeline.signal.bias._CHUNK", 20)
    bars = walk(np.arange(20_000) * MINUTE, seed=7, drift=0.05)
    state, bias = bias_of(no_bars_yet(), bars.ts, bars.high, bars.low, bars.close)
    plain = PlainBias()
    words = [plain.add(bar) for bar in rows_of(bars)]
    assert [BIAS_NAMES[code] for code in bias.tolist()] == words
    assert gaps(state.bullish) == sorted(plain.bullish)
    assert gaps(state.inverse_bullish) == sorted(plain.bullish_inverse)
    assert state.gaps_alive > 100, "room never had to be made"


def test_sets_are_kept_in_the_order_in_which_their_gaps_go() -> None:
    bars = walk(np.arange(30_000) * MINUTE, seed=3, step=4.0)
    state, _ = bias_of(no_bars_yet(), bars.ts, bars.high, bars.low, bars.close)
    assert np.all(np.diff(state.bullish[:, BOTTOM]) >= 0)
    assert np.all(np.diff(state.bearish[:, TOP]) <= 0)
    for heap, key, sign in (
        (state.inverse_bullish, BOTTOM, 1),
        (state.inverse_bearish, TOP, -1),
    ):
        threshold = sign * heap[:, key]
        children = np.arange(1, len(heap))
        assert len(heap) > 6
        assert np.all(threshold[(children - 1) // 2] >= threshold[children])
    births = np.concatenate([rows[:, BIRTH] for rows in state.parts()[1:]])
    assert np.all(np.isin(births, bars.ts))
    assert len(np.unique(births)) == len(births)


@pytest.mark.parametrize("base", [2**53, 2**62, -(2**62)])
def test_prices_that_differ_by_one_unit_are_told_apart(base: int) -> None:
    # A detour through floats would make these prices equal.
    candles = [
        (base + 1, base, base),
        (base + 3, base + 1, base + 3),
        (base + 5, base + 2, base + 4),
        (base + 4, base + 1, base + 1),
        (base + 4, base, base),
    ]
    state, bias = replay(candles)
    assert bias == [0, BULLISH, BULLISH, BULLISH, BEARISH]
    assert gaps(state.inverse_bearish) == [(base + 1, base + 2)]


def test_no_bars_change_nothing() -> None:
    state, _ = replay(BULLISH_GAP)
    same, bias = replay([], state)
    assert bias == []
    assert same == state


def test_a_state_refuses_to_be_written_to() -> None:
    state, _ = replay(BULLISH_GAP)
    with pytest.raises(ValueError, match="read-only"):
        state.bullish[0, BOTTOM] = 0


def test_prices_that_may_be_nan_are_refused() -> None:
    ts, price = np.arange(2), np.array([1.0, np.nan])
    with pytest.raises(InvalidBarsError, match="the column close holds float64"):
        bias_of(no_bars_yet(), ts, ts, ts, price)
    with pytest.raises(InvalidBarsError, match="never NaN"):
        Bars(ts, ts, ts, ts, price, ts, np.zeros(2, np.int32), ("NQZ4",))
