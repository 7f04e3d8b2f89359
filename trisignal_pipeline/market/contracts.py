"""Futures contracts by their raw symbols: `NQZ4` is the December 2024 contract of the root NQ.

Only what the letters of a symbol say belongs here. Which instrument id a symbol had on a date is in
the metadata of the file, which contract stands for the market on a date in `lead_contract`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from trisignal_pipeline.errors import SymbolError
from trisignal_pipeline.market.symbols import parse_continuous

MONTH_CODES = "FGHJKMNQUVXZ"
"""The letters of January to December."""

_OUTRIGHT = re.compile(
    rf"(?P<root>[A-Z0-9]{{1,8}})(?P<month>[{MONTH_CODES}])(?P<year>[0-9]{{1,2}})"
)
_PARENT = re.compile(r"(?P<root>[A-Z0-9]{1,8})\.FUT")


@dataclass(frozen=True, slots=True)
class Outright:
    """The parts of an outright's raw symbol.

    month       1 to 12
    year        as written: 4 of `NQZ4`, 24 of `NQZ24`
    year_digits how many digits the year has, 1 or 2
    """

    root: str
    month: int
    year: int
    year_digits: int

    def delivery_month(self, on: date) -> int:
        """The month of delivery as `year * 12 + month - 1`, for a contract that traded on `on`.

        One digit of a year comes round every ten years: it means the first such month at or after
        that of `on`. Two digits are years of this century.
        """
        if self.year_digits == 2:
            return (2000 + self.year) * 12 + self.month - 1
        this_month = on.year * 12 + on.month - 1
        same_decade = (on.year - on.year % 10 + self.year) * 12 + self.month - 1
        return same_decade if same_decade >= this_month else same_decade + 120


@lru_cache(maxsize=16_384)
def parse_outright(raw_symbol: str) -> Outright | None:
    """The parts of `raw_symbol`; None for anything but a single contract month.

    Spreads (`NQZ4-NQH5`), other strategies (`UD:1V: ...`) and continuous symbols are None.
    """
    match = _OUTRIGHT.fullmatch(raw_symbol)
    if match is None:
        return None
    return Outright(
        match["root"],
        MONTH_CODES.index(match["month"]) + 1,
        int(match["year"]),
        len(match["year"]),
    )


@lru_cache(maxsize=65_536)
def delivery_month(raw_symbol: str, on: date) -> int:
    """The month an outright that traded on `on` delivers in, as `year * 12 + month - 1`.

    Raises:
        SymbolError: `raw_symbol` is not an outright.
    """
    contract = parse_outright(raw_symbol)
    if contract is None:
        raise SymbolError(
            f"{raw_symbol!r} is not a single contract month such as NQZ4: it has no delivery month"
        )
    return contract.delivery_month(on)


def root_of(symbol: str) -> str | None:
    """The root of an outright (`NQZ4`), a parent (`NQ.FUT`) or a continuous symbol (`NQ.v.0`).

    None for what belongs to no single market: spreads, strategies, ids.
    """
    if contract := parse_outright(symbol):
        return contract.root
    if parent := _PARENT.fullmatch(symbol):
        return parent["root"]
    continuous = parse_continuous(symbol)
    return continuous[0] if continuous else None
