"""UTC dates: numbers, instants, and ranges with both ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    DateRange,
    by_month,
    by_year,
    contiguous_ranges,
    date_of_ns,
    day_number,
    from_day_number,
    iso_minute,
    midnight_ns,
    utc,
)

any_date = st.dates(date(1700, 1, 1), date(2200, 12, 31))
ranges = st.builds(
    lambda start, days: DateRange(start, start + timedelta(days=days)),
    any_date,
    st.integers(0, 2000),
)
FRIDAY, SATURDAY = date(2024, 6, 21), date(2024, 6, 22)


@given(any_date)
def test_a_date_and_its_number_are_the_same(day: date) -> None:
    assert from_day_number(day_number(day)) == day
    assert day_number(day + timedelta(days=1)) == day_number(day) + 1


def test_days_are_counted_from_1970() -> None:
    assert day_number(date(1970, 1, 1)) == 0
    assert day_number(date(1969, 12, 31)) == -1


@given(any_date, st.integers(0, NS_PER_DAY - 1))
def test_every_instant_of_a_day_is_of_that_date(day: date, into: int) -> None:
    assert date_of_ns(midnight_ns(day) + into) == day


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 made aware below
def test_an_instant_keeps_its_microseconds(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    assert utc(microseconds * 1000) == moment
    assert utc(microseconds * 1000 + 999) == moment


def test_a_minute_is_written_in_iso_with_a_z() -> None:
    assert iso_minute(midnight_ns(date(2024, 11, 1)) + 15 * NS_PER_MINUTE) == "2024-11-01T00:15:00Z"


@given(ranges)
def test_a_range_holds_both_its_ends(dates: DateRange) -> None:
    days = list(dates)

    assert days[0] == dates.start
    assert days[-1] == dates.end
    assert len(days) == len(dates)
    assert all(day in dates for day in days)
    assert dates.start - timedelta(days=1) not in dates
    assert dates.end + timedelta(days=1) not in dates
    assert dates.end_ns - dates.start_ns == len(dates) * NS_PER_DAY


def test_a_range_holds_nothing_but_dates() -> None:
    assert "2024-06-21" not in DateRange(FRIDAY, SATURDAY)


def test_a_range_that_ends_before_it_starts_says_which_date_comes_first() -> None:
    with pytest.raises(RangeError, match=r"ends on 2024-06-21, before it starts on 2024-06-22"):
        DateRange(SATURDAY, FRIDAY)


def test_a_range_of_one_date_reads_as_that_date() -> None:
    assert str(DateRange(FRIDAY, FRIDAY)) == "2024-06-21"
    assert str(DateRange(FRIDAY, SATURDAY)) == "2024-06-21 to 2024-06-22"


@given(ranges, ranges)
def test_ranges_overlap_if_they_share_a_date(some: DateRange, others: DateRange) -> None:
    assert some.overlaps(others) == bool(set(some) & set(others))


@given(st.lists(st.dates(date(2024, 1, 1), date(2024, 3, 1))))
def test_contiguous_ranges_hold_exactly_the_dates_and_never_touch(days: list[date]) -> None:
    found = contiguous_ranges(days)

    assert [day for dates in found for day in dates] == sorted(set(days))
    for earlier, later in pairwise(found):
        assert (later.start - earlier.end).days > 1


@given(ranges)
def test_years_tile_a_range(dates: DateRange) -> None:
    years = by_year(dates)

    assert [day for year in years for day in year] == list(dates)
    assert all(year.start.year == year.end.year for year in years)
    assert len({year.start.year for year in years}) == len(years)


@given(ranges)
def test_months_tile_a_range(dates: DateRange) -> None:
    months = by_month(dates)

    assert [day for month in months for day in month] == list(dates)
    assert all(month.start.replace(day=1) == month.end.replace(day=1) for month in months)
    assert len({month.start.replace(day=1) for month in months}) == len(months)
