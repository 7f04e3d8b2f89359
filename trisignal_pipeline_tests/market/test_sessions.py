"""When CME's equity index futures trade, held against dates and counts from real bars."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import trisignal_pipeline.market.sessions as sessions_module
from trisignal_pipeline.errors import CalendarError, RangeError
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, day_number, from_day_number
from trisignal_pipeline.market.exchange_calendar import listed_trade_dates
from trisignal_pipeline.market.sessions import (
    VERIFIED_SPAN,
    Sessions,
    expected_minutes,
    sessions,
    utc_days,
)
from trisignal_pipeline_tests.signal.dbn_bars import lead_bars

CHICAGO = ZoneInfo("America/Chicago")
TABLE = Path(sessions_module.__file__).with_name("cme_equity_short_sessions.csv")


def of(first: str, last: str | None = None) -> Sessions:
    return sessions("cme_equity", date.fromisoformat(first), date.fromisoformat(last or first))


def clock(ts_ns: int) -> str:
    local = datetime.fromtimestamp(ts_ns // 10**9, UTC).astimezone(CHICAGO)
    return local.strftime("%Y-%m-%d %H:%M")


def hours(day: str) -> tuple[str, str]:
    """Open and close, Chicago time, of the session with the trade date `day`."""
    session = of(day)
    assert len(session) == 1, f"{len(session)} sessions on {day}"
    return clock(int(session.open_ns[0])), clock(int(session.close_ns[0]))


def minutes(session: Sessions) -> list[int]:
    pause = session.pause_end_ns - session.pause_start_ns
    return ((session.close_ns - session.open_ns - pause) // NS_PER_MINUTE).tolist()


class TestHours:
    def test_a_session_opens_on_the_evening_before_its_trade_date(self) -> None:
        assert hours("2024-11-06") == ("2024-11-05 17:00", "2024-11-06 16:00")

    def test_monday_s_session_opens_on_sunday(self) -> None:
        assert hours("2024-11-11") == ("2024-11-10 17:00", "2024-11-11 16:00")

    def test_utc_hours_follow_daylight_saving_time(self) -> None:
        # Clocks went forward on 2024-03-10 and back on 2024-11-03, both Sundays.
        for day, hour in (
            ("2024-03-08", 23),
            ("2024-03-11", 22),
            ("2024-11-01", 22),
            ("2024-11-04", 23),
        ):
            opened = datetime.fromtimestamp(int(of(day).open_ns[0]) // 10**9, UTC)
            assert opened.hour == hour, day

    def test_the_regular_close_moved_in_september_2015(self) -> None:
        assert hours("2015-09-18")[1] == "2015-09-18 16:15"
        assert hours("2015-09-21")[1] == "2015-09-21 16:00"

    def test_before_2013_the_hours_are_a_convention(self) -> None:
        assert hours("2011-03-02") == ("2011-03-01 17:00", "2011-03-02 16:15")

    def test_the_pause_lasted_until_june_2021(self) -> None:
        assert minutes(of("2021-06-25")) == [1365]
        assert minutes(of("2021-06-28")) == [1380]
        assert minutes(of("2015-09-18")) == [1380]
        assert minutes(of("2020-11-27")) == [1155]

    @pytest.mark.parametrize(
        ("day", "close"),
        [
            ("2024-11-28", "12:00"),
            ("2024-11-29", "12:15"),
            ("2018-12-05", "08:30"),
            ("2025-01-09", "08:30"),
            ("2023-04-07", "08:15"),
        ],
    )
    def test_short_sessions_close_early(self, day: str, close: str) -> None:
        assert hours(day)[1] == f"{day} {close}"

    def test_every_row_of_the_dated_table_is_followed(self) -> None:
        with TABLE.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 111
        for row in rows:
            session = of(row["trade_date"])
            assert clock(int(session.close_ns[0]))[11:] == row["close_chicago"], row
            own = session.daily_bar[0] == session.trade_date[0]
            assert own == (row["own_daily_bar"] == "yes"), row

    def test_within_the_verified_span_no_other_session_is_short(self) -> None:
        span = sessions("cme_equity", VERIFIED_SPAN.start, VERIFIED_SPAN.end)
        closes = [clock(ts)[11:] for ts in span.close_ns.tolist()]
        assert sum(close not in {"16:00", "16:15"} for close in closes) == 108
        # 3,131 weekdays without 11 New Year's Days, 12 Christmas Days and 8 Good Fridays.
        assert len(span) == 3100


class TestTradeDates:
    @pytest.mark.parametrize("day", ["2024-03-29", "2025-04-18", "2024-12-25", "2025-01-01"])
    def test_days_without_a_session(self, day: str) -> None:
        assert len(of(day)) == 0

    @pytest.mark.parametrize("day", ["2018-12-05", "2025-01-09", "2024-07-04", "2015-04-03"])
    def test_days_with_a_session_although_exchanges_for_shares_are_closed(self, day: str) -> None:
        assert len(of(day)) == 1

    def test_good_fridays_trade_only_with_the_employment_report(self) -> None:
        good_fridays = ["2010-04-02", "2011-04-22", "2012-04-06", "2027-03-26", "2034-04-07"]
        assert [len(of(day)) for day in good_fridays] == [1, 0, 1, 0, 1]

    def test_weekends_are_never_trade_dates(self) -> None:
        span = of("2010-01-01", "2027-12-31")
        assert {from_day_number(int(n)).weekday() for n in span.trade_date} == {0, 1, 2, 3, 4}

    def test_sessions_follow_each_other_without_overlap(self) -> None:
        span = of("2006-01-01", "2030-12-31")
        assert np.all(span.open_ns < span.close_ns)
        assert np.all(span.close_ns[:-1] < span.open_ns[1:])
        assert np.all(np.diff(span.trade_date) > 0)


class TestDailyBars:
    def test_a_holiday_belongs_to_the_next_trade_date(self) -> None:
        week = of("2024-11-27", "2024-11-29")
        assert (week.daily_bar - week.trade_date).tolist() == [0, 1, 0]
        assert week.daily_open_ns[1:].tolist() == [week.open_ns[1]] * 2
        assert week.daily_close_ns[1:].tolist() == [week.close_ns[2]] * 2

    def test_a_friday_holiday_belongs_to_monday(self) -> None:
        for friday in ("2015-07-03", "2020-07-03", "2021-04-02"):
            assert (of(friday).daily_bar - of(friday).trade_date).tolist() == [3], friday

    def test_a_daily_bar_is_whole_however_narrow_the_question(self) -> None:
        holiday, next_day = of("2024-11-28"), of("2024-11-29")
        assert holiday.daily_bar == next_day.daily_bar
        assert holiday.daily_close_ns == next_day.close_ns
        assert next_day.daily_open_ns == holiday.open_ns

    def test_every_daily_bar_is_bounded_by_its_own_sessions(self) -> None:
        span = of("2010-01-01", "2026-12-31")
        for name in np.unique(span.daily_bar).tolist():
            rows = np.flatnonzero(span.daily_bar == name)
            assert span.trade_date[rows[-1]] == name
            assert len(rows) <= 2
            assert set(span.daily_open_ns[rows].tolist()) == {int(span.open_ns[rows[0]])}
            assert set(span.daily_close_ns[rows].tolist()) == {int(span.close_ns[rows[-1]])}


class TestBeyondTheTable:
    def test_the_rules_used_there_would_have_made_the_table(self) -> None:
        with TABLE.open(newline="", encoding="utf-8") as file:
            table = {row["trade_date"]: row for row in csv.DictReader(file)}
        by_rule: dict[str, tuple[str, str]] = {}
        for day, early_close in listed_trade_dates(VERIFIED_SPAN.start, VERIFIED_SPAN.end):
            if early_close is not None and not (early_close.hour == 8 and day.day > 7):
                short = sessions_module._short_session_by_rule(day, early_close)
                own = "yes" if short.own_daily_bar else "no"
                by_rule[str(day)] = (short.close.isoformat("minutes"), own)
        dated = {
            day: (row["close_chicago"], row["own_daily_bar"])
            for day, row in table.items()
            if date.fromisoformat(day) in VERIFIED_SPAN
        }
        # What no rule foresees: days of mourning, and one Good Friday without a daily bar.
        differences = {day for day in by_rule | dated if by_rule.get(day) != dated.get(day)}
        assert differences == {"2018-12-05", "2025-01-09", "2021-04-02"}

    @pytest.mark.parametrize(
        ("day", "close", "own"),
        [
            ("2026-05-25", "12:00", False),
            ("2026-07-03", "12:00", False),
            ("2026-11-26", "12:00", False),
            ("2026-11-27", "12:15", True),
            ("2026-12-24", "12:15", True),
            ("2028-07-03", "12:15", True),
            ("2013-09-02", "12:00", False),
        ],
    )
    def test_holidays_there_are_short_in_the_same_way(
        self, day: str, close: str, own: bool
    ) -> None:
        assert hours(day)[1] == f"{day} {close}"
        assert (of(day).daily_bar[0] == of(day).trade_date[0]) == own


class TestExpectedMinutes:
    def count(self, first: str, last: str | None = None) -> list[int]:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
        return expected_minutes("cme_equity", *days).tolist()

    def test_thanksgiving_week(self) -> None:
        # Sunday's evening hour, three full dates, the halt at 12:00, the half day, Saturday.
        assert self.count("2024-11-24", "2024-12-01") == [60, 1380, 1380, 1380, 1140, 1095, 0, 60]

    def test_the_pause_is_not_expected(self) -> None:
        assert self.count("2021-06-24") == [1365]
        assert self.count("2021-06-29") == [1380]

    def test_a_closed_date_can_still_have_the_evening_of_the_next_session(self) -> None:
        assert self.count("2024-12-25") == [60]
        assert self.count("2024-03-29") == [0]
        assert self.count("2025-04-18") == [0]

    def test_dates_add_up_to_sessions(self) -> None:
        span = of("2014-01-02", "2024-12-31")
        first, last = "2014-01-01", "2024-12-31"
        # The evening of the last date is closed: New Year's Day has no session.
        assert sum(self.count(first, last)) == sum(minutes(span))

    def test_each_date_has_the_minutes_that_lie_in_its_sessions(self) -> None:
        first, last = date(2021, 6, 20), date(2021, 7, 10)
        around = of("2021-06-18", "2021-07-13")
        ts = np.arange(day_number(first), day_number(last) + 1) * NS_PER_DAY
        for day, count in zip(ts, expected_minutes("cme_equity", first, last), strict=True):
            minute = day + np.arange(1440) * NS_PER_MINUTE
            row = around.locate(minute)
            paused = (minute >= around.pause_start_ns[row]) & (minute < around.pause_end_ns[row])
            assert np.count_nonzero((row >= 0) & ~paused) == count

    def test_real_dates_never_have_more_bars(self, shared_data: Path) -> None:
        bars = lead_bars(shared_data / "nq_fut")
        days, counts = np.unique(bars.day_numbers(), return_counts=True)
        first, last = from_day_number(int(days[0])), from_day_number(int(days[-1]))
        expected = expected_minutes("cme_equity", first, last)
        actual = np.zeros(len(expected), np.int64)
        actual[days - days[0]] = counts
        assert np.all(actual <= expected)
        assert np.array_equal(actual == 0, expected == 0)
        assert actual.sum() > 0.999 * expected.sum()


class TestLocate:
    def test_minutes_find_the_session_they_lie_in(self) -> None:
        week = of("2024-11-27", "2024-11-29")
        opened, closed = int(week.open_ns[1]), int(week.close_ns[1])
        ts = np.array([opened - NS_PER_MINUTE, opened, closed - NS_PER_MINUTE, closed])
        assert week.locate(ts).tolist() == [-1, 1, 1, -1]

    def test_before_after_and_without_sessions_there_is_none(self) -> None:
        week = of("2024-11-27", "2024-11-29")
        assert week.locate(np.array([0, 2**62])).tolist() == [-1, -1]
        assert of("2024-11-30").locate(np.array([0])).tolist() == [-1]


def test_utc_days_are_sessions_of_24_hours() -> None:
    days = utc_days(date(2024, 2, 28), date(2024, 3, 1))
    assert minutes(days) == [1440] * 3
    assert days.open_ns[1:].tolist() == days.close_ns[:-1].tolist()
    assert days.daily_bar.tolist() == days.trade_date.tolist()


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(CalendarError, match=r"'cme_metals' does not exist; there is cme_equity"):
        sessions("cme_metals", date(2024, 1, 1), date(2024, 1, 2))


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(RangeError, match="2024-01-02 to 2024-01-01"):
        of("2024-01-02", "2024-01-01")


def test_answers_cannot_be_changed_from_outside() -> None:
    with pytest.raises(ValueError, match="read-only"):
        of("2024-11-27").open_ns[0] = 0


def test_a_range_of_many_years_equals_its_parts() -> None:
    whole = of("2011-01-01", "2026-12-31")
    parts = [of(f"{year}-01-01", f"{year}-12-31") for year in range(2011, 2027)]
    for name in Sessions.__slots__:
        assert np.array_equal(
            getattr(whole, name), np.concatenate([getattr(part, name) for part in parts])
        )
    assert len(whole) > 4000
