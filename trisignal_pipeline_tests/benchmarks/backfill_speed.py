"""How long the main job takes, and how much memory: three months of NQ into an empty home.

The home is a new one: the first run also makes the server, its schema and the compiled kernels.
"""

from __future__ import annotations

from datetime import date

from trisignal_pipeline_tests.benchmarks.measurement import REAL_INPUT, Measured, Ran
from trisignal_pipeline_tests.benchmarks.trisignal_command import Trisignal, fresh_home

START, END = date(2024, 11, 1), date(2025, 1, 31)
SECONDS, MEGABYTES = 25, 600


def backfilled(trisignal: Trisignal, start: date, end: date) -> Ran:
    """One run of `trisignal backfill`."""
    dates = "--start", start.isoformat(), "--end", end.isoformat()
    return trisignal.run("backfill", "GLBX.MDP3:NQ", *dates)


def measure() -> list[Measured]:
    """A first run, and the same again when everything is there."""
    real = REAL_INPUT.is_dir()
    with fresh_home(REAL_INPUT if real else None) as trisignal:
        if not real:
            trisignal.generate("NQ", START, END)
        first = backfilled(trisignal, START, END)
        again = backfilled(trisignal, START, END)
    files = "real files" if real else "generated files"
    return [
        Measured(f"first run ({files})", first.seconds, "s", at_most=SECONDS),
        Measured("  processor time of it, without the server's", first.cpu_seconds, "s"),
        Measured("  peak memory", first.peak_mb, "MB", at_most=MEGABYTES),
        Measured("the same again, nothing changed", again.seconds, "s", at_most=SECONDS),
        Measured("  processor time of it, without the server's", again.cpu_seconds, "s"),
        Measured("  peak memory", again.peak_mb, "MB", at_most=MEGABYTES),
    ]
