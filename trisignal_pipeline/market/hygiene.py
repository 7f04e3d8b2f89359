"""Which bars can be believed.

Three sets of rules, each a superset of what the one before guards against:

basic    what the legacy table refuses: an undefined price, a high or low that isn't one, a
         negative price in a market that can't have one;
strict   what the clean table refuses: the same, and a price below the market's floor;
locked   what guards a signal computed from the legacy table: strict, and jumps from the last good
         close. "Locked" because the rules are a fixed decision, and because a run of rejections
         locks the series out until a close comes near the last good one again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE, Bars, Bools


class Rule(StrEnum):
    """The name a rejected bar is reported under."""

    UNDEFINED_PRICE = "UNDEFINED_PRICE"
    OHLC_INTEGRITY = "OHLC_INTEGRITY"
    NEGATIVE_PRICE = "NEGATIVE_PRICE"
    DUPLICATE_MINUTE = "DUPLICATE_MINUTE"
    PRICE_FLOOR = "PRICE_LT_1000"
    DISCONTINUITY = "DISCONTINUITY_500"
    SMALL_RANGE_BIG_GAP = "SMALL_RANGE_BIG_GAP_150"
    FLAT_DISCONTINUITY = "FLAT_DISCONTINUITY_50"


@dataclass(frozen=True, slots=True)
class HygieneThresholds:
    """What a market's prices are held against, in int64 units of 1e-9; None switches a rule off.

    The rule names carry the numbers of an index future near 20,000, for which they were made; the
    numbers themselves belong to the market.
    """

    price_floor: int | None = 0
    discontinuity: int | None = None
    small_range: int | None = None
    big_gap: int | None = None
    flat_discontinuity: int | None = None


INDEX_FUTURE = HygieneThresholds(
    price_floor=1000 * PRICE_UNIT,
    discontinuity=500 * PRICE_UNIT,
    small_range=10 * PRICE_UNIT,
    big_gap=150 * PRICE_UNIT,
    flat_discontinuity=50 * PRICE_UNIT,
)
