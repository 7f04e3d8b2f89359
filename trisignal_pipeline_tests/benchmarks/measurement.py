"""What a benchmark measures: figures with their targets, and how they are shown."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click

REAL_INPUT = Path(__file__).parents[3] / "shared" / "data" / "nq_fut"


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure, and what it has to be; without a limit it is there to be read."""

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the figure keeps within its limits."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def target(self) -> str:
        """The limit in words, empty where there is none."""
        if self.at_most is not None:
            return f"at most {_rounded(self.at_most)} {self.unit}"
        if self.at_least is not None:
            return f"at least {_rounded(self.at_least)} {self.unit}"
        return ""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended well. Memory and processor time are its own, without the server's."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def timed(command: Sequence[str], environment: Mapping[str, str]) -> Ran:
    """Run `command` to its end.

    The kernel counts a child's peak memory from the size its parent had: what measures must stay
    smaller than what is measured.

    Raises:
        CalledProcessError: it ended with another code than 0; what it said goes to the terminal.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of `runs` runs."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def peak_mb() -> float:
    """The most memory this process has held since it began, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def machine() -> str:
    """What the figures were measured on, in one line."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    quiet = "" if load < 0.5 else f"; others use it (load {load:.1f}): the figures are disturbed"
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}{quiet}"


def measure(subject: str) -> Sequence[Measured]:
    """What the module of `subject` measures."""
    module = import_module(f"trisignal_pipeline_tests.benchmarks.{subject}_speed")
    measured: Sequence[Measured] = module.measure()
    return measured


def show(subject: str, measured: Sequence[Measured]) -> None:
    """Print a table: what was measured, how much, what it has to be, and whether it is."""
    rows = [
        (
            figure.what,
            f"{_rounded(figure.value)} {figure.unit}",
            figure.target,
            "" if not figure.target else "ok" if figure.ok else "MISSED",
        )
        for figure in measured
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    click.echo(subject)
    for what, value, target, verdict in rows:
        line = f"  {what:<{widths[0]}}  {value:>{widths[1]}}  {target:<{widths[2]}}  {verdict}"
        click.echo(line.rstrip())


def _rounded(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"
