"""Data frames for notebooks: dtypes, index, and the errors of who asks for what isn't there."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trisignal_pipeline import read
from trisignal_pipeline.errors import (
    ConfigurationError,
    NotAMinuteError,
    NotFoundError,
    RangeError,
    UnknownSymbolError,
)
from trisignal_pipeline_tests.query.stored_market import NQ, StoredMarket
from trisignal_pipeline_tests.storage.stored_bars import all_rows

START, END = "2024-11-26", date(2024, 12, 3)


@pytest.fixture
def url(holiday_market: StoredMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database of a stored week, which the environment names."""
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", holiday_market.database.url)
    monkeypatch.setenv("TRISIGNAL_HOME", str(tmp_path))
    return holiday_market.database.url


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(kind) for name, kind in frame.dtypes.items()}


@pytest.mark.parametrize("timeframe", ["1m", "4h"])
def test_bars_are_floats_over_times_in_utc(url: str, timeframe: str) -> None:
    frame = read.bars(NQ, START, END, timeframe)

    assert dtypes(frame) == {
        "open": "float64",
        "high": "float64",
        "low": "float64",
        "close": "float64",
        "volume": "int64",
    }
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert (str(frame.index.tz), frame.index.name) == ("UTC", "ts")
    assert frame.index.is_monotonic_increasing
    assert len(frame) > 10


def test_the_dataset_has_categories_and_flags(url: str) -> None:
    frame = read.dataset(NQ, START, END)

    kinds = dtypes(frame)
    assert kinds["close"] == "float64"
    assert kinds["volume"] == "int64"
    assert {kinds[name] for name in ("bias_1m", "bias_d1", "triangle")} == {"category"}
    assert list(frame["bias_h4"].cat.categories) == ["Neutral", "Bullish", "Bearish"]
    assert list(frame["triangle"].cat.categories) == ["BULL", "BEAR"]
    assert kinds["engulfing"] == "boolean"
    assert len(frame) == all_rows(url, "SELECT count(*) FROM market_bars_ohlcv_1m_clean")[0][0]
    assert frame["close"].to_list() == [
        float(value)
        for (value,) in all_rows(url, "SELECT close FROM market_bars_ohlcv_1m_clean ORDER BY ts")
    ]


def test_triangles_and_biases_are_those_of_the_dataset(url: str) -> None:
    joined = read.dataset(NQ, START, END)
    events, biases = read.triangles(NQ, START, END), read.bias(NQ, START, END)

    flipped = joined[joined["triangle"].notna()]
    assert events.index.equals(flipped.index)
    assert list(events["direction"]) == list(flipped["triangle"])
    assert dtypes(events)["direction"] == "category"
    pd.testing.assert_frame_equal(biases, joined[list(biases.columns)])


def test_counts_days_and_coverage_are_by_date(url: str) -> None:
    days = read.daily(NQ, START, END)
    counted = read.counts(NQ, START, END)
    covered = read.coverage(NQ, START, END)

    for frame in (days, counted, covered):
        assert isinstance(frame.index, pd.DatetimeIndex)
        assert frame.index.name == "date"
    assert days["bull"].to_list() == counted["bull"].to_list()
    assert days["rolled"].to_list().count(True) == 1
    assert dtypes(days)["close"] == "float64"
    assert dtypes(days)["bull"] == dtypes(covered)["found"] == "Int64"
    assert read.counts(NQ, START, END, "hour")["total"].sum() == counted["total"].sum()


def test_the_world_and_its_explanation_are_of_one_minute(url: str) -> None:
    events = read.triangles(NQ, START, END)
    last = events.index[-1]

    state = read.world(NQ, last)

    assert state.name == last
    assert state["triangle"] == events["direction"].iloc[-1]
    assert state["last_triangle_ts"] == last
    assert read.explanation(NQ, last)["triangle"] == state["triangle"]


def test_no_rows_have_the_same_dtypes(url: str) -> None:
    for query in (read.bars, read.dataset, read.triangles, read.bias, read.daily, read.counts):
        some, none = query(NQ, START, END), query(NQ, "2020-01-01", "2020-01-02")

        assert len(none) == 0
        assert dtypes(none) == dtypes(some), query.__name__
        assert none.index.dtype == some.index.dtype


def test_the_registry_is_listed_by_symbol(url: str) -> None:
    assert list(read.symbols().index) == [
        "GLBX.MDP3:ES", "GLBX.MDP3:NQ", "GLBX.MDP3:RTY", "GLBX.MDP3:YM",
    ]  # fmt: skip


def test_what_is_not_there_is_said(url: str) -> None:
    with pytest.raises(UnknownSymbolError):
        read.bars("GLBX.MDP3:XX", START, END)
    with pytest.raises(ConfigurationError, match="2m"):
        read.bars(NQ, START, END, "2m")
    with pytest.raises(RangeError, match="is not a date"):
        read.bias(NQ, "yesterday", END)
    with pytest.raises(RangeError, match="before it starts"):
        read.bias(NQ, "2024-12-04", END)
    with pytest.raises(ConfigurationError, match="week"):
        read.counts(NQ, START, END, "week")
    with pytest.raises(NotAMinuteError):
        read.world(NQ, "2024-11-27T15:00:30Z")
    with pytest.raises(NotFoundError):
        read.world(NQ, "2024-11-30T15:00:00Z")


def test_the_package_alone_loads_no_library() -> None:
    loaded = (
        "import sys, trisignal_pipeline; print({'pandas', 'pyarrow', 'psycopg'} & {*sys.modules})"
    )

    answer = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "set()\n"
