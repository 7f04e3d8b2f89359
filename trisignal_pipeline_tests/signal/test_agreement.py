"""Which minutes of a stored signal are not those that its bars call for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.agreement import (
    UNKNOWN,
    bias_differences,
    triangle_differences,
    triangles_at_flips,
)
from trisignal_pipeline.signal.replay import BiasSeries, advance, start
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline_tests.signal.generated_bars import session_minutes, walk

BARS = walk(session_minutes(sessions("cme_equity", date(2024, 3, 4), date(2024, 3, 5))), seed=3)
HALF = len(BARS) // 2
EARLIER, LATER = BARS.take(slice(HALF)), BARS.take(slice(HALF, len(BARS)))
STATE, _ = advance(start(), EARLIER)
_, MADE = advance(STATE, LATER)
FILTERS = [
    TriangleFilters(),
    TriangleFilters(require_engulfing=True),
    TriangleFilters(htf_aligned_only=True, aligned_timeframes=("5m",)),
]
FOUND = triangles(LATER, MADE, FILTERS[0], STATE.last)


def _without(series: BiasSeries, row: int) -> BiasSeries:
    return BiasSeries(np.delete(series.ts, row), np.delete(series.bias, row, axis=0))


def _changed(row: int, column: int, code: int) -> BiasSeries:
    bias = MADE.bias.copy()
    bias[row, column] = code
    return BiasSeries(MADE.ts, bias)


def test_a_signal_agrees_with_itself() -> None:
    assert len(FOUND) > 20
    assert bias_differences(MADE, MADE) == {}
    assert triangle_differences(FOUND, FOUND, candles=True) == {}


def test_bias_rows_that_are_missing_superfluous_or_other_are_told_apart() -> None:
    ts = MADE.ts[5]
    assert {k: v.tolist() for k, v in bias_differences(_without(MADE, 5), MADE).items()} == {
        "NO_BIAS_ROW": [ts]
    }
    assert {k: v.tolist() for k, v in bias_differences(MADE, _without(MADE, 5)).items()} == {
        "NO_BAR": [ts]
    }
    for column in range(6):
        found = bias_differences(_changed(5, column, UNKNOWN), MADE)
        assert {k: v.tolist() for k, v in found.items()} == {"OTHER_BIAS": [ts]}


def test_triangles_that_are_missing_superfluous_or_other_are_told_apart() -> None:
    fewer = FOUND.take(np.arange(len(FOUND)) != 4)
    ts = FOUND.ts[4]
    assert triangle_differences(fewer, FOUND, candles=True)["NO_TRIANGLE"].tolist() == [ts]
    assert triangle_differences(FOUND, fewer, candles=True)["NO_FLIP"].tolist() == [ts]
    turned = replace(FOUND, direction=FOUND.direction * np.where(np.arange(len(FOUND)) == 4, -1, 1))
    assert set(triangle_differences(turned, FOUND, candles=False)) == {"NO_TRIANGLE", "NO_FLIP"}


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        ("htf_bullish", "OTHER_ALIGNMENT"),
        ("htf_bearish", "OTHER_ALIGNMENT"),
        ("engulfing", "OTHER_CANDLE"),
        ("sweep_engulfing", "OTHER_CANDLE"),
        ("bias", "OTHER_BIAS"),
    ],
)
def test_every_column_of_a_triangle_counts(column: str, rule: str) -> None:
    values = getattr(FOUND, column).copy()
    values[4] = UNKNOWN if column == "bias" else ~values[4]
    other = replace(FOUND, **{column: values})

    found = triangle_differences(other, FOUND, candles=True)

    assert {name: ts.tolist() for name, ts in found.items()} == {rule: [FOUND.ts[4]]}
    without = triangle_differences(other, FOUND, candles=False)
    assert set(without) == ({rule} if rule != "OTHER_CANDLE" else set())


@pytest.mark.parametrize("filters", FILTERS)
def test_stored_biases_call_for_the_triangles_made_with_them(filters: TriangleFilters) -> None:
    made = triangles(LATER, MADE, filters, STATE.last)

    expected = triangles_at_flips(MADE, MADE, LATER, STATE.last, filters)

    assert triangle_differences(made, expected, candles=True) == {}


def test_another_stored_bias_calls_for_other_triangles() -> None:
    row = int(np.searchsorted(MADE.ts, FOUND.ts[4]))
    stored = _changed(row, 0, MADE.bias[row - 1, 0])

    expected = triangles_at_flips(stored, MADE, LATER, STATE.last, FILTERS[0])

    assert triangle_differences(FOUND, expected, candles=False)["NO_FLIP"][0] == FOUND.ts[4]


def test_a_bias_row_that_is_missing_calls_for_no_triangle_and_moves_none() -> None:
    row = int(np.searchsorted(MADE.ts, FOUND.ts[4]))

    expected = triangles_at_flips(_without(MADE, row), MADE, LATER, STATE.last, FILTERS[0])

    found = triangle_differences(FOUND, expected, candles=False)
    assert {name: ts.tolist() for name, ts in found.items()} == {"NO_FLIP": [FOUND.ts[4]]}


def test_the_first_flip_is_told_from_the_bar_before() -> None:
    at = int(np.searchsorted(MADE.ts, FOUND.ts[4]))
    state, _ = advance(STATE, LATER.take(slice(at)))
    rest = LATER.take(slice(at, len(LATER)))
    series = BiasSeries(MADE.ts[at:], MADE.bias[at:])

    expected = triangles_at_flips(series, series, rest, state.last, FILTERS[0])

    assert triangle_differences(FOUND.take(slice(4, None)), expected, candles=True) == {}
