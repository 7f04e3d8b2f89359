"""The whole signal on real NQ bars, held row for row against what an independent one made."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.replay import BiasSeries, EngineState, advance, start
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline_tests.signal.dbn_bars import lead_bars

BIAS_COLUMNS = ("bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1")


@pytest.fixture(scope="module")
def nq(shared_data: Path) -> Path:
    return shared_data / "nq_fut"


@pytest.fixture(scope="module")
def bars(nq: Path) -> Bars:
    return lead_bars(nq)


@pytest.fixture(scope="module")
def replayed(bars: Bars) -> tuple[EngineState, BiasSeries]:
    return advance(start(), bars)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def _names(bias: np.ndarray) -> list[tuple[str, ...]]:
    return [tuple(row) for row in np.array(BIAS_NAMES)[bias].tolist()]


def test_every_minute_has_the_expected_six_biases(
    nq: Path, bars: Bars, replayed: tuple[EngineState, BiasSeries]
) -> None:
    expected = _rows(nq / "expected_bias.csv.gz")
    series = replayed[1]
    assert len(expected) == 86_816
    assert [iso_minute(ts) for ts in series.ts.tolist()] == [row["ts"] for row in expected]
    assert [bars.contracts[code] for code in bars.contract] == [row["contract"] for row in expected]
    assert _names(series.bias) == [tuple(row[name] for name in BIAS_COLUMNS) for row in expected]


def test_every_triangle_is_the_expected_one(
    nq: Path, bars: Bars, replayed: tuple[EngineState, BiasSeries]
) -> None:
    expected = _rows(nq / "expected_triangles.csv.gz")
    found = triangles(bars, replayed[1], TriangleFilters(), None)
    assert len(expected) == 11_880
    assert [
        (iso_minute(ts), DIRECTION_NAMES[direction], *names, str(engulfing), str(sweep))
        for ts, direction, names, engulfing, sweep in zip(
            found.ts.tolist(),
            found.direction.tolist(),
            _names(found.bias),
            found.engulfing.tolist(),
            found.sweep_engulfing.tolist(),
            strict=True,
        )
    ] == [
        (
            row["ts"],
            row["direction"],
            *(row[name] for name in BIAS_COLUMNS),
            row["engulfing"],
            row["sweep_engulfing"],
        )
        for row in expected
    ]


def test_a_replay_a_day_at_a_time_gives_the_same(
    bars: Bars, replayed: tuple[EngineState, BiasSeries]
) -> None:
    state, parts, days = start(), [], bars.day_numbers()
    for day in np.unique(days):
        state, part = advance(state, bars.take(days == day))
        parts.append(part.bias)
    assert np.array_equal(np.concatenate(parts), replayed[1].bias)
    assert state == replayed[0]
