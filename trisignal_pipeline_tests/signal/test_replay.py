"""Replaying a market: six biases a minute, the same however the history is cut."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import CalendarError, InvalidBarsError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import midnight_ns
from trisignal_pipeline.market.sessions import sessions, utc_days
from trisignal_pipeline.market.symbols import Anchor
from trisignal_pipeline.signal.checkpoint import to_bytes
from trisignal_pipeline.signal.replay import BiasSeries, EngineState, advance, start
from trisignal_pipeline.signal.rules import BIAS_NAMES, NEUTRAL, TIMEFRAMES
from trisignal_pipeline_tests.signal.generated_bars import (
    bars_of,
    rows_of,
    series_over,
    session_minutes,
    session_rows,
    walk,
)
from trisignal_pipeline_tests.signal.plain_signal import MINUTE, plain_all

FIRST, LAST = date(2024, 11, 25), date(2024, 12, 3)
SESSIONS = sessions("cme_equity", FIRST, LAST)
UTC_DAYS = utc_days(FIRST - timedelta(days=1), LAST)
MINUTES = range(midnight_ns(FIRST), midnight_ns(LAST), MINUTE)
anchors = st.sampled_from(Anchor)


def words(series: BiasSeries) -> list[tuple[str, ...]]:
    return [tuple(row) for row in np.array(BIAS_NAMES)[series.bias].tolist()]


def in_parts(bars: Bars, cuts: list[int], anchor: Anchor) -> tuple[EngineState, np.ndarray]:
    state, parts = start(anchor), []
    bounds = [0, *sorted(cuts), len(bars)]
    for first, after in pairwise(bounds):
        state, part = advance(state, bars.take(slice(first, after)))
        parts.append(part.bias)
    return state, np.concatenate(parts)


@settings(max_examples=60, deadline=None)
@given(series_over(MINUTES), anchors)
def test_any_series_has_the_biases_of_the_plain_version(
    rows: list[tuple[int, int, int, int, int]], anchor: Anchor
) -> None:
    of = SESSIONS if anchor == Anchor.SESSION else UTC_DAYS
    assert words(advance(start(anchor), bars_of(rows))[1]) == plain_all(rows, session_rows(of))


@pytest.mark.parametrize("anchor", list(Anchor))
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_week_around_a_holiday_has_the_biases_of_the_plain_version(
    anchor: Anchor, share: float
) -> None:
    bars = walk(session_minutes(SESSIONS, share, seed=5), seed=9)
    of = SESSIONS if anchor == Anchor.SESSION else UTC_DAYS
    series = advance(start(anchor), bars)[1]
    assert words(series) == plain_all(rows_of(bars), session_rows(of))
    assert {word for row in words(series) for word in row[:4]} == set(BIAS_NAMES)


@settings(max_examples=80, deadline=None)
@given(series_over(MINUTES), anchors, st.data())
def test_any_cuts_give_the_same_biases_and_the_same_state(
    rows: list[tuple[int, int, int, int, int]], anchor: Anchor, data: st.DataObject
) -> None:
    bars = bars_of(rows)
    whole, series = advance(start(anchor), bars)
    cuts = data.draw(st.lists(st.integers(0, len(bars)), max_size=6))
    state, bias = in_parts(bars, cuts, anchor)
    assert np.array_equal(bias, series.bias)
    assert state == whole
    assert to_bytes(state) == to_bytes(whole)


def test_a_minute_at_a_time_gives_what_one_pass_gives() -> None:
    bars = walk(session_minutes(SESSIONS, 0.8)[:3000], seed=4)
    whole, series = advance(start(), bars)
    state, bias = in_parts(bars, list(range(1, len(bars))), Anchor.SESSION)
    assert np.array_equal(bias, series.bias)
    assert state == whole


def test_biases_never_change_when_more_bars_arrive() -> None:
    bars = walk(session_minutes(SESSIONS), seed=6)
    series = advance(start(), bars)[1]
    for length in (1, 299, 1380, 4001):
        part = advance(start(), bars.take(slice(0, length)))[1]
        assert np.array_equal(part.bias, series.bias[:length])


def test_higher_biases_are_neutral_until_their_first_bar_is_finished() -> None:
    bars = walk(session_minutes(SESSIONS), seed=6)
    series = advance(start(), bars)[1]
    for timeframe, minutes in (("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1380)):
        # The first bar of a series is neutral too, so the second one is the first to speak.
        assert np.all(series.column(timeframe)[: 2 * minutes - 1] == NEUTRAL)


def test_an_earlier_state_is_left_as_it_was() -> None:
    bars = walk(session_minutes(SESSIONS), seed=2)
    earlier, _ = advance(start(), bars.take(slice(0, 2000)))
    before = to_bytes(earlier)
    later, _ = advance(earlier, bars.take(slice(2000, None)))
    assert to_bytes(earlier) == before
    assert later != earlier
    assert advance(earlier, bars.take(slice(2000, None)))[0] == later


def test_the_state_knows_the_last_minute() -> None:
    bars = walk(session_minutes(SESSIONS), seed=2)
    state, series = advance(start(), bars)
    assert state.last is not None
    assert state.last.ts == bars.ts[-1]
    assert state.last.close == bars.close[-1]
    assert state.last.bias == tuple(series.bias[-1].tolist())
    assert state.gaps_alive > 10


def test_no_bars_change_nothing() -> None:
    state, _ = advance(start(), bars_of([(MINUTES[0], 1, 1, 1, 1)]))
    same, series = advance(state, Bars.empty())
    assert same is state
    assert series.bias.shape == (0, len(TIMEFRAMES))


def test_columns_that_cannot_be_written_to_or_lie_apart_in_memory_are_accepted() -> None:
    bars = walk(session_minutes(SESSIONS)[:600], seed=2)
    expected = advance(start(), bars)[1].bias
    table = np.empty(len(bars), [(name, "i8") for name in ("ts", "o", "h", "l", "c", "v")])
    table["ts"], table["o"], table["h"] = bars.ts, bars.open, bars.high
    table["l"], table["c"], table["v"] = bars.low, bars.close, bars.volume
    table.setflags(write=False)
    columns = (table[name] for name in table.dtype.names or ())
    assert np.array_equal(
        advance(start(), Bars(*columns, bars.contract, bars.contracts))[1].bias, expected
    )


@pytest.mark.parametrize(
    "minutes", [(1, 0), (0, 0), (0, 0.5)], ids=["backwards", "twice", "between two minutes"]
)
def test_bars_out_of_order_are_refused(minutes: tuple[float, float]) -> None:
    rows = [(MINUTES[0] + int(minute * MINUTE), 1, 1, 1, 1) for minute in minutes]
    with pytest.raises(InvalidBarsError, match=r"2024-11-25T00:0"):
        advance(start(), bars_of(rows))


def test_bars_that_were_already_replayed_are_refused() -> None:
    bars = bars_of([(MINUTES[0], 1, 1, 1, 1)])
    state, _ = advance(start(), bars)
    with pytest.raises(InvalidBarsError, match="2024-11-25T00:00:00Z, does not come after"):
        advance(state, bars)


def test_an_unknown_session_profile_is_refused_at_the_start() -> None:
    with pytest.raises(CalendarError, match=r"'nyse'.*cme_equity"):
        start(Anchor.SESSION, "nyse")
    assert start(Anchor.UTC, "nyse").last is None
