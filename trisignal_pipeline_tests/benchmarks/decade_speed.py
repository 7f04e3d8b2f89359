"""How long ten years of one symbol take in one command, and how much memory."""

from __future__ import annotations

from datetime import date

from trisignal_pipeline_tests.benchmarks.backfill_speed import MEGABYTES, backfilled
from trisignal_pipeline_tests.benchmarks.measurement import Measured
from trisignal_pipeline_tests.benchmarks.trisignal_command import fresh_home

START, END = date(2014, 1, 1), date(2023, 12, 31)


def measure() -> list[Measured]:
    """All of it into an empty home."""
    with fresh_home() as trisignal:
        trisignal.generate("NQ", START, END)
        run = backfilled(trisignal, START, END)
    days = (END - START).days + 1
    return [
        Measured("ten years", run.seconds, "s"),
        Measured("  processor time of it, without the server's", run.cpu_seconds, "s"),
        Measured("  a date", run.seconds / days * 1000, "ms"),
        Measured("  peak memory", run.peak_mb, "MB", at_most=MEGABYTES),
    ]
