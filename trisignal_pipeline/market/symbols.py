"""Symbols: `GLBX.MDP3:NQ` inside, Databento's `NQ.v.0` only at the ingestion boundary."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

from trisignal_pipeline.errors import SymbolError
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.hygiene import HygieneThresholds

_INTERNAL = re.compile(r"(?P<dataset>[A-Z0-9]+\.[A-Z0-9]+):(?P<root>[A-Z0-9]{1,8})")
_CONTINUOUS = re.compile(r"(?P<root>[A-Z0-9]{1,8})\.(?P<rule>[cnv])\.(?P<rank>[0-9]{1,3})")


class RollRule(StrEnum):
    """How the contract that stands for the market is chosen."""

    CALENDAR = "c"
    OPEN_INTEREST = "n"
    VOLUME = "v"


class Anchor(StrEnum):
    """Where the periods of the higher timeframes start."""

    SESSION = "session"
    UTC = "utc"


@dataclass(frozen=True, slots=True, order=True)
class InternalSymbol:
    """A market as it is called inside: dataset and root, printed as `GLBX.MDP3:NQ`."""

    dataset: str
    root: str

    def __str__(self) -> str:
        return f"{self.dataset}:{self.root}"


@dataclass(frozen=True, slots=True)
class TriangleFilters:
    """Which triangles count. All off: every flip of the 1-minute bias is one."""

    require_engulfing: bool = False
    require_sweep_engulfing: bool = False
    htf_aligned_only: bool = False
    aligned_timeframes: tuple[str, ...] = ("5m", "15m", "1h", "4h", "1d")


@dataclass(frozen=True, slots=True)
class Market:
    """One row of the symbol registry: a market and everything that is particular to it.

    tick_size is in price points; None where it isn't known. history_start bounds the bars the
    signal may use; None means the first one stored. More legacy bars than lockout_alarm_minutes
    rejected in a row are an alarm. rules is all of the row that decides the signals, as one text to
    compare by; it is read with the rest, so that a change made meanwhile can't come between them.
    """

    symbol: InternalSymbol
    roll_rule: RollRule = RollRule.VOLUME
    rank: int = 0
    anchor: Anchor = Anchor.SESSION
    session_profile: str = "cme_equity"
    hygiene: HygieneThresholds = field(default_factory=HygieneThresholds)
    filters: TriangleFilters = field(default_factory=TriangleFilters)
    tick_size: Decimal | None = None
    history_start: date | None = None
    lockout_alarm_minutes: int = 30
    is_active: bool = True
    asset_class: str | None = "index_future"
    rules: str = field(default="", compare=False, repr=False)

    @property
    def continuous(self) -> str:
        """What Databento calls this market, for instance `NQ.v.0`."""
        return to_databento_continuous(str(self.symbol), self.roll_rule, self.rank)

    @property
    def tick(self) -> int | None:
        """tick_size in int64 units of 1e-9, exactly; None where it isn't known."""
        return None if self.tick_size is None else int(self.tick_size * PRICE_UNIT)


def parse_internal(symbol: str) -> InternalSymbol:
    """`GLBX.MDP3:NQ` in its two parts.

    Raises:
        SymbolError: `symbol` is not of that form.
    """
    match = _INTERNAL.fullmatch(symbol)
    if match is None:
        raise SymbolError(
            f"symbol {symbol!r} is not an internal symbol; write DATASET:ROOT, "
            "for instance GLBX.MDP3:NQ"
        )
    return InternalSymbol(match["dataset"], match["root"])


def parse_continuous(symbol: str) -> tuple[str, RollRule, int] | None:
    """Root, roll rule and rank of a continuous symbol such as `NQ.v.0`; None if it isn't one."""
    match = _CONTINUOUS.fullmatch(symbol)
    return None if match is None else (match["root"], RollRule(match["rule"]), int(match["rank"]))


def to_databento_continuous(symbol: str, roll_rule: str = "v", rank: int = 0) -> str:
    """What Databento calls the market `symbol`: `GLBX.MDP3:NQ`, `v`, 0 gives `NQ.v.0`.

    A symbol that is continuous already passes through unchanged.

    Raises:
        SymbolError: anything else, a roll rule other than c, n, v, or a negative rank.
    """
    if parse_continuous(symbol) is not None:
        return symbol
    if roll_rule not in set(RollRule):
        raise SymbolError(f"roll_rule {roll_rule!r} is not one of c, n, v (symbol {symbol})")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
        raise SymbolError(f"rank {rank!r} is not a whole number from 0 up (symbol {symbol})")
    return f"{parse_internal(symbol).root}.{RollRule(roll_rule)}.{rank}"
