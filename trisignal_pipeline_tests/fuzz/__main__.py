"""The campaign of bad input: `make fuzz`, or by hand.

    python -m trisignal_pipeline_tests.fuzz [--seconds N] [--seed S] [--case SEED]

Exits with 1 if any case ends in anything but bars, a quarantine or a reason. The file of such a
case is kept, and `--case` runs it again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

import click

from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.benchmarks.measurement import machine
from trisignal_pipeline_tests.fuzz.campaign import Ended, Places, run_cases, seeds_from
from trisignal_pipeline_tests.fuzz.cases import KINDS, make_case
from trisignal_pipeline_tests.fuzz.file_check import Outcome
from trisignal_pipeline_tests.pipeline import create_database, make_dagster_template
from trisignal_pipeline_tests.throwaway_server import throwaway_server

_COLUMNS = (*Outcome, "fault")


@click.command()
@click.option("--seconds", default=600.0, show_default=True, help="How long.")
@click.option("--seed", default=1, show_default=True, help="Which campaign; 0 is the test suite's.")
@click.option("--case", "one", type=int, help="Run this case alone.")
def fuzz(seconds: float, seed: int, one: int | None) -> None:
    """Damage small files of bars in every way and see what the product makes of them."""
    click.echo(machine())
    kept = Path(tempfile.gettempdir(), "trisignal-fuzz-failures")
    with throwaway_server() as server, tempfile.TemporaryDirectory() as folder:
        create_database(server, "bars_template", "template0")
        migrate(server.url("bars_template"))
        dagster_template = make_dagster_template(server, Path(folder))
        places = Places(server, "bars_template", dagster_template)
        if one is not None:
            ended = list(_told(run_cases([one], places), kept))
            click.echo(f"{ended[0].kind}: {ended[0].outcome or 'fault'}")
        else:
            until = time.monotonic() + seconds
            seeds = takewhile(lambda _: time.monotonic() < until, seeds_from(seed))
            began = time.monotonic()
            ended = list(_told(run_cases(seeds, places), kept))
            _summarise(ended, time.monotonic() - began)
    if any(case.fault for case in ended):
        sys.exit(1)


def _told(cases: Iterable[Ended], kept: Path) -> Iterable[Ended]:
    """The cases as they end; of one that went wrong, what, and where its file is."""
    for case in cases:
        if case.fault is not None:
            kept.mkdir(exist_ok=True)
            path = kept / f"{case.seed}.dbn.zst"
            made = make_case(case.seed)
            path.write_bytes(made.content)
            click.echo(f"\ncase {case.seed} ({case.kind}; {made.specimen}): {path}\n{case.fault}")
        yield case


def _summarise(cases: list[Ended], seconds: float) -> None:
    counts = Counter((case.kind, case.outcome or "fault") for case in cases)
    width = max(map(len, KINDS))
    click.echo("\n" + " " * width + "".join(f"{name:>13}" for name in _COLUMNS))
    for kind in KINDS:
        click.echo(f"{kind:{width}}" + "".join(f"{counts[kind, name]:>13,}" for name in _COLUMNS))
    total = Counter(case.outcome or "fault" for case in cases)
    click.echo(f"{'all':{width}}" + "".join(f"{total[name]:>13,}" for name in _COLUMNS))
    click.echo(
        f"\n{len(cases):,} cases in {seconds:,.0f} s; the longest took "
        f"{max(case.seconds for case in cases):.1f} s, the most memory was "
        f"{max(case.peak_mb for case in cases):,.0f} MB"
    )


if __name__ == "__main__":
    fuzz()
