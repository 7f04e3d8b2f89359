"""How fast the signal is, and how much memory it takes.

Bars are random walks with a slow drift, so that gaps which are never filled add up, as they do over
the years of a real future. Each figure is the best of a few runs on one core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context

import numba
import numpy as np

from trisignal_pipeline.market.bars import Bars, Int64s
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.bias import bias_of, no_bars_yet
from trisignal_pipeline.signal.checkpoint import from_bytes, to_bytes
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline_tests.benchmarks.measurement import Measured, best_of, peak_mb
from trisignal_pipeline_tests.signal.generated_bars import rows_of, session_minutes, walk
from trisignal_pipeline_tests.signal.plain_signal import MINUTE, PlainBias

MANY, FEW, PLAIN = 5_000_000, 100_000, 20_000
SCANNED = 2_000_000
DRIFT = 0.004

LOADING = """
import json, time
import numba
began = time.perf_counter()
from trisignal_pipeline.signal import folding, kernel
print(json.dumps(time.perf_counter() - began))
"""


@numba.njit
def scanned(high: Int64s, low: Int64s, close: Int64s, bias_out: Int64s) -> int:
    """The same rules, compiled, with every gap looked at on every bar; the gaps alive at the end.

    It follows the thresholds alone: for each set the price that removes a gap, and the other bound.
    """
    n = len(high)
    # Bullish, bearish, bearish inverse, bullish inverse.
    gaps = np.empty((4, n, 2), np.int64)
    alive = np.zeros(4, np.int64)
    bias = 0
    highest, lowest = high[0], low[0]
    for i in range(n):
        c = close[i]
        if i > 0:
            if c > highest:
                bias = 1
            elif c < lowest:
                bias = -1
        highest, lowest = max(highest, high[i]), min(lowest, low[i])
        if i > 1 and high[i - 2] < low[i]:
            gaps[0, alive[0], 0], gaps[0, alive[0], 1] = high[i - 2], low[i]
            alive[0] += 1
        if i > 1 and low[i - 2] > high[i]:
            gaps[1, alive[1], 0], gaps[1, alive[1], 1] = low[i - 2], high[i]
            alive[1] += 1
        for which in range(4):
            falls = which in {0, 3}
            kept = 0
            for row in range(alive[which]):
                threshold, other = gaps[which, row, 0], gaps[which, row, 1]
                if (threshold > c) if falls else (threshold < c):
                    bias = -1 if falls else 1
                    if which < 2:
                        gaps[which + 2, alive[which + 2], 0] = other
                        gaps[which + 2, alive[which + 2], 1] = threshold
                        alive[which + 2] += 1
                else:
                    gaps[which, kept, 0], gaps[which, kept, 1] = threshold, other
                    kept += 1
            alive[which] = kept
        bias_out[i] = bias
    return int(alive.sum())


def one_series(n: int) -> tuple[float, int]:
    """Seconds for the bias of `n` bars, and the gaps alive at the end."""
    bars = walk(np.arange(n) * MINUTE, seed=1, drift=DRIFT)
    columns = bars.ts, bars.high, bars.low, bars.close
    state, _ = bias_of(no_bars_yet(), *columns)
    return best_of(5, lambda: bias_of(no_bars_yet(), *columns)), state.gaps_alive


def scanning_series(n: int) -> tuple[float, int]:
    """The same for the compiled scanning version, whose result must be the same."""
    bars = walk(np.arange(n) * MINUTE, seed=1, drift=DRIFT)
    bias = np.empty(n, np.int64)
    scanned(bars.high[:10], bars.low[:10], bars.close[:10], bias)
    began = time.perf_counter()
    alive = scanned(bars.high, bars.low, bars.close, bias)
    seconds = time.perf_counter() - began
    state, expected = bias_of(no_bars_yet(), bars.ts, bars.high, bars.low, bars.close)
    assert np.array_equal(bias, expected)
    assert alive == state.gaps_alive
    return seconds, alive


def plain_series(n: int) -> float:
    """Seconds of the uncompiled scanning version for `n` bars."""
    rows = rows_of(walk(np.arange(n) * MINUTE, seed=1, drift=DRIFT))

    def scan() -> None:
        series = PlainBias()
        for row in rows:
            series.add(row)

    return best_of(1, scan)


def many_session_bars() -> Bars:
    """`MANY` bars on the minutes of real sessions, one in thirty missing."""
    minutes = session_minutes(sessions("cme_equity", date(2010, 1, 4), date(2026, 4, 30)), 0.97)
    return walk(minutes[:MANY], seed=1, drift=DRIFT)


def whole_signal() -> dict[str, float]:
    """Six timeframes, triangles and a saved state over `MANY` bars; seconds, counts and MB."""
    bars = many_session_bars()
    filters = TriangleFilters(htf_aligned_only=True, require_engulfing=True)
    memory_of_bars = peak_mb()

    def once() -> None:
        _, series = advance(start(), bars)
        triangles(bars, series, filters, None)

    seconds = best_of(3, once)
    state, series = advance(start(), bars)
    peak = peak_mb()
    saved = to_bytes(state)
    return {
        "bars": len(bars),
        "seconds": seconds,
        "unfiltered": len(triangles(bars, series, TriangleFilters(), None)),
        "gaps": state.gaps_alive,
        "saved_bytes": len(saved),
        "save": best_of(5, lambda: to_bytes(state)),
        "load": best_of(5, lambda: from_bytes(saved)),
        "minute": best_of(50, lambda: advance(state, _one_more(bars))),
        "before": memory_of_bars,
        "peak": peak,
    }


def _one_more(bars: Bars) -> Bars:
    last = bars.take(slice(-1, None))
    columns = (last.open, last.high, last.low, last.close, last.volume, last.contract)
    return Bars(last.ts + MINUTE, *columns, last.contracts)


def loading_times() -> tuple[float, float]:
    """Seconds to compile both kernels on a new machine, and to load them on one that has them."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", LOADING]
        environment = {**os.environ, "TRISIGNAL_HOME": home}
        first, second = (
            json.loads(
                subprocess.run(command, env=environment, capture_output=True, check=True).stdout
            )
            for _ in range(2)
        )
    return first, second


