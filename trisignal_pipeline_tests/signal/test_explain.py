"""Explaining a minute: bar by bar the same as the replay, and every part of it by example."""

from __future__ import annotations

import csv
import gzip
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import ConfigurationError, InvalidBarsError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import iso_minute, midnight_ns
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import Anchor, TriangleFilters
from trisignal_pipeline.signal.explain import MinuteExplanation, NearbyGaps, explain, nearby
from trisignal_pipeline.signal.firings import Candle, Gap, GapKind, gaps_of
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline.signal.rules import (
    BIAS_NAMES,
    BULLISH,
    DIRECTION_NAMES,
    NEUTRAL,
    TIMEFRAMES,
)
from trisignal_pipeline.signal.timeframes import higher_bars, sessions_around
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline_tests.signal.dbn_bars import lead_bars
from trisignal_pipeline_tests.signal.generated_bars import (
    bars_of,
    series_over,
    session_minutes,
    walk,
)
from trisignal_pipeline_tests.signal.plain_signal import MINUTE, PlainBar

FIRST, LAST = date(2024, 11, 25), date(2024, 12, 3)
SESSIONS = sessions("cme_equity", FIRST, LAST)
MINUTES = range(midnight_ns(FIRST), midnight_ns(LAST), MINUTE)
OPEN = int(SESSIONS.open_ns[0])

NONE = TriangleFilters()
some_filters = st.builds(
    TriangleFilters,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(TIMEFRAMES[1:]), unique=True).map(tuple),
)


TRIANGLE_BIAS = ("bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1")


def _read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def one(bars: Bars, row: int) -> Bars:
    return bars.take(slice(row, row + 1))


def explained(
    bars: Bars, row: int = -1, filters: TriangleFilters = NONE, anchor: Anchor = Anchor.SESSION
) -> MinuteExplanation:
    row %= len(bars)
    before, _ = advance(start(anchor), bars.take(slice(0, row)))
    return explain(before, one(bars, row), filters)


def flat(*minutes: int, price: int = 100) -> list[PlainBar]:
    return [(OPEN + minute * MINUTE, price, price, price, price) for minute in minutes]


def assert_explains_the_replay(bars: Bars, filters: TriangleFilters, anchor: Anchor) -> None:
    """Every minute of `bars` has the biases, gaps, bars and triangles of the replay."""
    state = start(anchor)
    for row in range(len(bars)):
        minute = explain(state, one(bars, row), filters)
        before = (0,) * 6 if state.last is None else state.last.bias
        after, series = advance(state, one(bars, row))
        found = triangles(one(bars, row), series, filters, state.last)

        assert minute.previous == state.last
        assert tuple(view.bias_before for view in minute.timeframes) == before
        assert minute.biases == tuple(series.bias[0].tolist())
        assert [minute.triangle] == (found.direction.tolist() or [NEUTRAL])
        series_after = [after.minutes, *(higher.series for higher in after.higher)]
        for view, of_series in zip(minute.timeframes, series_after, strict=True):
            assert view.gaps == nearby(gaps_of(of_series), minute.bar.close)
        assert [view.unfinished for view in minute.timeframes[1:]] == [
            higher.unfinished for higher in after.higher
        ]
        state = after


@settings(max_examples=40, deadline=None)
@given(series_over(MINUTES, max_size=60), some_filters, st.sampled_from(Anchor))
def test_any_minute_is_explained_as_it_is_replayed(
    rows: list[PlainBar], filters: TriangleFilters, anchor: Anchor
) -> None:
    assert_explains_the_replay(bars_of(rows), filters, anchor)


def test_a_night_and_a_morning_are_explained_as_they_are_replayed() -> None:
    bars = walk(session_minutes(SESSIONS, 0.7, seed=4)[:600], seed=4)
    assert_explains_the_replay(bars, NONE, Anchor.SESSION)


@pytest.mark.parametrize("anchor", list(Anchor))
def test_each_higher_bar_is_seen_once_whole_and_on_the_minute_that_finishes_it(
    anchor: Anchor,
) -> None:
    bars = walk(session_minutes(SESSIONS, 0.6, seed=1)[:300], seed=7)
    around = sessions_around(anchor, "cme_equity", bars.ts)
    minutes = [explained(bars, row, anchor=anchor) for row in range(len(bars))]
    for at, timeframe in enumerate(TIMEFRAMES[1:], 1):
        made = higher_bars(bars, timeframe, around)
        seen = [
            (row, of.carried.bar)
            for row, minute in enumerate(minutes)
            for of in minute.timeframes[at].finished
        ]
        columns = (made.finished_on, made.ts, made.open, made.high, made.low, made.close)
        rows = zip(*(column[made.finished].tolist() for column in columns), strict=True)
        assert seen == [(row, Candle(*bar)) for row, *bar in rows]


