"""Higher bars: where periods begin and end, and when a bar is finished."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.sessions import Sessions, sessions, utc_days
from trisignal_pipeline.market.symbols import Anchor
from trisignal_pipeline.signal.rules import HIGHER_TIMEFRAMES
from trisignal_pipeline.signal.timeframes import fold, higher_bars, sessions_around
from trisignal_pipeline_tests.signal.generated_bars import (
    bars_of,
    rows_of,
    series_over,
    session_minutes,
    session_rows,
    walk,
)
from trisignal_pipeline_tests.signal.plain_signal import MINUTE, plain_higher

CHICAGO = ZoneInfo("America/Chicago")


def at(text: str) -> int:
    """`2024-11-28 11:59` on a clock in Chicago, in nanoseconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * 10**9


def chicago(ts: np.ndarray) -> list[str]:
    return [
        datetime.fromtimestamp(value // 10**9, UTC).astimezone(CHICAGO).strftime("%m-%d %H:%M")
        for value in ts.tolist()
    ]


def flat(*minutes: str) -> Bars:
    """One bar on each of these minutes, Chicago time; the n-th one's price is n."""
    return bars_of([(at(minute), row, row, row, row) for row, minute in enumerate(minutes)])


def traded(first: date, last: date) -> tuple[Bars, Sessions]:
    """A walk over every minute of the sessions from `first` to `last`."""
    of = sessions("cme_equity", first, last)
    return walk(session_minutes(of), seed=1), of


class TestPeriods:
    def test_four_hour_bars_count_from_the_open_and_are_cut_at_the_close(self) -> None:
        bars, of = traded(date(2024, 11, 5), date(2024, 11, 5))
        made = higher_bars(bars, "4h", of)
        assert chicago(made.ts) == [
            "11-04 17:00",
            "11-04 21:00",
            "11-05 01:00",
            "11-05 05:00",
            "11-05 09:00",
            "11-05 13:00",
        ]
        assert made.finished.all()
        assert chicago(bars.ts[made.finished_on])[-1] == "11-05 15:59"

    def test_the_hours_follow_daylight_saving_time(self) -> None:
        # Clocks changed on Sunday 2024-11-03: both sessions open at 17:00 on their own clock.
        bars, of = traded(date(2024, 11, 1), date(2024, 11, 4))
        made = higher_bars(bars, "4h", of)
        assert chicago(made.ts)[::6] == ["10-31 17:00", "11-03 17:00"]
        # From Friday 13:00 to Sunday 17:00 are 52 hours, and the one that was repeated.
        assert np.diff(made.ts)[5] == 53 * 60 * MINUTE

    def test_the_daily_bar_is_the_session_and_sunday_evening_belongs_to_monday(self) -> None:
        bars, of = traded(date(2024, 11, 8), date(2024, 11, 11))
        made = higher_bars(bars, "1d", of)
        assert chicago(made.ts) == ["11-07 17:00", "11-10 17:00"]
        assert chicago(bars.ts[made.finished_on]) == ["11-08 15:59", "11-11 15:59"]

    def test_a_holiday_s_minutes_belong_to_the_next_daily_bar(self) -> None:
        # Thanksgiving halts at 12:00, the day after closes at 12:15.
        bars, of = traded(date(2024, 11, 27), date(2024, 12, 2))
        made = higher_bars(bars, "1d", of)
        assert chicago(made.ts) == ["11-26 17:00", "11-27 17:00", "12-01 17:00"]
        assert chicago(bars.ts[made.finished_on]) == ["11-27 15:59", "11-29 12:14", "12-02 15:59"]
        merged = (bars.ts >= at("2024-11-27 17:00")) & (bars.ts < at("2024-11-29 12:15"))
        assert made.high[1] == bars.high[merged].max()
        assert made.low[1] == bars.low[merged].min()
        assert made.open[1] == bars.open[merged][0]
        assert made.close[1] == bars.close[merged][-1]
        assert made.volume[1] == bars.volume[merged].sum()

    def test_a_holiday_s_four_hour_bars_are_its_own(self) -> None:
        bars, of = traded(date(2024, 11, 28), date(2024, 11, 29))
        made = higher_bars(bars, "4h", of)
        assert chicago(made.ts)[4:6] == ["11-28 09:00", "11-28 17:00"]
        assert chicago(bars.ts[made.finished_on])[4] == "11-28 11:59"

    def test_a_half_day_has_its_own_daily_bar_finished_on_its_last_minute(self) -> None:
        bars, of = traded(date(2024, 12, 24), date(2024, 12, 24))
        made = higher_bars(bars, "1d", of)
        assert chicago(bars.ts[made.finished_on]) == ["12-24 12:14"]

    def test_the_pause_cuts_no_bar(self) -> None:
        of = sessions("cme_equity", date(2020, 3, 3), date(2020, 3, 3))
        bars = flat("2020-03-03 15:14", "2020-03-03 15:30")
        made = higher_bars(bars, "1h", of)
        assert chicago(made.ts) == ["03-03 15:00"]
        assert made.close.tolist() == [1]

    def test_utc_periods_are_multiples_of_the_clock(self) -> None:
        start = 20_000 * 1440 * MINUTE
        bars = walk(start + np.arange(2880) * MINUTE, seed=2)
        of = sessions_around(Anchor.UTC, "", bars.ts)
        four_hours = higher_bars(bars, "4h", of)
        assert (four_hours.ts - start).tolist() == [n * 240 * MINUTE for n in range(12)]
        days = higher_bars(bars, "1d", of)
        assert (days.ts - start).tolist() == [0, 1440 * MINUTE]
        assert days.finished_on.tolist() == [1439, 2879]


class TestFinishing:
    OF = sessions("cme_equity", date(2024, 11, 4), date(2024, 11, 8))

    def test_a_bar_is_finished_on_the_last_minute_of_its_period(self) -> None:
        made = higher_bars(flat("2024-11-05 09:03", "2024-11-05 09:04"), "5m", self.OF)
        assert chicago(made.ts) == ["11-05 09:00"]
        assert made.finished_on.tolist() == [1]

    def test_a_bar_whose_last_minute_did_not_trade_is_finished_by_the_next_period(self) -> None:
        bars = flat("2024-11-05 09:03", "2024-11-05 09:05", "2024-11-05 09:06")
        made = higher_bars(bars, "5m", self.OF)
        assert chicago(made.ts) == ["11-05 09:00", "11-05 09:05"]
        assert made.finished_on.tolist() == [1, -1]
        assert made.close.tolist() == [0, 2]

    def test_periods_are_never_merged_over_missing_minutes(self) -> None:
        bars = flat("2024-11-05 09:03", "2024-11-05 09:31", "2024-11-05 13:00")
        made = higher_bars(bars, "15m", self.OF)
        assert chicago(made.ts) == ["11-05 09:00", "11-05 09:30", "11-05 13:00"]
        assert made.finished_on.tolist() == [1, 2, -1]

    def test_one_minute_can_finish_two_bars(self) -> None:
        bars = flat("2024-11-05 09:03", "2024-11-05 09:09")
        made = higher_bars(bars, "5m", self.OF)
        assert made.finished_on.tolist() == [1, 1]

    def test_a_session_that_ends_early_is_finished_by_the_next_one(self) -> None:
        bars = flat("2024-11-05 15:58", "2024-11-05 17:00")
        for timeframe in HIGHER_TIMEFRAMES:
            made = higher_bars(bars, timeframe, self.OF)
            assert made.finished_on.tolist() == [1, -1], timeframe

    def test_minutes_outside_the_session_belong_to_no_bar_and_finish_none(self) -> None:
        bars = flat("2024-11-05 15:58", "2024-11-05 16:00", "2024-11-05 16:59", "2024-11-05 17:00")
        for timeframe in HIGHER_TIMEFRAMES:
            made = higher_bars(bars, timeframe, self.OF)
            assert made.finished_on.tolist() == [3, -1], timeframe
            assert made.high.tolist() == [0, 3], timeframe

    def test_minutes_between_two_sessions_of_one_daily_bar_are_not_in_it(self) -> None:
        of = sessions("cme_equity", date(2024, 11, 28), date(2024, 11, 29))
        bars = flat("2024-11-28 11:59", "2024-11-28 13:00", "2024-11-28 17:00")
        made = higher_bars(bars, "1d", of)
        assert made.finished_on.tolist() == [-1]
        assert made.volume.tolist() == [2]

    def test_bars_after_the_last_known_session_finish_nothing(self) -> None:
        bars = flat("2024-11-08 15:58", "2024-11-12 09:00")
        assert higher_bars(bars, "1d", self.OF).finished_on.tolist() == [-1]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(HIGHER_TIMEFRAMES))