def measure() -> list[Measured]:
    """One series against the scanning versions, then everything at once."""
    compiling, loading = loading_times()
    few, _ = one_series(FEW)
    many, gaps = one_series(MANY)
    slow, slow_gaps = scanning_series(SCANNED)
    plain = plain_series(PLAIN)
    share = (MANY / many) / (FEW / few)
    # In a process of its own: its memory is measured.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        whole = process.submit(whole_signal).result()
    return [
        Measured("kernels: compile, once on a machine", compiling, "s"),
        Measured("kernels: load", loading, "s"),
        Measured(f"bias of {FEW:,} bars", FEW / few, "bars/s"),
        Measured(f"bias of {MANY:,} bars", MANY / many, "bars/s", at_least=15_000_000),
        Measured("  gaps alive at the end", gaps, "gaps"),
        Measured(f"  as a share of the rate at {FEW:,}", share * 100, "%", at_least=70),
        Measured(f"scanning version, compiled, {SCANNED:,} bars", SCANNED / slow, "bars/s"),
        Measured("  gaps alive at the end", slow_gaps, "gaps"),
        Measured(f"scanning version, plain, {PLAIN:,} bars", PLAIN / plain, "bars/s"),
        Measured(
            f"six timeframes, sessions, filters, triangles: {whole['bars']:,.0f} bars",
            whole["seconds"],
            "s",
            at_most=2,
        ),
        Measured("  triangles before filters", whole["unfiltered"], "triangles"),
        Measured("  gaps alive at the end", whole["gaps"], "gaps"),
        Measured("  peak memory", whole["peak"], "MB", at_most=1000),
        Measured("  peak memory before, while the bars were made", whole["before"], "MB"),
        Measured("one more minute", whole["minute"] * 1e3, "ms"),
        Measured("saved state", whole["saved_bytes"] / 1e3, "kB"),
        Measured("  to save", whole["save"] * 1e3, "ms"),
        Measured("  to load", whole["load"] * 1e3, "ms"),
    ]
