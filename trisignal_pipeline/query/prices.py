"""Prices as people and charts write them, and back: exact, in points."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE

_DECIMALS = 9


def points(units: int) -> str:
    """`units` of 1e-9 as a plain decimal number without trailing zeros: `20123.25`."""
    whole, fraction = divmod(abs(units), PRICE_UNIT)
    decimals = f"{fraction:0{_DECIMALS}d}".rstrip("0")
    return f"{'-' if units < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"


def units(text: str) -> int:
    """The price that `text` spells, in units of 1e-9.

    Raises:
        ValueError: it is no number, has more than nine decimals, or is beyond all prices.
    """
    try:
        price = Decimal(text.strip())
        # Not `price * PRICE_UNIT`, which would round a number of very many digits.
        scaled = price.scaleb(_DECIMALS) if price.is_finite() else None
        whole = None if scaled is None else scaled.to_integral_value()
    except InvalidOperation:
        scaled = whole = None
    if scaled is None or whole is None or abs(whole) >= UNDEFINED_PRICE:
        raise ValueError(f"{text!r} is not a price")
    if scaled != whole:
        raise ValueError(f"{text!r} has more than {_DECIMALS} decimals, which no price has")
    return int(whole)
