"""The hygiene rules: each by example, and the locked ones against a row-by-row version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE, Bars
from trisignal_pipeline.market.dates import NS_PER_MINUTE
from trisignal_pipeline.market.hygiene import (
    INDEX_FUTURE,
    Guard,
    HygieneThresholds,
    LastGood,
    Rule,
    below,
    broken_ohlc,
    locked_rules,
    undefined_price,
)

Row = tuple[float, float, float, float, str]


def bars_of(rows: list[Row]) -> Bars:
    contracts = tuple(dict.fromkeys(row[4] for row in rows))
    prices = np.array([row[:4] for row in rows], np.float64).reshape(-1, 4)
    units = np.round(prices * PRICE_UNIT).astype(np.int64)
    return Bars(
        np.arange(len(rows), dtype=np.int64) * NS_PER_MINUTE,
        units[:, 0],
        units[:, 1],
        units[:, 2],
        units[:, 3],
        np.ones(len(rows), np.int64),
        np.array([contracts.index(row[4]) for row in rows], np.int32),
        contracts,
    )


def flat(price: float, contract: str = "NQZ4") -> Row:
    return (price, price, price, price, contract)


def wide(close: float, contract: str = "NQZ4") -> Row:
    return (close, close + 20, close - 20, close, contract)


@pytest.mark.parametrize(
    "row",
    [
        (100, 99, 98, 98.5, "X"),  # high below open
        (100, 101, 98, 102, "X"),  # high below close
        (100, 101, 100.5, 101, "X"),  # low above open
        (101, 102, 100.5, 100, "X"),  # low above close
    ],
)
def test_a_high_or_low_that_is_none_breaks_integrity(row: Row) -> None:
    assert broken_ohlc(bars_of([row])).tolist() == [True]


def test_a_flat_bar_is_whole() -> None:
    assert broken_ohlc(bars_of([flat(100)])).tolist() == [False]


def test_one_undefined_price_is_enough() -> None:
    bars = bars_of([flat(100), flat(100)])
    bars.low[1] = UNDEFINED_PRICE
    assert undefined_price(bars).tolist() == [False, True]


def test_the_floor_itself_is_allowed_and_no_floor_allows_everything() -> None:
    bars = bars_of([flat(1000), flat(999.75), flat(-37.63)])
    assert below(bars, 1000 * PRICE_UNIT).tolist() == [False, True, True]
    assert below(bars, None).tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        (wide(20_500), None),  # exactly 500 is allowed
        (wide(20_500.25), Rule.DISCONTINUITY),
        ((20_150, 20_155, 20_145, 20_150, "NQZ4"), Rule.SMALL_RANGE_BIG_GAP),  # range 10, gap 150
        ((20_149.75, 20_154, 20_145, 20_149.75, "NQZ4"), None),
        ((20_150, 20_155.25, 20_145, 20_150, "NQZ4"), None),  # range above 10
        (flat(20_050), None),
        (flat(20_050.25), Rule.FLAT_DISCONTINUITY),
        (flat(999), Rule.PRICE_FLOOR),
        (flat(25_000, "NQH5"), None),  # another contract: the comparison starts afresh
    ],
)
def test_jumps_from_the_last_good_close(second: Row, rule: Rule | None) -> None:
    judged = locked_rules(bars_of([wide(20_000), second]), INDEX_FUTURE, Guard())
    assert judged.accepted.tolist() == [True, rule is None]
    assert rule is None or judged.broken[rule].tolist() == [False, True]


def test_a_rejected_bar_does_not_become_the_last_good_one() -> None:
    rows = [wide(20_000), wide(21_000), wide(21_001), wide(20_400)]
    judged = locked_rules(bars_of(rows), INDEX_FUTURE, Guard())
    assert judged.accepted.tolist() == [True, False, False, True]
    assert judged.rejected_in_row.tolist() == [0, 1, 2, 0]
    assert judged.locked_since[2] == 1


def test_prices_further_apart_than_int64_can_tell_are_a_jump() -> None:
    lowest, highest = -(2**63), 2**63 - 2
    series = bars_of([flat(0), flat(0)])
    for price in (series.open, series.high, series.low, series.close):
        price[:] = (lowest, highest)
    limits = HygieneThresholds(price_floor=None, discontinuity=500 * PRICE_UNIT)
    assert locked_rules(series, limits, Guard()).accepted.tolist() == [True, False]
    carried = Guard(LastGood(highest, "NQZ4"))
    assert locked_rules(series, limits, carried).accepted.tolist() == [False, True]


def test_the_last_good_close_is_carried_into_the_series() -> None:
    rows = [wide(20_000)]
    before = Guard(LastGood(19_000 * PRICE_UNIT, "NQZ4"))
    assert not locked_rules(bars_of(rows), INDEX_FUTURE, before).accepted[0]
    other = Guard(LastGood(19_000 * PRICE_UNIT, "NQU4"))
    assert locked_rules(bars_of(rows), INDEX_FUTURE, other).accepted[0]


def row_by_row(
    bars: Bars, limits: HygieneThresholds, last_good: LastGood | None
) -> tuple[list[bool], LastGood | None]:
    accepted = []
    for i in range(len(bars)):
        o, h, low, c = (int(x[i]) for x in (bars.open, bars.high, bars.low, bars.close))
        contract = bars.contracts[bars.contract[i]]
        bad = h < max(o, c) or low > min(o, c) or h < low or UNDEFINED_PRICE in (o, h, low, c)
        bad = bad or (limits.price_floor is not None and min(o, h, low, c) < limits.price_floor)
        if not bad and last_good is not None and last_good.contract == contract:
            gap = abs(c - last_good.close)
            bad = limits.discontinuity is not None and gap > limits.discontinuity
            if limits.small_range is not None and limits.big_gap is not None:
                bad = bad or (h - low <= limits.small_range and gap >= limits.big_gap)
            if limits.flat_discontinuity is not None:
                bad = bad or (o == h == low == c and gap > limits.flat_discontinuity)
        accepted.append(not bad)
        if not bad:
            last_good = LastGood(c, contract)
    return accepted, last_good


closes = st.sampled_from([900, 19_400, 19_500, 19_550, 19_651, 20_000, 20_030, 20_200, 20_501])
rows = st.builds(
    lambda close, half, contract, broken: (
        (close, close - 1, close - 2, close, contract)
        if broken
        else (close, close + half, close - half, close, contract)
    ),
    closes,
    st.sampled_from([0, 0, 3, 5, 30]),
    st.sampled_from(["NQZ4", "NQZ4", "NQZ4", "NQH5"]),
    st.sampled_from([False] * 9 + [True]),
)


@given(
    st.lists(rows, max_size=60),
    st.sampled_from(
        [
            INDEX_FUTURE,
            HygieneThresholds(),
            HygieneThresholds(price_floor=None, discontinuity=100 * PRICE_UNIT),
        ]
    ),
    st.none() | st.builds(LastGood, closes.map(lambda p: p * PRICE_UNIT), st.just("NQZ4")),
)
def test_the_locked_rules_do_what_a_row_by_row_reading_does(
    rows: list[Row], limits: HygieneThresholds, last_good: LastGood | None
) -> None:
    bars = bars_of(rows)
    judged = locked_rules(bars, limits, Guard(last_good))
    accepted, last = row_by_row(bars, limits, last_good)
    assert judged.accepted.tolist() == accepted
    assert judged.guard.last_good == last
    reasons = np.zeros(len(bars), np.bool_)
    for mask in judged.broken.values():
        reasons |= mask
    assert (~judged.accepted).tolist() == reasons.tolist()


def test_a_lock_out_runs_on_from_one_series_to_the_next() -> None:
    rows = [wide(20_000), wide(21_000), wide(21_001), wide(21_002), wide(20_100), wide(25_000)]
    whole = locked_rules(bars_of(rows), INDEX_FUTURE, Guard())
    assert whole.rejected_in_row.tolist() == [0, 1, 2, 3, 0, 1]
    assert whole.first_rule(1) is Rule.DISCONTINUITY

    series = bars_of(rows)
    first = locked_rules(series.take(slice(0, 3)), INDEX_FUTURE, Guard())
    assert first.guard == Guard(
        LastGood(20_000 * PRICE_UNIT, "NQZ4"), 2, NS_PER_MINUTE, Rule.DISCONTINUITY
    )
    second = locked_rules(series.take(slice(3, 6)), INDEX_FUTURE, first.guard)
    assert second.rejected_in_row.tolist() == [3, 0, 1]
    assert second.locked_since[0] == -1
    assert second.guard == whole.guard


@given(st.lists(rows, max_size=40), st.data())
def test_judging_a_series_in_two_parts_is_judging_it_at_once(
    rows: list[Row], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    bars = bars_of(rows)
    whole = locked_rules(bars, INDEX_FUTURE, Guard())
    first = locked_rules(bars.take(slice(0, cut)), INDEX_FUTURE, Guard())
    second = locked_rules(bars.take(slice(cut, None)), INDEX_FUTURE, first.guard)
    assert [*first.accepted, *second.accepted] == whole.accepted.tolist()
    assert [*first.rejected_in_row, *second.rejected_in_row] == whole.rejected_in_row.tolist()
    assert second.guard == whole.guard
