"""Prices as people and charts write them, and back: exact, in points."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

from trisignal_pipeline.market.bars import PRICE_UNIT

_DECIMALS = 9
_LARGEST = 2**62  # some four billion points; the difference of two such prices is still an int64
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])


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
        scaled = Decimal(text.strip()).scaleb(_DECIMALS, _EXACT)
    except ArithmeticError:
        scaled = Decimal("NaN")
    if not scaled.is_finite() or abs(scaled) > _LARGEST:
        raise ValueError(f"{text!r} is not a price")
    whole = scaled.to_integral_value()
    if scaled != whole:
        raise ValueError(f"{text!r} has more than {_DECIMALS} decimals, which no price has")
    return int(whole)
