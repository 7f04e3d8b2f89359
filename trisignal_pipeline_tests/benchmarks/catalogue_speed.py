"""How fast DBN files are verified, and how fast the lead contract's bars are read from them.

A record is a bar of any instrument in the file, contract months and spreads alike; a bar is one of
the lead contract.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.lead_contract import Traded, lead_contracts
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars
from trisignal_pipeline.sources.sample_files import write_history
from trisignal_pipeline_tests.benchmarks.measurement import Measured, best_of

YEAR = DateRange(date(2023, 1, 1), date(2023, 12, 31))


def measure() -> list[Measured]:
    """A year of NQ.FUT in one file, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_history(Path(folder), "NQ", YEAR.start, YEAR.end, files="history")
        megabytes = path.stat().st_size / 1e6
        file = inspect(path)
        assert isinstance(file, DbnFile), file
        traded = [
            Traded(day.date, day.contract, day.volume, day.first_ns, day.last_ns)
            for day in file.days
        ]
        leads = lead_contracts(traded, "v")
        inspecting = best_of(3, lambda: inspect(path))

        def read() -> int:
            return sum(len(bars) for bars in read_bars(file, leads, YEAR.start_ns, YEAR.end_ns))

        bars, reading = read(), best_of(3, read)
    return [
        Measured("records in the file", file.record_count, "records"),
        Measured("  compressed", megabytes, "MB"),
        Measured("verify (decompress, hash, name every record)", inspecting, "s"),
        Measured("  records", file.record_count / inspecting, "records/s"),
        Measured("read the lead contract", reading, "s"),
        Measured("  records", file.record_count / reading, "records/s"),
        Measured("  bars", bars / reading, "bars/s"),
    ]
