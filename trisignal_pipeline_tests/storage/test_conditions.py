"""What the vendor says of a day: the later answer stands, whichever came first."""

from __future__ import annotations

from datetime import date
from itertools import permutations

import pytest

from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import conditions
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline_tests.tiny_market import MONDAY, TUESDAY, WEDNESDAY

GLBX = "GLBX.MDP3"
WEEK = DateRange(MONDAY, WEDNESDAY)
EARLY, LATE = date(2024, 7, 1), date(2024, 8, 1)


def test_what_was_told_of_a_dataset_is_told_again(connection: Connection) -> None:
    told = [DayCondition(MONDAY, "available", EARLY), DayCondition(WEDNESDAY, "pending")]

    conditions.record(connection, GLBX, told, "GLBX-20240701-A")

    assert list(conditions.of_dates(connection, GLBX, WEEK).values()) == told
    assert conditions.of_dates(connection, GLBX, DateRange(TUESDAY, TUESDAY)) == {}
    assert conditions.of_dates(connection, "XEUR.EOBI", WEEK) == {}


@pytest.mark.parametrize(
    "answers",
    list(
        permutations(
            [
                (DayCondition(MONDAY, "pending"), "a"),
                (DayCondition(MONDAY, "available", EARLY), "b"),
                (DayCondition(MONDAY, "degraded", EARLY), "c"),
            ]
        )
    ),
)
def test_the_later_answer_stands_and_of_two_the_worse(
    connection: Connection, answers: tuple[tuple[DayCondition, str], ...]
) -> None:
    for told, origin in answers:
        conditions.record(connection, GLBX, [told], origin)

    assert conditions.of_dates(connection, GLBX, WEEK)[MONDAY].condition == "degraded"

    conditions.record(connection, GLBX, [DayCondition(MONDAY, "available", LATE)], "databento_api")
    assert conditions.of_dates(connection, GLBX, WEEK)[MONDAY].condition == "available"


def test_one_answer_may_name_a_day_twice(connection: Connection) -> None:
    told = [DayCondition(MONDAY, "available", LATE), DayCondition(MONDAY, "degraded", EARLY)]

    conditions.record(connection, GLBX, told, "a")

    assert conditions.of_dates(connection, GLBX, WEEK) == {MONDAY: told[0]}


def test_degraded_and_pending_days_are_doubtful() -> None:
    doubtful = {
        word
        for word in ("available", "degraded", "pending", "missing")
        if DayCondition(MONDAY, word).is_doubtful
    }
    assert doubtful == {"degraded", "pending"}
