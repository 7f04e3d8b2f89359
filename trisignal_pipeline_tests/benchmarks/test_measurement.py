"""The benchmarks' own arithmetic: what is a miss, and what a command is charged with."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from trisignal_pipeline_tests.benchmarks.measurement import Measured, show, timed

ALLOCATE = "held = b'x' * (150 * 2**20); print(len(held))"


@pytest.mark.parametrize(
    ("figure", "ok"),
    [
        (Measured("time", 25.0, "s", at_most=25), True),
        (Measured("time", 25.1, "s", at_most=25), False),
        (Measured("rate", 100.0, "bars/s", at_least=100), True),
        (Measured("rate", 99.9, "bars/s", at_least=100), False),
        (Measured("time", 1e9, "s"), True),
    ],
)
def test_only_a_figure_beyond_its_limit_is_a_miss(figure: Measured, ok: bool) -> None:
    assert figure.ok is ok


def test_a_miss_stands_out_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show("backfill", [Measured("first run", 31.26, "s", at_most=25), Measured("rate", 1e6, "/s")])
    assert capsys.readouterr().out.splitlines() == [
        "backfill",
        "  first run        31.3 s  at most 25 s  MISSED",
        "  rate       1,000,000 /s",
    ]


def test_a_command_is_charged_with_what_it_took() -> None:
    ran = timed([sys.executable, "-c", ALLOCATE], os.environ)
    assert ran.output.strip() == str(150 * 2**20)
    assert ran.peak_mb >= 150
    assert 0 < ran.cpu_seconds <= ran.seconds * (os.cpu_count() or 1) + 0.1


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        timed([sys.executable, "-c", "raise SystemExit(3)"], os.environ)
