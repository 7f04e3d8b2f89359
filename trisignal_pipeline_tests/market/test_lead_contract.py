"""Which contract stands for the market: by example, against a plain version, and on real files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import LeadContractError
from trisignal_pipeline.market.contracts import delivery_month
from trisignal_pipeline.market.dates import midnight_ns
from trisignal_pipeline.market.lead_contract import Traded, lead_contracts, volumes_by_date

MONDAY = date(2024, 6, 17)


def day(number: int) -> date:
    return MONDAY + timedelta(days=number)


def traded(number: int, contract: str, volume: int, *, first: int = 0, last: int = 1000) -> Traded:
    start = midnight_ns(day(number))
    return Traded(day(number), contract, volume, start + first, start + last)


def continuous(number: int, instrument: int, volume: int = 1, symbol: str = "NQ.v.0") -> Traded:
    return replace(traded(number, f"#{instrument}", volume), continuous=symbol)


def test_yesterdays_volume_decides() -> None:
    rows = [
        traded(0, "NQM4", 100),
        traded(0, "NQU4", 50),
        traded(1, "NQM4", 40),
        traded(1, "NQU4", 90),
        traded(2, "NQM4", 500),
        traded(2, "NQU4", 1),
    ]
    assert lead_contracts(rows, "v") == {day(0): "NQM4", day(1): "NQM4", day(2): "NQU4"}
    assert lead_contracts(rows, "v", 1) == {day(0): "NQU4", day(1): "NQU4", day(2): "NQM4"}


def test_the_day_before_is_the_last_one_with_bars() -> None:
    rows = [traded(0, "NQM4", 1), traded(0, "NQU4", 2), traded(6, "NQM4", 9), traded(6, "NQU4", 1)]
    assert lead_contracts(rows, "v")[day(6)] == "NQU4"


def test_a_leader_without_a_bar_today_gives_way_to_todays_volume() -> None:
    rows = [traded(0, "NQM4", 100), traded(1, "NQU4", 5), traded(1, "NQZ4", 6)]
    assert lead_contracts(rows, "v") == {day(0): "NQM4", day(1): "NQZ4"}


def test_a_tie_goes_to_the_nearest_expiry_not_to_the_first_letter() -> None:
    rows = [traded(0, "NQH5", 7), traded(0, "NQU4", 7), traded(0, "NQZ4", 7)]
    assert lead_contracts(rows, "v") == {day(0): "NQU4"}
    assert lead_contracts(rows, "v", 2) == {day(0): "NQH5"}


def test_the_calendar_rule_takes_the_nearest_month_that_trades() -> None:
    rows = [
        traded(0, "NQM4", 1),
        traded(0, "NQH5", 900),
        traded(1, "NQH5", 1),
        traded(1, "NQZ4", 1),
    ]
    assert lead_contracts(rows, "c") == {day(0): "NQM4", day(1): "NQZ4"}
    assert lead_contracts(rows, "c", 1) == {day(0): "NQH5", day(1): "NQH5"}


def test_open_interest_is_not_in_the_files() -> None:
    with pytest.raises(LeadContractError, match="open interest, which OHLCV files don't carry"):
        lead_contracts([traded(0, "NQM4", 1)], "n")


def test_a_file_of_the_continuous_symbol_answers_for_open_interest() -> None:
    rows = [continuous(0, 42, symbol="NQ.n.0"), traded(0, "NQM4", 9)]
    assert lead_contracts(rows, "n") == {day(0): "#42"}
    with pytest.raises(LeadContractError, match=r"2024-06-18 \(1 dates"):
        lead_contracts([*rows, traded(1, "NQM4", 9)], "n")


def test_named_contracts_take_precedence_over_a_continuous_file() -> None:
    rows = [traded(0, "NQM4", 1), continuous(0, 42, 999), continuous(1, 43)]
    assert lead_contracts(rows, "v") == {day(0): "NQM4", day(1): "#43"}


def test_dates_of_a_continuous_file_are_no_day_before() -> None:
    rows = [
        traded(0, "NQM4", 1),
        traded(0, "NQU4", 2),
        continuous(1, 42),
        traded(2, "NQM4", 2),
        traded(2, "NQU4", 1),
    ]
    assert lead_contracts(rows, "v") == {day(0): "NQU4", day(1): "#42", day(2): "NQU4"}


@pytest.mark.parametrize("other", ["NQ.c.0", "NQ.v.1"])
def test_a_continuous_file_of_another_rule_or_rank_says_nothing(other: str) -> None:
    assert lead_contracts([continuous(0, 42, symbol=other)], "v") == {}


def test_a_date_with_too_few_contracts_for_the_rank_is_left_out() -> None:
    rows = [traded(0, "NQM4", 1), traded(1, "NQM4", 1), traded(1, "NQU4", 1)]
    assert lead_contracts(rows, "v", 1) == {day(1): "NQU4"}


def test_two_roots_are_refused() -> None:
    with pytest.raises(LeadContractError, match="ESM4, NQM4"):
        lead_contracts([traded(0, "NQM4", 1), traded(0, "ESM4", 1)], "v")


@pytest.mark.parametrize(("rule", "rank"), [("x", 0), ("v", -1)])
def test_a_rule_that_does_not_exist_is_refused(rule: str, rank: int) -> None:
    with pytest.raises(LeadContractError):
        lead_contracts([], rule, rank)


def test_files_that_follow_one_another_add_up_and_copies_do_not() -> None:
    parts = [
        traded(0, "NQM4", 10, first=0, last=9),
        traded(0, "NQM4", 30, first=10, last=19),
        traded(0, "NQM4", 25, first=12, last=30),
        traded(0, "NQM4", 4, first=30, last=31),
        traded(0, "NQM4", 1, first=40, last=40),
    ]
    assert volumes_by_date(parts) == {day(0): {"NQM4": 10 + 30 + 1}}


_rows = st.lists(
    st.builds(
        lambda number, contract, volume, first, length: traded(
            number, contract, volume, first=first, last=first + length
        ),
        st.integers(0, 5),
        st.sampled_from(["NQM4", "NQU4", "NQZ4", "NQH5"]),
        st.integers(0, 4),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=40,
)


def _plain_volume(rows: Sequence[Traded]) -> int:
    """The rows fall into groups by who overlaps whom; each group counts its largest."""
    groups: list[list[Traded]] = []
    for row in rows:
        touching = [
            group
            for group in groups
            if any(
                row.first_ns <= other.last_ns and other.first_ns <= row.last_ns for other in group
            )
        ]
        groups = [group for group in groups if group not in touching]
        groups.append([row, *(other for group in touching for other in group)])
    return sum(max(row.volume for row in group) for group in groups)


def _plain_lead(rows: Sequence[Traded], rule: str, rank: int) -> dict[date, str]:
    leads = {}
    days = sorted({row.date for row in rows})
    for at, today in enumerate(days):

        def volume(contract: str, on: date) -> int:
            return _plain_volume([r for r in rows if r.contract == contract and r.date == on])

        def listed(on: date) -> list[str]:
            contracts = {row.contract for row in rows if row.date == on}
            if rule == "c":
                return sorted(contracts, key=lambda c: delivery_month(c, on))
            return sorted(contracts, key=lambda c: (-volume(c, on), delivery_month(c, on)))

        choices = [listed(today)]
        if rule == "v" and at:
            choices.insert(0, listed(days[at - 1]))
        for order in choices:
            if len(order) > rank and order[rank] in listed(today):
                leads[today] = order[rank]
                break
    return leads


@given(rows=_rows, rule=st.sampled_from(["v", "c"]), rank=st.integers(0, 2))
def test_the_lead_is_that_of_a_plain_version(rows: list[Traded], rule: str, rank: int) -> None:
    assert lead_contracts(rows, rule, rank) == _plain_lead(rows, rule, rank)


@given(rows=_rows, copies=st.integers(1, 3), seed=st.randoms())
def test_neither_order_nor_copies_of_files_matter(
    rows: list[Traded], copies: int, seed: object
) -> None:
    again = rows * copies
    seed.shuffle(again)  # type: ignore[attr-defined]
    assert lead_contracts(again, "v") == lead_contracts(rows, "v")
