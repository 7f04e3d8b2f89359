"""Bars as columns: taking, joining and ordering them."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import Bars, concatenate, require_ascending
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, midnight_ns

MIDNIGHT = midnight_ns(date(2024, 6, 17))

Row = tuple[int, int, str]


def bars_of(rows: list[Row], extra_contracts: tuple[str, ...] = ()) -> Bars:
    """Bars of (minute after midnight, close, contract); other columns follow from the close."""
    contracts = (*extra_contracts, *dict.fromkeys(name for *_, name in rows))
    close = np.array([row[1] for row in rows], np.int64)
    return Bars(
        ts=MIDNIGHT + np.array([row[0] for row in rows], np.int64) * NS_PER_MINUTE,
        open=close + 1,
        high=close + 2,
        low=close - 1,
        close=close,
        volume=close * 10,
        contract=np.array([contracts.index(row[2]) for row in rows], np.int32),
        contracts=contracts,
    )


def rows_of(bars: Bars) -> list[Row]:
    """The rows that `bars_of` would make `bars` from; every column has its say."""
    assert (bars.open == bars.close + 1).all()
    assert (bars.high == bars.close + 2).all()
    assert (bars.low == bars.close - 1).all()
    assert (bars.volume == bars.close * 10).all()
    minutes = (bars.ts - MIDNIGHT) // NS_PER_MINUTE
    names = [bars.contracts[code] for code in bars.contract]
    return list(zip(minutes.tolist(), bars.close.tolist(), names, strict=True))


rows = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(-9, 9), st.sampled_from(("NQM4", "NQU4", "NQZ4")))
)


def test_columns_of_different_lengths_are_no_bars() -> None:
    whole = bars_of([(0, 1, "NQM4"), (1, 2, "NQM4")])
    columns: dict[str, Any] = {name: getattr(whole, name) for name in Bars.__slots__}

    with pytest.raises(InvalidBarsError, match=r"differ in length: .*'volume': 1"):
        Bars(**{**columns, "volume": whole.volume[:1]})


def test_no_bars_are_bars() -> None:
    empty = Bars.empty()

    assert len(empty) == 0
    assert empty.contract_names() == []
    assert len(empty.between(0, 1)) == 0
    assert len(empty.day_numbers()) == 0


@given(rows, st.data())
def test_taking_by_mask_positions_and_slice_agrees(made: list[Row], data: st.DataObject) -> None:
    bars = bars_of(made)
    first = data.draw(st.integers(0, len(made)))
    mask = np.arange(len(made)) >= first

    expected = made[first:]
    assert rows_of(bars.take(mask)) == expected
    assert rows_of(bars.take(np.flatnonzero(mask))) == expected
    assert rows_of(bars.take(slice(first, None))) == expected


@given(rows, st.integers(0, 5000), st.integers(0, 5000))
def test_between_has_its_start_and_not_its_end(made: list[Row], first: int, after: int) -> None:
    made = sorted(made)

    found = bars_of(made).between(
        MIDNIGHT + first * NS_PER_MINUTE, MIDNIGHT + after * NS_PER_MINUTE
    )

    assert rows_of(found) == [row for row in made if first <= row[0] < after]


@given(rows)
def test_day_numbers_are_those_of_utc_midnights(made: list[Row]) -> None:
    numbers = bars_of(made).day_numbers()

    assert numbers.tolist() == [MIDNIGHT // NS_PER_DAY + minute // 1440 for minute, *_ in made]


@given(rows)
def test_contract_names_come_in_order_of_appearance(made: list[Row]) -> None:
    bars = bars_of(made, extra_contracts=("NQZ9",))

    assert bars.contract_names() == list(dict.fromkeys(name for *_, name in made))


@given(st.lists(rows, max_size=4))
def test_joined_series_keep_every_bar_and_its_contract(parts: list[list[Row]]) -> None:
    joined = concatenate(
        bars_of(part, extra_contracts=(f"NQH{number}",)) for number, part in enumerate(parts)
    )

    assert rows_of(joined) == [row for part in parts for row in part]
    assert len(set(joined.contracts)) == len(joined.contracts)


@given(st.lists(st.integers(0, 30), max_size=8))
def test_ascending_means_strictly(minutes: list[int]) -> None:
    ts = MIDNIGHT + np.array(minutes, np.int64) * NS_PER_MINUTE

    if minutes == sorted(set(minutes)):
        require_ascending(ts)
    else:
        with pytest.raises(InvalidBarsError, match="does not come after"):
            require_ascending(ts)


def test_a_bar_out_of_order_is_named_with_its_place() -> None:
    ts = MIDNIGHT + np.array([0, 5, 5], np.int64) * NS_PER_MINUTE

    with pytest.raises(InvalidBarsError, match=r"^NQ legacy: 2024-06-17T00:05:00Z does not come"):
        require_ascending(ts, ("NQ", "legacy"))


@pytest.mark.parametrize("off", [1, -1, NS_PER_MINUTE // 2])
def test_a_bar_that_opens_off_the_minute_is_refused(off: int) -> None:
    ts = np.array([MIDNIGHT, MIDNIGHT + NS_PER_MINUTE + off], np.int64)

    with pytest.raises(InvalidBarsError, match="is not the start of a minute"):
        require_ascending(ts)
