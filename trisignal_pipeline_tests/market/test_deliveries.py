"""Several deliveries of one market become one series, and what they disagree on is told apart."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.market.deliveries import (
    Delivered,
    copied_later,
    merge_deliveries,
    shared_minutes,
)
from trisignal_pipeline_tests.market.test_bars import Row, bars_of, rows_of

# Few values, so that deliveries repeat, correct and contradict each other.
delivery = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from((7, 8)), st.sampled_from(("NQM4", "NQU4"))),
    max_size=5,
)
deliveries_of_one_bar_a_minute = st.lists(
    delivery.map(lambda rows: list({row[0]: row for row in rows}.values())), max_size=4
)


def _merged(deliveries: list[list[Row]]) -> Delivered:
    return merge_deliveries([bars_of(part) for part in deliveries])


def _told_apart(deliveries: list[list[Row]]) -> list[tuple[int, Row, str]]:
    """For each merged row: its delivery, itself, and what `shared_minutes` makes of it."""
    merged = _merged(deliveries)
    shared = shared_minutes(merged.bars, merged.origin)
    names = []
    for position in range(len(merged.bars)):
        found = [
            name for name in ("repeated", "overruled", "copied") if getattr(shared, name)[position]
        ]
        assert len(found) < 2
        names.append(found[0] if found else "stands")
    return list(zip(merged.origin.tolist(), rows_of(merged.bars), names, strict=True))


def _plainly(deliveries: list[list[Row]]) -> list[tuple[int, Row, str]]:
    """The same, row by row."""
    told = []
    for minute in sorted({row[0] for part in deliveries for row in part}):
        of_minute = [
            (number, [row for row in part if row[0] == minute])
            for number, part in enumerate(deliveries)
        ]
        for number, rows in of_minute:
            later = [others[-1] for other, others in of_minute if other > number and others]
            told += [(number, row, "repeated") for row in rows[:-1]]
            for row in rows[-1:]:
                name = "copied" if set(later) == {row} else "overruled" if later else "stands"
                told.append((number, row, name))
    return told


@given(st.lists(delivery, max_size=4))
def test_merging_keeps_every_row_in_order_of_time_and_of_delivery(
    deliveries: list[list[Row]],
) -> None:
    merged = _merged(deliveries)

    rows = list(zip(merged.origin.tolist(), rows_of(merged.bars), strict=True))
    assert Counter(rows) == Counter(
        (number, row) for number, part in enumerate(deliveries) for row in part
    )
    assert [(row[0], number) for number, row in rows] == sorted(
        (row[0], number) for number, row in rows
    )


@given(st.lists(delivery, max_size=4))
def test_bars_of_a_minute_are_told_apart(deliveries: list[list[Row]]) -> None:
    assert _told_apart(deliveries) == _plainly(deliveries)


@given(st.lists(delivery, max_size=4))
def test_what_overrules_a_bar_is_what_stands(deliveries: list[list[Row]]) -> None:
    merged = _merged(deliveries)
    shared = shared_minutes(merged.bars, merged.origin)

    standing = {row[0]: number for number, row, name in _told_apart(deliveries) if name == "stands"}
    for row in np.flatnonzero(shared.overruled):
        minute = rows_of(merged.bars)[row][0]
        assert shared.overruled_by[row] == standing[minute] > merged.origin[row]


@given(deliveries_of_one_bar_a_minute)
def test_files_that_come_one_by_one_are_overruled_as_if_they_had_come_at_once(
    deliveries: list[list[Row]],
) -> None:
    at_once = {(n, row) for n, row, name in _told_apart(deliveries) if name == "overruled"}
    for arrival in itertools.permutations(range(len(deliveries))):
        seen: set[tuple[int, Row]] = set()
        for count in range(1, len(arrival) + 1):
            there = sorted(arrival[:count])
            told = _told_apart([deliveries[number] for number in there])
            seen |= {(there[n], row) for n, row, name in told if name == "overruled"}
        assert seen == at_once


@given(delivery, st.integers(1, 4))
def test_the_same_file_several_times_is_the_file_once(rows: list[Row], copies: int) -> None:
    once = [row for _, row, name in _told_apart([rows]) if name == "stands"]

    told = _told_apart([rows] * copies)

    assert [row for _, row, name in told if name == "stands"] == once
    assert not [row for _, row, name in told if name == "overruled"]


@given(st.lists(delivery, max_size=4))
def test_a_bar_that_a_later_delivery_has_too_is_found_wherever_it_is(
    deliveries: list[list[Row]],
) -> None:
    merged = _merged(deliveries)

    copied = copied_later(merged.bars, merged.origin)

    assert copied.tolist() == [
        any(row in part for part in deliveries[number + 1 :])
        for number, row in zip(merged.origin.tolist(), rows_of(merged.bars), strict=True)
    ]


def test_a_correction_comes_after_what_it_corrects() -> None:
    first, second = [(0, 7, "NQM4"), (1, 7, "NQM4")], [(1, 8, "NQM4"), (2, 7, "NQM4")]

    assert _told_apart([first, second]) == [
        (0, (0, 7, "NQM4"), "stands"),
        (0, (1, 7, "NQM4"), "overruled"),
        (1, (1, 8, "NQM4"), "stands"),
        (1, (2, 7, "NQM4"), "stands"),
    ]


def test_no_deliveries_make_no_bars() -> None:
    assert _told_apart([]) == []
