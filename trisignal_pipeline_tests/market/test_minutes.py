"""Minutes as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.market.minutes import parse_minute

QUARTER_PAST = 1_730_420_100_000_000_000  # 2024-11-01T00:15:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2024-11-01T00:15:00Z",
        "2024-11-01T00:15Z",
        "2024-11-01 00:15:00+00:00",
        " 2024-11-01T00:15:00.000Z ",
        "2024-10-31T19:15:00-05:00",
        "2024-11-01T05:45:00+05:30",
    ],
)
def test_one_minute_has_many_spellings(text: str) -> None:
    assert parse_minute(text) == QUARTER_PAST


@given(
    st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone follows
    st.integers(-14 * 60, 14 * 60),
)
def test_any_minute_is_found_again_from_any_offset(moment: datetime, offset: int) -> None:
    whole = moment.replace(second=0, microsecond=0, tzinfo=UTC)
    there = whole.astimezone(timezone(timedelta(minutes=offset)))
    assert iso_minute(parse_minute(there.isoformat())) == whole.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("text", ["2024-11-01T00:15:00", "2024-11-01"])
def test_a_minute_without_a_time_zone_is_refused(text: str) -> None:
    with pytest.raises(RangeError, match=r"names no time zone.*offset like -05:00"):
        parse_minute(text)


@pytest.mark.parametrize("text", ["2024-11-01T00:15:30Z", "2024-11-01T00:15:00.000001Z"])
def test_an_instant_within_a_minute_is_refused_and_its_bar_named(text: str) -> None:
    with pytest.raises(RangeError, match=r"not the start.*opens at 2024-11-01T00:15:00Z"):
        parse_minute(text)


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00Z", "0001-01-01T00:00+05:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(RangeError, match="is not a minute; write it as"):
        parse_minute(text)
