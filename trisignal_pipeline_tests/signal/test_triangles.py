"""Engulfing, alignment, and which flips of the bias become triangles."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import ConfigurationError, InvalidBarsError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.replay import BiasSeries, LastMinute, advance, start
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES, HIGHER_TIMEFRAMES
from trisignal_pipeline.signal.triangles import Triangles, alignment, engulfing, triangles
from trisignal_pipeline_tests.signal.generated_bars import (
    bars_of,
    price_paths,
    rows_of,
    session_minutes,
    walk,
)
from trisignal_pipeline_tests.signal.plain_signal import (
    MINUTE,
    PlainBar,
    plain_engulfing,
    plain_triangles,
)

Prices = tuple[int, int, int, int]


def flags(before: Prices, bar: Prices) -> set[str]:
    """The names of the flags that `bar`, (open, high, low, close), raises after `before`."""
    found = engulfing(bars_of([(0, *before), (MINUTE, *bar)]))
    return {name for name in type(found).__slots__ if getattr(found, name)[1]}


DOWN = (20, 22, 8, 10)
"""A falling bar: open 20, close 10."""
UP = (10, 22, 8, 20)
"""A rising bar: open 10, close 20."""


class TestEngulfing:
    @pytest.mark.parametrize(
        ("bar", "raised"),
        [
            ((10, 21, 8, 21), {"bullish"}),
            ((10, 21, 7, 21), {"bullish", "bullish_sweep"}),
            ((9, 21, 7, 21), {"bullish", "bullish_sweep"}),
            ((11, 21, 7, 21), set()),
            ((10, 21, 7, 20), set()),
            ((10, 10, 7, 10), set()),
        ],
        ids=[
            "a low at the previous low sweeps nothing",
            "an open at the previous close is enough",
            "an open below it too",
            "an open above it is not",
            "a close at the previous open is not",
            "a doji is not",
        ],
    )
    def test_bullish(self, bar: Prices, raised: set[str]) -> None:
        assert flags(DOWN, bar) == raised

    @pytest.mark.parametrize(
        ("bar", "raised"),
        [
            ((20, 22, 9, 9), {"bearish"}),
            ((20, 23, 9, 9), {"bearish", "bearish_sweep"}),
            ((21, 23, 9, 9), {"bearish", "bearish_sweep"}),
            ((19, 23, 9, 9), set()),
            ((20, 23, 9, 10), set()),
            ((20, 23, 9, 20), set()),
        ],
        ids=[
            "a high at the previous high sweeps nothing",
            "an open at the previous close is enough",
            "an open above it too",
            "an open below it is not",
            "a close at the previous open is not",
            "a doji is not",
        ],
    )
    def test_bearish(self, bar: Prices, raised: set[str]) -> None:
        assert flags(UP, bar) == raised

    def test_a_bar_of_the_same_colour_is_not_engulfed(self) -> None:
        assert flags(UP, (10, 30, 5, 25)) == set()
        assert flags(DOWN, (20, 30, 5, 9)) == set()

    def test_the_first_bar_is_compared_with_the_one_given(self) -> None:
        bars = bars_of([(MINUTE, 10, 21, 7, 21)])
        previous = LastMinute(0, *DOWN, bias=(0,) * 6)
        assert engulfing(bars, previous).bullish_sweep.tolist() == [True]
        assert engulfing(bars, None).bullish.tolist() == [False]

    @settings(max_examples=150, deadline=None)
    @given(price_paths(), price_paths())
    def test_any_path_agrees_with_the_plain_version(
        self, path: list[Prices], other: list[Prices]
    ) -> None:
        # Alternating two paths makes large and small bodies follow each other.
        mixed = [prices for pair in zip(path, other, strict=False) for prices in pair]
        rows: list[PlainBar] = [(n * MINUTE, *prices) for n, prices in enumerate(mixed)]
        found = engulfing(bars_of(rows))
        for n in range(1, len(rows)):
            for direction, plain, sweep in (
                ("BULL", found.bullish, found.bullish_sweep),
                ("BEAR", found.bearish, found.bearish_sweep),
            ):
                assert (plain[n], sweep[n]) == plain_engulfing(rows[n], rows[n - 1], direction)


class TestAlignment:
    ROW = np.array([[-1, 1, 1, 1, -1, 0]], np.int8)

    @pytest.mark.parametrize(
        ("timeframes", "agree"),
        [
            (("5m", "15m", "1h"), (True, False)),
            (("4h",), (False, True)),
            (("5m", "4h"), (False, False)),
            (("1d",), (False, False)),
            (("5m", "1d"), (False, False)),
            ((), (True, True)),
        ],
        ids=["all bullish", "all bearish", "mixed", "neutral", "neutral among", "none"],
    )
    def test_all_timeframes_switched_on_must_agree(
        self, timeframes: tuple[str, ...], agree: tuple[bool, bool]
    ) -> None:
        bullish, bearish = alignment(self.ROW, timeframes)
        assert (bullish[0], bearish[0]) == agree

    def test_the_minute_s_own_bias_is_not_among_them(self) -> None:
        with pytest.raises(ConfigurationError, match="'1m'"):
            alignment(self.ROW, ("1m",))


def series_of(minute_bias: list[int], higher: int = 0) -> tuple[Bars, BiasSeries]:
    bars = bars_of([(n * MINUTE, 10, 10, 10, 10) for n in range(len(minute_bias))])
    bias = np.full((len(minute_bias), 6), higher, np.int8)
    bias[:, 0] = minute_bias
    return bars, BiasSeries(bars.ts, bias)


def found_on(found: Triangles) -> list[tuple[int, str]]:
    return [
        (ts // MINUTE, DIRECTION_NAMES[direction])
        for ts, direction in zip(found.ts.tolist(), found.direction.tolist(), strict=True)
    ]


class TestFlips:
    def test_every_change_to_bullish_or_bearish_is_a_triangle(self) -> None:
        bars, series = series_of([0, 0, 1, 1, -1, -1, 1, -1])
        found = triangles(bars, series, TriangleFilters(), None)
        assert found_on(found) == [(2, "BULL"), (4, "BEAR"), (6, "BULL"), (7, "BEAR")]

    def test_the_first_bar_is_compared_with_the_one_before_it(self) -> None:
        bars, series = series_of([1, 1])
        for before, expected in ((1, []), (0, [(0, "BULL")]), (-1, [(0, "BULL")])):
            previous = LastMinute(-MINUTE, 10, 10, 10, 10, (before,) * 6)
            assert found_on(triangles(bars, series, TriangleFilters(), previous)) == expected

    def test_alignment_alone_passes_only_triangles_the_higher_timeframes_agree_with(self) -> None:
        bars, series = series_of([0, 1, -1, 1], higher=1)
        found = triangles(bars, series, TriangleFilters(htf_aligned_only=True), None)
        assert found_on(found) == [(1, "BULL"), (3, "BULL")]
        assert found.htf_bullish.all()
        assert not found.htf_bearish.any()

    def test_alignment_flags_are_told_even_when_they_filter_nothing(self) -> None:
        bars, series = series_of([0, 1, -1], higher=-1)
        found = triangles(bars, series, TriangleFilters(), None)
        assert found_on(found) == [(1, "BULL"), (2, "BEAR")]
        assert found.htf_bearish.tolist() == [True, True]

    def test_biases_of_other_bars_are_refused(self) -> None:
        bars, _ = series_of([0, 1, 1])
        _, series = series_of([0, 1])
        with pytest.raises(InvalidBarsError, match="2 biases do not belong to these 3 bars"):
            triangles(bars, series, TriangleFilters(), None)

    def test_no_bars_have_no_triangles(self) -> None:
        bars, series = series_of([])
        assert len(triangles(bars, series, TriangleFilters(), None)) == 0


WEEK = sessions("cme_equity", date(2024, 11, 4), date(2024, 11, 8))
BARS = walk(session_minutes(WEEK, 0.9), seed=11)
FILTERS = [
    TriangleFilters(),
    TriangleFilters(require_engulfing=True),
    TriangleFilters(require_sweep_engulfing=True),
    TriangleFilters(require_engulfing=True, require_sweep_engulfing=True),
    TriangleFilters(htf_aligned_only=True, aligned_timeframes=("5m", "1h")),
    TriangleFilters(htf_aligned_only=True, aligned_timeframes=()),
    TriangleFilters(require_engulfing=True, htf_aligned_only=True, aligned_timeframes=("15m",)),
]


def events(found: Triangles) -> list[tuple[int, str, bool, bool]]:
    return [
        (ts, DIRECTION_NAMES[direction], engulfs, sweeps)
        for ts, direction, engulfs, sweeps in zip(
            found.ts.tolist(),
            found.direction.tolist(),
            found.engulfing.tolist(),
            found.sweep_engulfing.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_a_week_has_the_triangles_of_the_plain_version(filters: TriangleFilters) -> None:
    series = advance(start(), BARS)[1]
    words = [tuple(row) for row in np.array(BIAS_NAMES)[series.bias].tolist()]
    expected = plain_triangles(
        rows_of(BARS),
        words,
        require_engulfing=filters.require_engulfing,
        require_sweep_engulfing=filters.require_sweep_engulfing,
        htf_aligned_only=filters.htf_aligned_only,
        aligned_timeframes=filters.aligned_timeframes,
    )
    found = triangles(BARS, series, filters, None)
    assert events(found) == expected
    assert len(expected) > 10
    assert found.filters is filters
    rows = np.searchsorted(BARS.ts, found.ts)
    assert np.array_equal(found.bias, series.bias[rows])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(FILTERS))
def test_triangles_of_parts_are_the_triangles_of_the_whole(
    data: st.DataObject, filters: TriangleFilters
) -> None:
    cut = data.draw(st.integers(0, len(BARS)))
    whole = triangles(BARS, advance(start(), BARS)[1], filters, None)
    state, parts = start(), []
    for rows in (slice(0, cut), slice(cut, None)):
        bars = BARS.take(rows)
        after, series = advance(state, bars)
        parts += events(triangles(bars, series, filters, state.last))
        state = after
    assert parts == events(whole)


def test_the_default_filters_name_every_higher_timeframe() -> None:
    assert TriangleFilters().aligned_timeframes == HIGHER_TIMEFRAMES
