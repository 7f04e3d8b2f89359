"""Columns of a chart export beside what the database has for them, value by value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trisignal_pipeline.market.bars import Bools, Int64s
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.query.seen_bias import NOT_STORED
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES


@dataclass(frozen=True, slots=True, eq=False)
class ComparedColumn:
    """One column on the bars that both sides have.

    agrees           bool [n]
    held             bool [n], whether the database holds a value to compare with
    chart, database  what each side says in a row, in words
    """

    name: str
    agrees: Bools
    held: Bools
    chart: Callable[[int], str]
    database: Callable[[int], str]

    def differing(self) -> Int64s:
        """The rows that differ."""
        return np.flatnonzero(self.held & ~self.agrees)


def compared_prices(name: str, chart: Int64s, stored: Int64s, adjusted: Int64s) -> ComparedColumn:
    """Prices in units of 1e-9: the chart's, the stored ones, and those with the offset in them."""

    def in_database(row: int) -> str:
        shift = int(adjusted[row] - stored[row])
        stated = points(int(stored[row]))
        return f"{stated} {'+' if shift > 0 else '-'} {points(abs(shift))}" if shift else stated

    return ComparedColumn(
        name, chart == adjusted, _all(chart), lambda row: points(int(chart[row])), in_database
    )


def compared_volume(name: str, chart: Int64s, stored: Int64s) -> ComparedColumn:
    """Volumes, in contracts."""
    return ComparedColumn(
        name,
        chart == stored,
        _all(chart),
        lambda row: str(chart[row]),
        lambda row: str(stored[row]),
    )


def compared_bias(timeframe: str, chart: Int8s, stored: Int8s, held: Bools) -> ComparedColumn:
    """Biases as codes of `rules`; a minute without a stored one agrees with nothing."""

    def in_database(row: int) -> str:
        return "nothing stored" if stored[row] == NOT_STORED else BIAS_NAMES[stored[row]]

    return ComparedColumn(
        f"Bias {timeframe}",
        chart == stored,
        held,
        lambda row: BIAS_NAMES[chart[row]],
        in_database,
    )


def compared_triangles(direction: int, chart: Bools, stored: Bools) -> ComparedColumn:
    """On which bars there is a triangle of one direction (a code of `rules`)."""
    name = DIRECTION_NAMES[direction]
    return ComparedColumn(
        triangle_column(direction),
        chart == stored,
        _all(chart),
        lambda row: name if chart[row] else "none",
        lambda row: name if stored[row] else "none",
    )


def triangle_column(direction: int) -> str:
    """What the column of a direction's triangles is called: `Bull Triangle`."""
    return f"{DIRECTION_NAMES[direction].title()} Triangle"


def _all(chart: Int64s | Bools) -> Bools:
    return np.ones(len(chart), np.bool_)
