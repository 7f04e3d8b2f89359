"""Whether the sessions of a market were held against real ones, and what to say where not."""

from __future__ import annotations

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.sessions import VERIFIED_SPAN
from trisignal_pipeline.market.symbols import Anchor, Market

INDEX_FUTURE_CLASS = "index_future"
"""The only class of markets whose sessions were checked: CME's equity index futures."""


def hours_are_checked(market: Market) -> bool:
    """Whether the hours of this kind of market were held against traded minutes."""
    return market.asset_class == INDEX_FUTURE_CLASS


def calendar_warning(market: Market, dates: DateRange) -> str | None:
    """What to say where the sessions of `dates` are not verified; None where they are.

    Under the UTC anchor sessions play no part.
    """
    if market.anchor == Anchor.UTC:
        return None
    if not hours_are_checked(market):
        return (
            f"{market.symbol}: the trading hours are those of CME's equity index futures and were "
            "not checked for this market; minutes outside them belong to no higher bar"
        )
    if VERIFIED_SPAN.start <= dates.start and dates.end <= VERIFIED_SPAN.end:
        return None
    return (
        f"{market.symbol}: the trading hours are verified from {VERIFIED_SPAN.start} to "
        f"{VERIFIED_SPAN.end} only; outside, higher bars follow the calendar library's rules"
    )
