"""Where two series of bars differ, minute by minute and column by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.differences import bar_in_words, differences, positions
from trisignal_pipeline_tests.storage.stored_bars import DAY, bar, columns, whole_bars

some_bars = whole_bars([DAY], (0, 1, 2, 1439))
ascending = st.lists(st.integers(0, 20), unique=True).map(
    lambda numbers: np.array(sorted(numbers), np.int64)
)


@given(ascending, ascending)
def test_positions_say_where_each_number_stands_and_whether(
    wanted: np.ndarray, among: np.ndarray
) -> None:
    place, there = positions(wanted, among)

    assert there.tolist() == [number in among for number in wanted]
    assert among[place[there]].tolist() == wanted[there].tolist()


@given(some_bars, some_bars)
def test_differences_are_those_of_the_rows(ours: list[Any], theirs: list[Any]) -> None:
    found = differences(columns(ours), columns(theirs))

    mine, other = ({row.ts: row for row in rows} for rows in (ours, theirs))
    expected: dict[str, list[int]] = {
        "MISSING": sorted(set(other) - set(mine)),
        "SUPERFLUOUS": sorted(set(mine) - set(other)),
    }
    for name in ("open", "high", "low", "close", "volume", "contract"):
        expected[f"OTHER_{name.upper()}"] = [
            ts
            for ts in sorted(set(mine) & set(other))
            if getattr(mine[ts], name) != getattr(other[ts], name)
        ]
    assert {name: ts.tolist() for name, ts in found.items()} == {
        name: minutes for name, minutes in expected.items() if minutes
    }


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume", "contract"])
def test_every_column_counts(column: str) -> None:
    row = bar(0)
    value: Any = "NQU4" if column == "contract" else getattr(row, column) + 1
    changed = row._replace(**{column: value})

    assert set(differences(columns([changed]), columns([row]))) == {f"OTHER_{column.upper()}"}


@pytest.mark.parametrize(
    ("ours", "theirs", "differ"),
    [("#1", "NQM4", False), ("NQM4", "#1", False), ("#1", "#2", True), ("#1", "#1", False)],
)
def test_a_contract_s_id_is_not_held_against_a_name(ours: str, theirs: str, differ: bool) -> None:
    found = differences(columns([bar(0, contract=ours)]), columns([bar(0, contract=theirs)]))

    assert ("OTHER_CONTRACT" in found) is differ


def test_a_bar_in_words() -> None:
    bars = columns([bar(0, volume=3)])

    assert bar_in_words(bars, bar(0).ts) == "20000 20000.25 19999.75 20000, 3 of NQM4"
    assert bar_in_words(bars, bar(1).ts) == bar_in_words(Bars.empty(), 0) == "no bar"
