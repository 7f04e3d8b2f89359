"""How much memory a file of a gigabyte takes that holds a market's whole history.

Verified, loaded into the legacy table and from there into the clean one, by a process that has
Dagster and everything else in memory as a run has. The server's memory is its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.sources.records import RECORD
from trisignal_pipeline_tests.benchmarks.measurement import Measured

DATES = DateRange(date(2002, 1, 1), date(2024, 12, 31))
MEGABYTES = 700

# Processes of their own: making the market takes memory, and so does whatever ran before.
_GENERATE = """
import sys
from datetime import date
from pathlib import Path
from trisignal_pipeline.sources.sample_files import write_history
write_history(Path(sys.argv[1]), "NQ", *map(date.fromisoformat, sys.argv[2:4]), files="history")
"""
_LOAD = """
import sys
import time
from datetime import date
from pathlib import Path
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import scalar
from trisignal_pipeline_tests.benchmarks.bars_speed import BULK_ROWS, History, own_database
from trisignal_pipeline_tests.benchmarks.measurement import peak_mb

dates = DateRange(*map(date.fromisoformat, sys.argv[2:4]))
with own_database() as database:
    history = History.catalogued(database, Path(sys.argv[1]))
    with database.connect("benchmark") as connection:
        records = scalar(connection, "SELECT record_count FROM raw_files")
    verified = peak_mb()
    began = time.perf_counter()
    bars = history.load(LEGACY, dates, BULK_ROWS)
    seconds = time.perf_counter() - began
    history.load(CLEAN, dates, BULK_ROWS)
    print(records, verified, bars, seconds, peak_mb())
"""


def measure() -> list[Measured]:
    """Twenty-three years of NQ in one file."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [folder, DATES.start.isoformat(), DATES.end.isoformat()]
        subprocess.run([sys.executable, "-c", _GENERATE, *arguments], check=True)
        [path] = Path(folder).iterdir()
        compressed = path.stat().st_size / 1e6
        loaded = subprocess.run(
            [sys.executable, "-c", _LOAD, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
    records, verified, bars, seconds, peak = map(float, loaded.stdout.split())
    return [
        Measured("the file", records * RECORD.itemsize / 1e6, "MB", at_least=1000),
        Measured("  compressed", compressed, "MB"),
        Measured("  records", records, "records"),
        Measured("peak memory of verifying it", verified, "MB", at_most=MEGABYTES),
        Measured("  of loading all of it as well", peak, "MB", at_most=MEGABYTES),
        Measured("legacy bars", bars, "bars"),
        Measured("  written", bars / seconds, "bars/s"),
    ]
