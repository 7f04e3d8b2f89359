"""Several deliveries of one market become one series: copies once, disagreements kept."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.market.deliveries import merge_deliveries
from trisignal_pipeline_tests.market.test_bars import Row, bars_of, rows_of

# Few values, so that deliveries repeat, correct and contradict each other.
delivery = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from((7, 8)), st.sampled_from(("NQM4", "NQU4"))),
    max_size=6,
)


def _plainly(deliveries: list[list[Row]]) -> list[Row]:
    """Minute by minute: drop a row if the next delivery of that minute begins with the same."""
    merged: list[Row] = []
    for minute in sorted({row[0] for part in deliveries for row in part}):
        of_minute = [
            (number, row)
            for number, part in enumerate(deliveries)
            for row in part
            if row[0] == minute
        ]
        for position, (number, row) in enumerate(of_minute):
            following = of_minute[position + 1 : position + 2]
            if not any(row == other and number != later for later, other in following):
                merged.append(row)
    return merged


@given(st.lists(delivery, max_size=4))
def test_merging_does_what_it_says(deliveries: list[list[Row]]) -> None:
    merged = merge_deliveries([bars_of(part) for part in deliveries])

    assert rows_of(merged) == _plainly(deliveries)


@given(delivery, st.integers(1, 4))
def test_the_same_file_several_times_is_the_file_once(rows: list[Row], copies: int) -> None:
    rows = list({row[0]: row for row in rows}.values())

    merged = merge_deliveries([bars_of(rows)] * copies)

    assert rows_of(merged) == sorted(rows)


@given(st.lists(delivery, max_size=4))
def test_no_bar_is_made_up_and_no_minute_is_lost(deliveries: list[list[Row]]) -> None:
    merged = rows_of(merge_deliveries([bars_of(part) for part in deliveries]))

    given_rows = Counter(row for part in deliveries for row in part)
    assert not Counter(merged) - given_rows
    assert {row[0] for row in merged} == {row[0] for row in given_rows}


def test_a_correction_comes_after_what_it_corrects() -> None:
    first, second = [(0, 7, "NQM4"), (1, 7, "NQM4")], [(1, 8, "NQM4"), (2, 7, "NQM4")]

    merged = merge_deliveries([bars_of(first), bars_of(second)])

    assert rows_of(merged) == [(0, 7, "NQM4"), (1, 7, "NQM4"), (1, 8, "NQM4"), (2, 7, "NQM4")]


def test_a_minute_that_one_delivery_holds_twice_stays_twice() -> None:
    merged = merge_deliveries([bars_of([(0, 7, "NQM4"), (0, 7, "NQM4")])])

    assert len(merged) == 2


def test_no_deliveries_make_no_bars() -> None:
    assert len(merge_deliveries([])) == 0
