"""Prices as texts: exact both ways."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.market.prices import points, units


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (20_123_250_000_000, "20123.25"),
        (20_000_000_000_000, "20000"),
        (-1_500_000_000, "-1.5"),
        (-250_000_000, "-0.25"),
        (1, "0.000000001"),
        (0, "0"),
    ],
)
def test_a_price_has_no_trailing_zeros_and_no_exponent(price: int, text: str) -> None:
    assert points(price) == text


@given(st.integers(-(2**62), 2**62))
def test_every_price_comes_back_as_it_was(price: int) -> None:
    assert units(points(price)) == price
    assert Decimal(points(price)).scaleb(9) == price


@given(st.integers(-(10**12), 10**12), st.integers(0, 4))
def test_zeros_at_the_end_and_exponents_change_nothing(price: int, zeros: int) -> None:
    text = points(price)
    padded = text + ("." if "." not in text and zeros else "") + "0" * zeros
    assert units(f" {padded} ") == price
    assert units(f"{Decimal(text):E}") == price


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "inf",
        "1,5",
        "20k",
        "1e30",
        "9e9999999",
        "5000000000",
        "1.0000000001",
        f"1.{'0' * 200}1",
    ],
)
def test_a_text_that_is_no_price_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a price|more than 9 decimals"):
        units(text)
