"""What an instrument is called on a day, however the file's intervals lie."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.sources.dbn_header import InstrumentNames

_INTERVALS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(("NQM4", "NQU4", "ESU4")))
)


@given(_INTERVALS)
def test_a_name_is_that_of_the_intervals_that_hold_the_day(
    intervals: list[tuple[int, int, str]],
) -> None:
    names = InstrumentNames({1: tuple(intervals)})
    for day in range(-1, 11):
        called = {name for first, end, name in intervals if first <= day < end}
        if len(called) > 1:
            with pytest.raises(RefusedFileError, match="both"):
                names.name(1, day)
        else:
            assert names.name(1, day) == next(iter(called), None)


def test_thousands_of_intervals_over_each_other_take_no_time() -> None:
    names = InstrumentNames({1: tuple((0, 50_000 + n, f"X{n % 2}") for n in range(100_000))})
    started = time.process_time()
    for day in range(150_000, 250_000):
        names.name(1, day)
    assert time.process_time() - started < 10
