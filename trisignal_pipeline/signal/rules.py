"""The vocabulary of the signal: timeframes, biases, directions, and the version of the rules."""

from __future__ import annotations

from typing import Final

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import NS_PER_MINUTE

LOGIC_VERSION: Final = "1"
"""Stands on every stored bias and triangle, and in every saved state. Change it whenever the same
bars would give another result: the rules themselves, the dated table of sessions, the closes."""

TIMEFRAMES: Final = ("1m", "5m", "15m", "1h", "4h", "1d")
"""The columns of a bias series, in order."""

HIGHER_TIMEFRAMES: Final = TIMEFRAMES[1:]

PERIOD_NS: Final = {
    "5m": 5 * NS_PER_MINUTE,
    "15m": 15 * NS_PER_MINUTE,
    "1h": 60 * NS_PER_MINUTE,
    "4h": 240 * NS_PER_MINUTE,
    "1d": 0,
}
"""Length of a higher timeframe's periods in nanoseconds; 0 stands for the daily bar, whose length
varies."""

NEUTRAL: Final = 0
BULLISH: Final = 1
BEARISH: Final = -1

BIAS_NAMES: Final = ("Neutral", "Bullish", "Bearish")
"""Names in such an order that a code is its index: -1 finds the last one."""

DIRECTION_NAMES: Final = ("", "BULL", "BEAR")
"""Names of a triangle's direction, found by code like `BIAS_NAMES`; 0 is no triangle."""


def require_timeframe(timeframe: str) -> None:
    """Raise `ConfigurationError` unless `timeframe` is one of `TIMEFRAMES`."""
    if timeframe not in TIMEFRAMES:
        raise ConfigurationError(
            f"timeframe {timeframe!r} does not exist; there are {', '.join(TIMEFRAMES)}"
        )


def require_higher_timeframe(timeframe: str) -> None:
    """Raise `ConfigurationError` unless `timeframe` is one of `HIGHER_TIMEFRAMES`."""
    if timeframe not in HIGHER_TIMEFRAMES:
        raise ConfigurationError(
            f"timeframe {timeframe!r} does not exist; there are {', '.join(HIGHER_TIMEFRAMES)}"
        )
