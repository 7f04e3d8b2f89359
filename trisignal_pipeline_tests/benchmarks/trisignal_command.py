"""The `trisignal` command as a user runs it, in a home of its own that is gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from trisignal_pipeline_tests.benchmarks.measurement import Ran, timed

_GENERATE = """
import sys
from datetime import date
from pathlib import Path
from trisignal_pipeline.sources.sample_files import write_history
write_history(Path(sys.argv[1]), sys.argv[2], *map(date.fromisoformat, sys.argv[3:5]))
"""


@dataclass(frozen=True, slots=True)
class Trisignal:
    """The command, in one home and over one folder of raw files."""

    home: Path
    raw_dir: Path

    def run(self, *arguments: str) -> Ran:
        """Run it to its end."""
        program = Path(sys.executable).with_name("trisignal")
        return timed([str(program), *arguments], self._environment())

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one that goes on until it is told to stop; what it says goes to a file."""
        program = Path(sys.executable).with_name("trisignal")
        with (self.home.parent / f"{arguments[0]}.log").open("wb") as log:
            return subprocess.Popen(
                [str(program), *arguments], env=self._environment(), stdout=log, stderr=log
            )

    def generate(self, root: str, start: date, end: date) -> Ran:
        """Fill the raw folder, in a process of its own: the market takes memory to make."""
        arguments = str(self.raw_dir), root, start.isoformat(), end.isoformat()
        return timed([sys.executable, "-c", _GENERATE, *arguments], self._environment())

    def _environment(self) -> dict[str, str]:
        ours = ("TRISIGNAL_", "DAGSTER_", "NUMBA_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        places = {"TRISIGNAL_HOME": str(self.home), "TRISIGNAL_RAW_DIR": str(self.raw_dir)}
        return {**kept, **places}


@contextmanager
def fresh_home(raw_dir: Path | None = None) -> Iterator[Trisignal]:
    """The command on a machine that has never run it; its server is deleted at the end.

    Without `raw_dir` the raw folder is an empty one.
    """
    with tempfile.TemporaryDirectory(prefix="trisignal-bench-") as folder:
        trisignal = Trisignal(Path(folder) / "home", raw_dir or Path(folder) / "raw")
        try:
            yield trisignal
        finally:
            trisignal.run("db", "reset", "--yes")
