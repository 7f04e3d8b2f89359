"""Rolls as stored bars show them, and dates that hold more than one contract."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from trisignal_pipeline.market.bars import PRICE_UNIT, Bars
from trisignal_pipeline.market.rolls import LastBar, Roll, of_another_contract, rolls
from trisignal_pipeline_tests.storage.stored_bars import DAY, TICK, Bar, bar, columns

NEXT = DAY + timedelta(days=1)
POINT = PRICE_UNIT


def _days(*contracts: str) -> Bars:
    rows: list[Bar] = []
    for number, contract in enumerate(contracts):
        day = DAY + timedelta(days=number)
        rows += [
            bar(0, 100 * POINT * (number + 1), day, contract=contract, open=90 * POINT),
            bar(1, 101 * POINT * (number + 1), day, contract=contract),
        ]
    return columns(rows)


def test_no_roll_where_the_contract_stays() -> None:
    assert rolls(_days("NQM4", "NQM4"), LastBar(date(2024, 6, 14), "NQM4", 1)) == []
    assert rolls(Bars.empty(), LastBar(date(2024, 6, 14), "NQM4", 1)) == []
    assert rolls(_days("NQM4"), None) == []


def test_a_roll_tells_both_contracts_and_the_gap_between_last_close_and_first_open() -> None:
    [roll] = rolls(_days("NQM4", "NQU4", "NQU4"), None)

    assert roll == Roll(NEXT, LastBar(DAY, "NQM4", 101 * POINT), "NQU4", 90 * POINT)
    assert roll.gap == -11 * POINT
    assert roll.gap_points == -11.0
    assert not roll.backwards


def test_the_first_date_follows_what_is_stored_before_it() -> None:
    before = LastBar(date(2024, 6, 14), "NQM4", 80 * POINT)

    [roll] = rolls(_days("NQU4", "NQU4"), before)

    assert (roll.date, roll.before, roll.gap) == (DAY, before, 10 * POINT)


@pytest.mark.parametrize(
    ("earlier", "later", "backwards"),
    [
        ("NQU4", "NQM4", True),
        ("NQZ4", "NQH5", False),
        ("NQH5", "NQZ4", True),
        ("#4711", "NQM4", False),
        ("NQM4", "#4711", False),
    ],
)
def test_a_roll_back_is_one_to_an_earlier_expiry(earlier: str, later: str, backwards: bool) -> None:
    [roll] = rolls(_days(earlier, later), None)

    assert roll.backwards is backwards


def test_bars_of_another_contract_than_most_of_their_date_are_odd() -> None:
    rows = [bar(minute, contract="NQU4" if minute == 0 else "NQM4") for minute in range(4)]
    rows += [bar(minute, day=NEXT, contract="NQU4") for minute in range(2)]

    assert of_another_contract(columns(rows)).tolist() == [True] + [False] * 5
    assert not of_another_contract(_days("NQM4", "NQU4", "NQM4")).any()
    assert not of_another_contract(Bars.empty()).any()


def test_of_two_equally_frequent_contracts_the_first_one_stands() -> None:
    rows = [bar(0, contract="NQU4"), bar(1, contract="NQM4")]

    assert of_another_contract(columns(rows)).tolist() == [False, True]


def test_ticks_are_exact() -> None:
    roll = Roll(NEXT, LastBar(DAY, "NQM4", 100 * POINT), "NQU4", 100 * POINT + TICK)

    assert (roll.gap, roll.gap_points) == (TICK, 0.25)
