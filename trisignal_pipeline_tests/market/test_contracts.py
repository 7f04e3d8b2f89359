"""What the letters of a futures symbol say."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import SymbolError
from trisignal_pipeline.market.contracts import (
    MONTH_CODES,
    delivery_month,
    parse_outright,
    root_of,
)


@pytest.mark.parametrize(
    ("symbol", "root"),
    [
        ("NQZ4", "NQ"),
        ("MGCZ24", "MGC"),
        ("6EZ4", "6E"),
        ("M2KH5", "M2K"),
        ("ZNH0", "ZN"),
        ("HGH5", "HG"),
        ("GCG26", "GC"),
    ],
)
def test_an_outright_belongs_to_its_root(symbol: str, root: str) -> None:
    assert root_of(symbol) == root


@pytest.mark.parametrize(
    "symbol",
    [
        "NQZ4-NQH5",
        "UD:1V: GN 0912345",
        "NQ:BF H5-M5-U5",
        "NQ.FUT",
        "NQ.v.0",
        "NQ",
        "Z4",
        "NQA4",
        "NQZ",
        "NQZ024",
        "NQZ٤",
        "nqz4",
        "ESZ4 C5000",
        "#4711",
        "",
    ],
)
def test_anything_else_is_no_outright(symbol: str) -> None:
    assert parse_outright(symbol) is None
    with pytest.raises(SymbolError, match="single contract month"):
        delivery_month(symbol, date(2024, 1, 1))


def test_a_root_that_begins_another_one_does_not_own_its_contracts() -> None:
    assert root_of("MNQZ4") == "MNQ"
    assert root_of("NQZ4") == "NQ"


@pytest.mark.parametrize(
    ("symbol", "root"), [("NQ.FUT", "NQ"), ("NQ.v.0", "NQ"), ("6E.FUT", "6E"), ("NQZ4-NQH5", None)]
)
def test_roots_of_parents_and_continuous_symbols(symbol: str, root: str | None) -> None:
    assert root_of(symbol) == root


@pytest.mark.parametrize(
    ("symbol", "on", "year", "month"),
    [
        ("NQZ0", date(2010, 6, 6), 2010, 12),
        ("NQZ0", date(2010, 12, 31), 2010, 12),
        ("NQZ0", date(2011, 1, 1), 2020, 12),
        ("NQZ0", date(2020, 12, 18), 2020, 12),
        ("NQH5", date(2024, 11, 1), 2025, 3),
        ("NQH9", date(2029, 4, 1), 2039, 3),
        ("NQH0", date(2029, 4, 1), 2030, 3),
        ("NQZ24", date(2030, 1, 1), 2024, 12),
        ("MGCG26", date(2024, 1, 1), 2026, 2),
    ],
)
def test_the_delivery_month_follows_from_the_date(
    symbol: str, on: date, year: int, month: int
) -> None:
    assert delivery_month(symbol, on) == year * 12 + month - 1


@given(
    code=st.sampled_from(MONTH_CODES),
    digit=st.integers(0, 9),
    on=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
)
def test_one_digit_means_the_first_such_month_that_is_not_over(
    code: str, digit: int, on: date
) -> None:
    month = MONTH_CODES.index(code) + 1
    year = on.year
    while year % 10 != digit or (year, month) < (on.year, on.month):
        year += 1
    assert delivery_month(f"NQ{code}{digit}", on) == year * 12 + month - 1
