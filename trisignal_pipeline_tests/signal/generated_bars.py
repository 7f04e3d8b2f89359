"""Bars to try the signal on: by hand, by chance with a seed, and by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.sessions import Sessions
from trisignal_pipeline_tests.signal.plain_signal import MINUTE, PlainBar, PlainSession

TICK = 250_000_000


def bars_of(rows: Sequence[PlainBar]) -> Bars:
    """(ts, open, high, low, close) rows as columns; volume 1, one contract."""
    columns = np.array(rows, np.int64).reshape(-1, 5).T.copy()
    n = columns.shape[1]
    return Bars(*columns, np.ones(n, np.int64), np.zeros(n, np.int32), ("NQZ4",))


def rows_of(bars: Bars) -> list[PlainBar]:
    columns = (bars.ts, bars.open, bars.high, bars.low, bars.close)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def session_rows(sessions: Sessions) -> list[PlainSession]:
    columns = (
        sessions.open_ns,
        sessions.close_ns,
        sessions.daily_open_ns,
        sessions.daily_close_ns,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def walk(ts: np.ndarray, seed: int, step: float = 2.0, drift: float = 0.0) -> Bars:
    """A random walk in whole ticks over the minutes `ts`, with ties, dojis and gaps."""
    rng = np.random.default_rng(seed)
    n = len(ts)
    close = 80_000 + np.round(np.cumsum(rng.normal(drift, step, n))).astype(np.int64)
    opened = np.concatenate(([80_000], close[:-1])) + rng.integers(-1, 2, n)
    high = np.maximum(opened, close) + rng.integers(0, 4, n)
    low = np.minimum(opened, close) - rng.integers(0, 4, n)
    prices = (column * TICK for column in (opened, high, low, close))
    return Bars(
        np.asarray(ts, np.int64),
        *prices,
        rng.integers(1, 500, n),
        np.zeros(n, np.int32),
        ("NQZ4",),
    )


def session_minutes(sessions: Sessions, share: float = 1.0, seed: int = 0) -> np.ndarray:
    """The minutes of `sessions`, each of them traded with the probability `share`."""
    bounds = zip(sessions.open_ns, sessions.close_ns, strict=True)
    ts = np.concatenate([np.arange(start, end, MINUTE) for start, end in bounds])
    return ts[np.random.default_rng(seed).random(len(ts)) < share]


@st.composite
def price_paths(draw: st.DrawFn, max_size: int = 80) -> list[tuple[int, int, int, int]]:
    """(open, high, low, close) of bars whose prices are few, so that they often tie.

    Steps are small (plateaus, dojis), with a jump now and then (gaps).
    """
    step = st.one_of(st.integers(-2, 2), st.integers(-12, 12))
    size = draw(st.integers(1, max_size))
    close = draw(st.integers(-5, 100))
    path = []
    for _ in range(size):
        opened = close + draw(step)
        close = opened + draw(step)
        wicks = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        path.append((opened, max(opened, close) + wicks[0], min(opened, close) - wicks[1], close))
    return path


@st.composite
def series_over(draw: st.DrawFn, minutes: Sequence[int], max_size: int = 120) -> list[PlainBar]:
    """Bars over some of `minutes`, in order, with a bias for long runs and for single holes."""
    path = draw(price_paths(max_size))
    first = draw(st.integers(0, max(0, len(minutes) - 1)))
    row = first
    bars = []
    for prices in path:
        if row >= len(minutes):
            break
        bars.append((minutes[row], *prices))
        row += draw(st.sampled_from((1, 1, 1, 1, 1, 2, 3, 7, 40, 300)))
    return bars