def test_any_series_folds_as_the_plain_version_does(data: st.DataObject, timeframe: str) -> None:
    # A week with a holiday, a half day and, beyond the sessions, minutes that belong to nothing.
    of = sessions("cme_equity", date(2024, 11, 26), date(2024, 12, 3))
    minutes = range(at("2024-11-25 12:00"), at("2024-12-03 20:00"), MINUTE)
    rows = data.draw(series_over(minutes))
    seen, made = plain_higher(rows, timeframe, session_rows(of))
    assert len(seen) == len(rows)
    assert rows_of_higher(bars_of(rows), timeframe, of) == made


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(HIGHER_TIMEFRAMES))
def test_a_series_folded_in_parts_gives_the_same_bars(data: st.DataObject, timeframe: str) -> None:
    of = utc_days(date(2024, 11, 26), date(2024, 12, 3))
    bars = bars_of(
        data.draw(series_over(range(at("2024-11-25 20:00"), at("2024-12-02 00:00"), MINUTE)))
    )
    cut = data.draw(st.integers(0, len(bars)))
    whole, left = fold(bars, timeframe, of, None)
    first, between = fold(bars.take(slice(0, cut)), timeframe, of, None)
    second, left_in_parts = fold(bars.take(slice(cut, None)), timeframe, of, between)
    assert left_in_parts == left
    for name in ("ts", "open", "high", "low", "close", "volume"):
        parts = np.concatenate((getattr(first, name), getattr(second, name)))
        assert np.array_equal(parts, getattr(whole, name))
    rows = np.concatenate((first.finished_on, second.finished_on + cut))
    assert np.array_equal(rows, whole.finished_on)


def rows_of_higher(bars: Bars, timeframe: str, of: Sessions) -> list[tuple[int, ...]]:
    made = higher_bars(bars, timeframe, of)
    columns = (made.ts, made.open, made.high, made.low, made.close)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_no_bars_make_no_higher_bars() -> None:
    assert len(higher_bars(Bars.empty(), "1h", TestFinishing.OF)) == 0


def test_an_unknown_timeframe_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"'2h'.*5m, 15m, 1h, 4h, 1d"):
        higher_bars(Bars.empty(), "2h", TestFinishing.OF)


def test_real_daily_bars_agree_with_a_fold_over_every_smaller_timeframe() -> None:
    bars, of = traded(date(2024, 11, 25), date(2024, 12, 6))
    days = higher_bars(bars, "1d", of)
    for timeframe in HIGHER_TIMEFRAMES[:-1]:
        made = higher_bars(bars, timeframe, of)
        day = np.searchsorted(days.ts, made.ts, side="right") - 1
        assert [made.high[day == n].max() for n in range(len(days))] == days.high.tolist()
        assert [made.volume[day == n].sum() for n in range(len(days))] == days.volume.tolist()
    assert rows_of(bars)[0][1] == days.open[0]
