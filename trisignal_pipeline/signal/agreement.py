"""Whether two versions of a signal agree, and on which minutes they don't."""

from __future__ import annotations

import numpy as np

from trisignal_pipeline.market.bars import Bars, Int64s
from trisignal_pipeline.market.differences import positions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.replay import BiasSeries, LastMinute
from trisignal_pipeline.signal.rules import NEUTRAL
from trisignal_pipeline.signal.triangles import Triangles, triangles

UNKNOWN = 2
"""Stands beside the codes of `rules` for a stored word that is none of theirs."""


def bias_differences(stored: BiasSeries, made: BiasSeries) -> dict[str, Int64s]:
    """On which minutes (OPEN, nanoseconds) stored biases are not those made from the bars.

    Returns:
        `NO_BIAS_ROW`, `NO_BAR` (a stored row too many) and `OTHER_BIAS`, each where it occurs.
    """
    place, common = positions(stored.ts, made.ts)
    _, known = positions(made.ts, stored.ts)
    other = np.zeros(len(stored), np.bool_)
    other[common] = (stored.bias[common] != made.bias[place[common]]).any(axis=1)
    return _occurring(
        NO_BIAS_ROW=made.ts[~known], NO_BAR=stored.ts[~common], OTHER_BIAS=stored.ts[other]
    )


def triangle_differences(
    stored: Triangles, expected: Triangles, *, candles: bool
) -> dict[str, Int64s]:
    """On which minutes (OPEN, nanoseconds) stored triangles are not those expected.

    `candles`: how bars engulf the one before is compared as well.

    Returns:
        `NO_TRIANGLE`, `NO_FLIP` (a stored triangle too many), and where both are there but other
        biases or flags stand on them `OTHER_BIAS`, `OTHER_ALIGNMENT`, `OTHER_CANDLE`.
    """
    keys, made = _keys(stored), _keys(expected)
    place, common = positions(keys, made)
    _, known = positions(made, keys)
    place = place[common]

    def other(*names: str) -> Int64s:
        differs = [
            getattr(stored, name)[common] != getattr(expected, name)[place] for name in names
        ]
        return stored.ts[common][np.logical_or.reduce(differs)]

    return _occurring(
        NO_TRIANGLE=expected.ts[~known],
        NO_FLIP=stored.ts[~common],
        OTHER_BIAS=stored.ts[common][(stored.bias[common] != expected.bias[place]).any(axis=1)],
        OTHER_ALIGNMENT=other("htf_bullish", "htf_bearish"),
        OTHER_CANDLE=other("engulfing", "sweep_engulfing") if candles else expected.ts[:0],
    )


def triangles_at_flips(
    stored: BiasSeries,
    made: BiasSeries,
    bars: Bars,
    previous: LastMinute | None,
    filters: TriangleFilters,
) -> Triangles:
    """The triangles that stored biases call for.

    Args:
        stored: stored biases, codes of `rules` or `UNKNOWN`.
        made: the biases made from `bars`. They stand in for rows that aren't stored, so that a flip
            is told from the bar before it whether its own row is there or not.
        bars: the bars the signal read, in order of time.
        previous: the bar before the first one; None where history starts with them.
        filters: which triangles count.

    Returns:
        Those on minutes that have a stored row.
    """
    bias = made.bias.copy()
    place, common = positions(stored.ts, made.ts)
    bias[place[common]] = _known(stored.bias[common])
    expected = triangles(bars, BiasSeries(bars.ts, bias), filters, previous)
    _, rows = positions(expected.ts, stored.ts)
    return expected.take(rows)


def _known(bias: Int8s) -> Int8s:
    return np.where(bias == UNKNOWN, np.int8(NEUTRAL), bias)


def _keys(found: Triangles) -> Int64s:
    """One ascending number for the minute and the direction of each triangle."""
    return found.ts + found.direction


def _occurring(**found: Int64s) -> dict[str, Int64s]:
    return {name: ts for name, ts in found.items() if len(ts)}
