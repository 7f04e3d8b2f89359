"""Stored biases and triangles as columns of codes, to be compared with what a replay makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.schemas import BIAS_COLUMNS, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.agreement import UNKNOWN
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.replay import BiasSeries
from trisignal_pipeline.signal.rules import BIAS_NAMES, BULLISH, DIRECTION_NAMES
from trisignal_pipeline.signal.triangles import Triangles


def bias_of_frame(frame: pd.DataFrame) -> BiasSeries:
    """The rows of `read_bias`; a word that is no bias becomes `UNKNOWN`."""
    return BiasSeries(frame["ts"].to_numpy(np.int64), _biases(frame, BIAS_COLUMNS))


def triangles_of_frame(frame: pd.DataFrame, filters: TriangleFilters) -> Triangles:
    """The rows of `read_triangles`, called found with `filters`; all but BULL count as BEAR."""
    return Triangles(
        frame["ts"].to_numpy(np.int64),
        np.where((frame["direction"] == DIRECTION_NAMES[BULLISH]).to_numpy(np.bool_), 1, -1).astype(
            np.int8
        ),
        _biases(frame, TRIANGLE_BIAS_COLUMNS),
        **{
            name: frame[name].to_numpy(np.bool_)
            for name in ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
        },
        filters=filters,
    )


def _biases(frame: pd.DataFrame, columns: Sequence[str]) -> Int8s:
    codes = np.full((len(columns), len(frame)), UNKNOWN, np.int8)
    for row, name in enumerate(columns):
        for code in (-1, 0, 1):
            codes[row][(frame[name] == BIAS_NAMES[code]).to_numpy(np.bool_)] = code
    return codes.T
