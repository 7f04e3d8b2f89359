"""The schemas: every rule by example, rejected rows by name, and a verdict on every date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.judging import (
    MOST_FAILURE_CASES,
    Verdict,
    judge,
    minute_verdicts,
    verdicts,
)
from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE, Bars
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, date_of_ns
from trisignal_pipeline.market.deliveries import Delivered, merge_deliveries
from trisignal_pipeline.market.hygiene import INDEX_FUTURE, HygieneThresholds, Rule, nearest_tick
from trisignal_pipeline.schemas import (
    BIAS_COLUMNS,
    BIAS_ROW,
    TRIANGLE_BIAS_COLUMNS,
    TRIANGLE_EVENT,
    bar_frame,
    bar_on_its_ticks,
    broken_rows,
    clean_bar,
    legacy_bar,
    rule_wordings,
)
from trisignal_pipeline.screening import screen
from trisignal_pipeline_tests.storage.stored_bars import DAY, Bar, bar, columns

NEXT = DAY + timedelta(days=1)
DATES = DateRange(DAY, NEXT + timedelta(days=1))
POINT = PRICE_UNIT
ANY_PRICE = HygieneThresholds(price_floor=None)

LEGACY, CLEAN = legacy_bar(INDEX_FUTURE), clean_bar(INDEX_FUTURE)


def _broken(schema: pa.DataFrameSchema, row: Bar) -> set[str]:
    found = broken_rows(schema, bar_frame(columns([row])))
    return {name for name, mask in found.items() if mask.any()}


TICK = POINT // 4


@pytest.mark.parametrize("name", ["open", "high", "low", "close"])
@given(ticks=st.integers(-(10**9), 10**9), off=st.integers(0, TICK - 1))
def test_a_price_is_on_its_tick_or_flagged_and_never_rejected(
    name: str, ticks: int, off: int
) -> None:
    row = bar(0)._replace(**{name: ticks * TICK + off})

    found = broken_rows(bar_on_its_ticks(TICK), bar_frame(columns([row])))["OFF_TICK"]

    assert found.tolist() == [off != 0]
    assert not broken_rows(bar_on_its_ticks(None), bar_frame(columns([row])))["OFF_TICK"].any()
    assert "OFF_TICK" not in broken_rows(CLEAN, bar_frame(columns([row])))
    nearest = nearest_tick(ticks * TICK + off, TICK)
    assert nearest % TICK == 0
    assert abs(nearest - ticks * TICK - off) * 2 <= TICK


def test_every_check_of_a_bar_says_what_the_rules_say() -> None:
    wordings = rule_wordings(INDEX_FUTURE, TICK)

    for schema in (LEGACY, CLEAN, bar_on_its_ticks(TICK)):
        of_columns = [check for column in schema.columns.values() for check in column.checks]
        for check in (*of_columns, *schema.checks):
            assert check.error == wordings[Rule(str(check.name))]


def test_wordings_carry_the_market_s_numbers_or_say_that_a_rule_is_off() -> None:
    numbers = rule_wordings(replace(INDEX_FUTURE, price_floor=20_000_250_000_000), tick=1)
    off = rule_wordings(HygieneThresholds(price_floor=None))

    assert numbers[Rule.PRICE_FLOOR] == "a price below the floor (20000.25 points)"
    assert numbers[Rule.OFF_TICK].endswith("(0.000000001 points)")
    assert off[Rule.PRICE_FLOOR] == "a price below the floor (price_floor, which is off)"
    assert "(price_floor)" in rule_wordings()[Rule.PRICE_FLOOR]
    assert set(numbers) == set(off) == set(Rule)


EXAMPLES: list[tuple[dict[str, Any], set[str], set[str]]] = [
    # what is wrong with the bar, what the legacy schema calls it, what the clean one adds
    ({}, set(), set()),
    ({"volume": 0}, set(), set()),
    ({"open": 999 * POINT, "low": 999 * POINT}, set(), {"PRICE_LT_1000"}),
    ({"low": 1000 * POINT}, set(), set()),
    ({"low": 1000 * POINT - 1}, set(), {"PRICE_LT_1000"}),
    ({"low": -1}, {"NEGATIVE_PRICE"}, {"PRICE_LT_1000"}),
    ({"low": 0}, set(), {"PRICE_LT_1000"}),
    ({"high": 20_000 * POINT - 1}, {"OHLC_INTEGRITY"}, set()),
    ({"low": 20_000 * POINT + 1, "high": 20_001 * POINT}, {"OHLC_INTEGRITY"}, set()),
    ({"open": 30_000 * POINT}, {"OHLC_INTEGRITY"}, set()),
    ({"close": 30_000 * POINT}, {"OHLC_INTEGRITY"}, set()),
    ({"high": 20_000 * POINT, "low": 20_000 * POINT}, set(), set()),
    ({"high": UNDEFINED_PRICE}, {"UNDEFINED_PRICE"}, set()),
    ({"open": UNDEFINED_PRICE}, {"UNDEFINED_PRICE", "OHLC_INTEGRITY"}, set()),
    ({"volume": -1}, {"NEGATIVE_VOLUME"}, set()),
    ({"ts": bar(0).ts + 1}, {"UNALIGNED_MINUTE"}, set()),
]


@pytest.mark.parametrize(("fault", "legacy", "clean"), EXAMPLES)
def test_a_bar_is_judged_by_the_rules_of_its_table(
    fault: dict[str, Any], legacy: set[str], clean: set[str]
) -> None:
    row = bar(0)._replace(**fault)

    assert _broken(LEGACY, row) == legacy
    assert _broken(CLEAN, row) == legacy | clean


def test_a_market_that_can_be_negative_may_be() -> None:
    row = bar(0, -37 * POINT)

    assert _broken(legacy_bar(HygieneThresholds(price_floor=0)), row) == {"NEGATIVE_PRICE"}
    assert _broken(legacy_bar(HygieneThresholds(price_floor=-40 * POINT)), row) == set()
    assert _broken(clean_bar(HygieneThresholds(price_floor=-40 * POINT)), row) == set()
    assert _broken(clean_bar(HygieneThresholds(price_floor=-30 * POINT)), row) == {"PRICE_LT_1000"}
    assert _broken(legacy_bar(ANY_PRICE), row) == set()
    assert _broken(clean_bar(ANY_PRICE), row) == set()


def test_jumps_are_left_to_the_signals_own_rules() -> None:
    rows = [bar(0, 20_000 * POINT), bar(1, 40_000 * POINT)]

    assert len(screen(CLEAN, Delivered.of_one(columns(rows))).accepted) == 2


def test_screening_tells_good_bars_from_bad_ones_and_says_why() -> None:
    rows = [
        bar(0),
        bar(1, high=1),
        bar(2, high=UNDEFINED_PRICE),
        bar(3, close=-POINT, low=-2 * POINT),
        bar(4),
    ]

    screened = screen(LEGACY, Delivered.of_one(columns(rows)))

    assert screened.accepted.ts.tolist() == [rows[0].ts, rows[4].ts]
    assert screened.rejected.ts.tolist() == [row.ts for row in rows[1:4]]
    assert {name: mask.tolist() for name, mask in screened.broken.items()} == {
        "OHLC_INTEGRITY": [True, False, False],
        "UNDEFINED_PRICE": [False, True, False],
        "NEGATIVE_PRICE": [False, False, True],
    }


def test_of_one_minute_the_last_delivered_stands() -> None:
    rows = [
        bar(0, volume=1),
        bar(1, volume=2),
        bar(1, volume=3),
        bar(1, volume=4),
        bar(2, volume=5),
    ]

    screened = screen(LEGACY, Delivered.of_one(columns(rows)))

    assert screened.accepted.volume.tolist() == [1, 4, 5]
    assert screened.rejected.volume.tolist() == [2, 3]
    assert list(screened.broken) == ["DUPLICATE_MINUTE"]


def test_a_broken_bar_takes_the_place_of_no_other() -> None:
    screened = screen(LEGACY, Delivered.of_one(columns([bar(0, volume=7), bar(0, high=1)])))

    assert screened.accepted.volume.tolist() == [7]
    assert {name: mask.tolist() for name, mask in screened.broken.items()} == {
        "OHLC_INTEGRITY": [True],
    }


def _from_files(*files: list[Bar]) -> Delivered:
    return merge_deliveries([columns(rows) for rows in files])


def test_the_later_file_stands_and_the_other_is_superseded() -> None:
    screened = screen(
        LEGACY,
        _from_files(
            [bar(0, volume=1), bar(1, volume=2), bar(1, volume=3)],
            [bar(1, volume=4), bar(2, volume=5)],
        ),
    )

    assert screened.accepted.volume.tolist() == [1, 4, 5]
    assert screened.rejected.volume.tolist() == [2, 3]
    assert {name: mask.tolist() for name, mask in screened.broken.items()} == {
        "DUPLICATE_MINUTE": [True, False],
        "SUPERSEDED_BY_LATER_FILE": [False, True],
    }
    assert screened.origin.tolist() == [0, 0]
    assert screened.overruled_by.tolist() == [-1, 1]


def test_a_broken_bar_contradicts_nothing() -> None:
    screened = screen(LEGACY, _from_files([bar(0, volume=7)], [bar(0, high=1)], [bar(0, volume=7)]))

    assert screened.accepted.volume.tolist() == [7]
    assert list(screened.broken) == ["OHLC_INTEGRITY"]
    assert screened.origin.tolist() == [1]


def test_the_same_broken_bar_in_two_files_is_one() -> None:
    screened = screen(LEGACY, _from_files([bar(0, high=1)], [bar(0, high=1), bar(0, high=2)]))

    assert screened.rejected.high.tolist() == [1, 2]
    assert screened.origin.tolist() == [1, 1]


def test_no_bars_are_screened_to_no_bars() -> None:
    screened = screen(CLEAN, Delivered.of_one(Bars.empty()))

    assert len(screened.accepted) == len(screened.rejected) == 0
    assert screened.broken == {}


faulty = st.lists(
    st.builds(
        lambda minute, fault: bar(minute)._replace(**fault),
        st.integers(0, 6),
        st.sampled_from([fault for fault, *_ in EXAMPLES if "ts" not in fault]),
    ),
    max_size=12,
).map(lambda rows: sorted(rows, key=lambda row: row.ts))


@given(faulty)
def test_every_bar_is_accepted_or_rejected_for_a_reason(rows: list[Bar]) -> None:
    screened = screen(LEGACY, Delivered.of_one(columns(rows)))

    whole = [row for row in rows if not _broken(LEGACY, row)]
    standing = [
        row
        for position, row in enumerate(whole)
        if all(later.ts != row.ts for later in whole[position + 1 :])
    ]
    assert screened.accepted.ts.tolist() == [row.ts for row in standing]
    assert screened.accepted.low.tolist() == [row.low for row in standing]
    assert len(screened.accepted) + len(screened.rejected) == len(rows)
    reasons = np.zeros(len(screened.rejected), np.bool_)
    for mask in screened.broken.values():
        reasons |= mask
    assert reasons.all()
    assert judge(LEGACY, bar_frame(screened.accepted), DATES)[DAY].passed


def _frame(rows: list[Bar]) -> pd.DataFrame:
    return bar_frame(columns(rows))


def test_a_verdict_is_given_on_every_date_of_the_range() -> None:
    rows = [bar(0), bar(1), bar(0, day=NEXT), bar(1, day=NEXT, high=1), bar(2, day=NEXT, high=1)]

    found = judge(LEGACY, _frame(rows), DATES)

    assert list(found) == list(DATES)
    assert found[DAY] == Verdict(rows=2, failed=0)
    assert found[DAY].passed
    assert (found[NEXT].rows, found[NEXT].failed) == (3, 2)
    assert found[NEXT].by_check == {"OHLC_INTEGRITY": 2}
    assert not found[NEXT].passed
    assert found[DATES.end] == Verdict(rows=0, failed=0)


def test_a_row_that_breaks_two_rules_has_failed_once() -> None:
    found = judge(CLEAN, _frame([bar(0, low=-1, high=1)]), DATES)[DAY]

    assert found.failed == 1
    assert found.by_check == {"OHLC_INTEGRITY": 1, "NEGATIVE_PRICE": 1, "PRICE_LT_1000": 1}


def test_a_minute_stored_twice_fails_both_rows() -> None:
    found = judge(LEGACY, _frame([bar(0), bar(1), bar(1)]), DATES)[DAY]

    assert (found.failed, found.by_check) == (2, {"UNIQUE": 2})


def test_failing_rows_are_quoted_as_people_write_them() -> None:
    found = judge(LEGACY, _frame([bar(15, high=1, low=0, close=20_123_250_000_000)]), DATES)[DAY]

    assert found.cases == (
        {
            "ts": "2024-06-17T00:15:00Z",
            "open": "20123.25",
            "high": "0.000000001",
            "low": "0",
            "close": "20123.25",
            "volume": "7",
            "contract": "NQM4",
            "broken": "OHLC_INTEGRITY",
        },
    )


def test_many_failing_rows_are_counted_and_some_are_quoted() -> None:
    found = judge(LEGACY, _frame([bar(minute, high=1) for minute in range(500)]), DATES)[DAY]

    assert found.failed == 500
    assert len(found.cases) == MOST_FAILURE_CASES
    assert found.cases[0]["ts"] == "2024-06-17T00:00:00Z"


STRUCTURES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "COLUMN_NOT_IN_DATAFRAME": lambda frame: frame.drop(columns="volume"),
    "COLUMN_NOT_IN_SCHEMA": lambda frame: frame.assign(extra=1),
    "WRONG_DATATYPE": lambda frame: frame.astype({"close": "float64"}),
    "SERIES_CONTAINS_NULLS": lambda frame: frame.assign(
        contract=pd.Categorical([None] * len(frame), categories=["NQM4"])
    ),
}


@pytest.mark.parametrize("reason", STRUCTURES)
def test_a_frame_of_another_shape_fails_on_every_row(reason: str) -> None:
    frame = STRUCTURES[reason](_frame([bar(0), bar(1), bar(0, day=NEXT)]))

    found = judge(LEGACY, frame, DATES)

    assert [(found[day].rows, found[day].failed) for day in DATES] == [(2, 2), (1, 1), (0, 0)]
    assert all(name.startswith(reason) for name in found[DAY].by_check)
    assert found[DAY].by_check


def test_an_empty_frame_of_the_right_shape_passes() -> None:
    for schema in (LEGACY, CLEAN):
        assert all(v.passed for v in judge(schema, bar_frame(Bars.empty()), DATES).values())


@given(faulty, st.integers(0, 2))
def test_verdicts_over_a_range_are_those_of_its_dates(rows: list[Bar], later: int) -> None:
    rows = [*rows, *(row._replace(ts=row.ts + later * 86_400 * 10**9) for row in rows if later)]
    frame = _frame(rows)
    broken = broken_rows(LEGACY, frame)

    together = verdicts(frame, broken, DATES)

    for day in DATES:
        of_day = np.array([date_of_ns(row.ts) == day for row in rows], np.bool_)
        alone = verdicts(
            frame[of_day],
            {name: mask[of_day] for name, mask in broken.items()},
            DateRange(day, day),
        )
        assert together[day] == alone[day]


def _bias_rows(**other: object) -> pd.DataFrame:
    ts = DATES.start_ns + np.arange(3) * NS_PER_MINUTE
    return pd.DataFrame(
        {"ts": ts, **{name: ["Bullish", "Bearish", "Neutral"] for name in BIAS_COLUMNS}} | other
    )


def _triangles(**other: object) -> pd.DataFrame:
    made = {
        "ts": DATES.start_ns + np.arange(2) * NS_PER_MINUTE,
        "direction": ["BULL", "BEAR"],
        **{name: ["Bullish", "Bearish"] for name in TRIANGLE_BIAS_COLUMNS},
        "htf_bullish": [True, False],
        "htf_bearish": [False, True],
        "engulfing": [True, False],
        "sweep_engulfing": [True, False],
    }
    return pd.DataFrame(made | other)


def test_bias_rows_and_triangles_as_they_must_be_pass() -> None:
    assert judge(BIAS_ROW, _bias_rows(), DATES)[DAY] == Verdict(3, 0)
    assert judge(TRIANGLE_EVENT, _triangles(), DATES)[DAY] == Verdict(2, 0)


@pytest.mark.parametrize("column", BIAS_COLUMNS)
def test_a_bias_is_one_of_three_words(column: str) -> None:
    found = judge(BIAS_ROW, _bias_rows(**{column: ["Bullish", "bullish", ""]}), DATES)[DAY]

    assert (found.failed, found.by_check) == (2, {"KNOWN_BIAS": 2})


def test_a_bias_opens_on_a_minute_and_stands_once() -> None:
    start = DATES.start_ns
    twice = judge(BIAS_ROW, _bias_rows(ts=[start, start, start + NS_PER_MINUTE]), DATES)[DAY]
    between = judge(BIAS_ROW, _bias_rows(ts=[start, start + 1, start + 2]), DATES)[DAY]

    assert (twice.failed, twice.by_check) == (2, {"UNIQUE": 2})
    assert (between.failed, between.by_check) == (2, {"UNALIGNED_MINUTE": 2})


@pytest.mark.parametrize(
    ("other", "failed", "check"),
    [
        ({"direction": ["BEAR", "BULL"]}, 2, "DIRECTION_IS_THE_BIAS"),
        ({"bias_1m": ["Neutral", "Bearish"]}, 1, "DIRECTION_IS_THE_BIAS"),
        ({"engulfing": [False, False]}, 1, "SWEEP_IS_ENGULFING"),
        ({"ts": [DATES.start_ns + 1, DATES.start_ns]}, 1, "UNALIGNED_MINUTE"),
        ({"direction": ["BULL", "UP"]}, 1, "KNOWN_DIRECTION"),
        ({"bias_h4": ["Bullish", "Down"]}, 1, "KNOWN_BIAS"),
        ({"ts": [DATES.start_ns] * 2, "direction": ["BULL"] * 2}, 2, "UNIQUE"),
        ({"htf_bullish": [1, 0]}, 2, "WRONG_DATATYPE: htf_bullish"),
    ],
)  # fmt: skip
def test_a_triangle_agrees_with_itself(other: dict[str, object], failed: int, check: str) -> None:
    found = judge(TRIANGLE_EVENT, _triangles(**other), DATES)[DAY]

    assert found.failed == failed
    assert check in found.by_check


def test_opposite_triangles_of_one_minute_are_two() -> None:
    frame = _triangles(ts=[DATES.start_ns] * 2)

    assert judge(TRIANGLE_EVENT, frame, DATES)[DAY].passed


def test_an_empty_day_has_no_bias_and_no_triangles_and_passes() -> None:
    assert judge(BIAS_ROW, _bias_rows().iloc[:0], DATES)[DAY] == Verdict(0, 0)
    assert judge(TRIANGLE_EVENT, _triangles().iloc[:0], DATES)[DAY] == Verdict(0, 0)


def test_contracts_come_by_name() -> None:
    frame = _frame([bar(0), bar(1, contract="NQU4")])

    assert frame["contract"].tolist() == ["NQM4", "NQU4"]
    assert frame["ts"].dtype == np.int64
    assert date_of_ns(int(frame["ts"].iloc[0])) == date(2024, 6, 17)


def _minutes(*numbers: int, day: date = DAY) -> np.ndarray:
    return np.array([bar(number, day=day).ts for number in numbers], np.int64)


def test_minutes_that_break_nothing_are_counted_by_date() -> None:
    judged = np.concatenate((_minutes(0, 1), _minutes(5, day=NEXT)))

    found = minute_verdicts(judged, {}, DATES)

    assert list(found) == list(DATES)
    assert [verdict.rows for verdict in found.values()] == [2, 1, 0]
    assert all(verdict.passed and verdict.failed == 0 for verdict in found.values())


def test_a_minute_that_breaks_several_rules_fails_once_and_names_them_all() -> None:
    broken = {"MISSING": _minutes(7), "OTHER": np.concatenate((_minutes(7), _minutes(1, day=NEXT)))}

    found = minute_verdicts(_minutes(0, 1), broken, DATES, lambda ts: {"minute": str(ts)})

    first, second, third = found.values()
    assert first == Verdict(
        2,
        1,
        {"MISSING": 1, "OTHER": 1},
        (
            {
                "ts": f"{DAY}T00:07:00Z",
                "minute": str(bar(7).ts),
                "broken": "MISSING, OTHER",
            },
        ),
    )
    assert (second.rows, second.failed, second.by_check) == (0, 1, {"OTHER": 1})
    assert third.passed


def test_only_some_of_many_minutes_are_quoted_and_all_are_counted() -> None:
    many = _minutes(*range(3 * MOST_FAILURE_CASES))

    verdict = minute_verdicts(many, {"OTHER": many}, DATES)[DAY]

    assert (verdict.failed, len(verdict.cases)) == (len(many), MOST_FAILURE_CASES)