def test_real_minutes_have_the_biases_and_triangles_of_the_independent_reference(
    shared_data: Path,
) -> None:
    folder = shared_data / "nq_fut"
    bars = lead_bars(folder)
    expected, found = (
        {row["ts"]: row for row in _read(folder / f"expected_{name}.csv.gz")}
        for name in ("bias", "triangles")
    )
    rng = np.random.default_rng(11)
    state, done = start(), 0
    for row in sorted({0, *rng.integers(0, len(bars), 40).tolist()}):
        state, _ = advance(state, bars.take(slice(done, row)))
        done = row
        minute = explain(state, one(bars, row), NONE)
        ts = iso_minute(minute.bar.ts)
        names = [BIAS_NAMES[code] for code in minute.biases]
        assert names == [expected[ts][name] for name in TRIANGLE_BIAS]
        assert DIRECTION_NAMES[minute.triangle] == found.get(ts, {"direction": ""})["direction"]
        assert minute.contract == expected[ts]["contract"]


class TestHigherBars:
    def test_a_bar_is_finished_on_its_last_minute(self) -> None:
        view = explained(bars_of(flat(0, 1, 2, 3, 4))).timeframes[1]
        [finished] = view.finished
        assert not finished.late
        assert finished.carried.bar == Candle(OPEN, 100, 100, 100, 100)
        assert view.unfinished is None

    def test_a_bar_without_its_last_minute_is_finished_late(self) -> None:
        view = explained(bars_of([*flat(0, 1), *flat(6, price=200)])).timeframes[1]
        [finished] = view.finished
        assert finished.late
        assert finished.carried.bar == Candle(OPEN, 100, 100, 100, 100)
        assert view.unfinished is not None
        assert (view.unfinished.ts, view.unfinished.open) == (OPEN + 5 * MINUTE, 200)

    def test_one_minute_can_finish_the_bar_before_and_its_own(self) -> None:
        view = explained(bars_of([*flat(0, 1), *flat(9, price=200)])).timeframes[1]
        assert [(seen.late, seen.carried.bar.ts) for seen in view.finished] == [
            (True, OPEN),
            (False, OPEN + 5 * MINUTE),
        ]
        # The second of the two is above everything before it.
        assert [seen.carried.bias_after for seen in view.finished] == [NEUTRAL, BULLISH]
        assert (view.bias_before, view.bias_after) == (NEUTRAL, BULLISH)

    def test_an_unfinished_bar_holds_the_minute(self) -> None:
        view = explained(bars_of([*flat(0, 1), *flat(2, price=200)])).timeframes[1]
        assert view.finished == ()
        assert view.unfinished is not None
        assert (view.unfinished.high, view.unfinished.close) == (200, 200)

    def test_a_minute_outside_every_session_is_in_no_higher_bar(self) -> None:
        closed = int((SESSIONS.close_ns[0] - OPEN) // MINUTE) + 5
        minute = explained(bars_of(flat(0, 1, closed)))
        assert minute.session is None
        assert all(view.finished == () for view in minute.timeframes[1:])
        assert {view.unfinished.ts for view in minute.timeframes[1:] if view.unfinished} == {OPEN}


class TestSessions:
    def test_a_minute_belongs_to_its_session(self) -> None:
        session = explained(bars_of(flat(3))).session
        assert session is not None
        assert (session.trade_date, session.daily_bar) == (FIRST, FIRST)
        assert (session.open_ns, session.close_ns) == (OPEN, int(SESSIONS.close_ns[0]))

    def test_a_session_that_is_merged_belongs_to_the_next_daily_bar(self) -> None:
        thanksgiving = int(np.flatnonzero(SESSIONS.trade_date != SESSIONS.daily_bar)[0])
        start_ns = int(SESSIONS.open_ns[thanksgiving])
        session = explained(bars_of([(start_ns, 1, 1, 1, 1)])).session
        assert session is not None
        assert session.trade_date == date(2024, 11, 28)
        assert session.daily_bar == date(2024, 11, 29)

    def test_with_the_utc_anchor_the_session_is_the_utc_date(self) -> None:
        session = explained(bars_of(flat(0)), anchor=Anchor.UTC).session
        assert session is not None
        assert session.trade_date == FIRST - timedelta(days=1)
        assert session.close_ns == midnight_ns(FIRST)


class TestNearestGaps:
    ABOVE, HIGHER = (Gap(bottom, 40, 1, GapKind.BEARISH) for bottom in (31, 32))
    BELOW, LOWER = (Gap(10, top, 1, GapKind.BULLISH) for top in (19, 18))
    WIDE, NARROW = (Gap(bottom, 30, 1, GapKind.INVERSE_BULLISH) for bottom in (10, 20))

    def test_gaps_lie_above_below_and_around_a_price(self) -> None:
        gaps = (self.HIGHER, self.WIDE, self.LOWER, self.ABOVE, self.NARROW, self.BELOW)
        assert nearby(gaps, 25) == NearbyGaps(
            self.ABOVE, self.BELOW, (self.NARROW, self.WIDE), alive=6
        )

    @pytest.mark.parametrize("price", [20, 30])
    def test_a_price_on_a_bound_is_in_the_gap(self, price: int) -> None:
        assert nearby([self.NARROW], price) == NearbyGaps(None, None, (self.NARROW,), alive=1)

    def test_without_gaps_there_is_none(self) -> None:
        assert nearby([], 25) == NearbyGaps(None, None, (), alive=0)


# A minute after a falling one that engulfs it, sweeps it and is above everything before.
FALLING: PlainBar = (OPEN, 110, 112, 98, 100)
ENGULFING: PlainBar = (OPEN + MINUTE, 99, 120, 97, 115)


class TestDecision:
    def test_the_first_bar_of_a_history_has_no_triangle(self) -> None:
        minute = explained(bars_of([FALLING]))
        assert minute.previous is None
        assert (minute.flip, minute.triangle) == (NEUTRAL, NEUTRAL)

    def test_a_flip_is_a_triangle_when_no_filter_is_on(self) -> None:
        minute = explained(bars_of([FALLING, ENGULFING]))
        assert (minute.flip, minute.triangle) == (BULLISH, BULLISH)
        assert minute.engulfing.bullish
        assert minute.engulfing.bullish_sweep
        assert not minute.engulfing.bearish
        assert not any(verdict.switched_on for verdict in minute.filters)

    def test_a_bias_that_stays_is_no_flip(self) -> None:
        minute = explained(bars_of([FALLING, ENGULFING, (OPEN + 2 * MINUTE, 115, 125, 115, 125)]))
        assert minute.timeframes[0].finished[0].carried.firings != ()
        assert (minute.flip, minute.triangle) == (NEUTRAL, NEUTRAL)
        assert {verdict.passed for verdict in minute.filters} == {None}

    def test_a_filter_that_is_on_can_stop_a_flip(self) -> None:
        filters = TriangleFilters(htf_aligned_only=True, require_engulfing=True)
        minute = explained(bars_of([FALLING, ENGULFING]), filters=filters)
        assert (minute.flip, minute.triangle) == (BULLISH, NEUTRAL)
        assert [(v.name, v.switched_on, v.passed) for v in minute.filters] == [
            ("htf_aligned_only", True, False),
            ("require_engulfing", True, True),
            ("require_sweep_engulfing", False, True),
        ]

    def test_with_no_timeframe_switched_on_every_flip_is_aligned(self) -> None:
        filters = TriangleFilters(htf_aligned_only=True, aligned_timeframes=())
        minute = explained(bars_of([FALLING, ENGULFING]), filters=filters)
        assert (minute.htf_bullish, minute.htf_bearish) == (True, True)
        assert minute.triangle == BULLISH

    def test_a_sweep_filter_stops_a_bar_that_only_engulfs(self) -> None:
        no_sweep: PlainBar = (OPEN + MINUTE, 99, 120, 98, 115)
        only_sweeps = TriangleFilters(require_sweep_engulfing=True)
        minute = explained(bars_of([FALLING, no_sweep]), filters=only_sweeps)
        assert minute.engulfing.bullish
        assert not minute.engulfing.bullish_sweep
        assert (minute.flip, minute.triangle) == (BULLISH, NEUTRAL)


class TestRefusals:
    @pytest.mark.parametrize("count", [0, 2])
    def test_anything_but_one_bar_is_refused(self, count: int) -> None:
        bars = bars_of(flat(*range(count)))
        with pytest.raises(InvalidBarsError, match=f"{count} bars can't be explained"):
            explain(start(), bars, NONE)

    def test_a_bar_the_state_has_seen_is_refused(self) -> None:
        bars = bars_of(flat(0))
        state, _ = advance(start(), bars)
        with pytest.raises(InvalidBarsError, match="give the state before the minute"):
            explain(state, bars, NONE)

    def test_a_bar_between_two_minutes_is_refused(self) -> None:
        with pytest.raises(InvalidBarsError, match="not the start of a minute"):
            explain(start(), bars_of([(OPEN + 1, 1, 1, 1, 1)]), NONE)

    def test_a_timeframe_that_does_not_exist_is_refused(self) -> None:
        filters = TriangleFilters(aligned_timeframes=("2h",))
        with pytest.raises(ConfigurationError, match="2h"):
            explain(start(), bars_of(flat(0)), filters)


def test_a_state_is_left_as_it_was() -> None:
    bars = walk(session_minutes(SESSIONS)[:200], seed=3)
    before, _ = advance(start(), bars.take(slice(0, 150)))
    again, _ = advance(start(), bars.take(slice(0, 150)))
    for row in range(150, 160):
        explain(before, one(bars, row), NONE)
    assert before == again
