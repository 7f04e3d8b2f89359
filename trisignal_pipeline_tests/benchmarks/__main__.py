"""Measured speed and memory: `make bench`, or by subject.

    python -m trisignal_pipeline_tests.benchmarks [SUBJECT ...]

Exits with 1 if a figure misses its target. Each subject is measured in a process of its own, so
that neither its memory nor what it has loaded already is another's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import click

from trisignal_pipeline_tests.benchmarks.measurement import machine, measure, show

SUBJECTS = {
    "backfill": "three months of NQ, from files to triangles, through Dagster",
    "decade": "ten years of the same from generated files",
    "daemon": "the same ten years as a backfill that the daemon runs",
    "catalogue": "verifying DBN files, and reading them",
    "bars": "bars from DBN files into PostgreSQL, and from legacy to clean",
    "history": "a file of a gigabyte: how much memory it takes",
    "signal": "bias, higher timeframes and triangles",
    "api": "the HTTP interface under load",
    "new_day": "one new day of fifteen years, and corrections",
}


@click.command()
@click.argument("subjects", nargs=-1, type=click.Choice(list(SUBJECTS)), metavar="[SUBJECT]...")
def bench(subjects: Sequence[str]) -> None:
    """Measure SUBJECTs (all by default): backfill, decade, daemon, catalogue, bars, history,
    signal, api, new_day."""
    click.echo(machine())
    missed = 0
    for subject in subjects or SUBJECTS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            measured = process.submit(measure, subject).result()
        click.echo()
        show(f"{subject}: {SUBJECTS[subject]}", measured)
        missed += sum(not figure.ok for figure in measured)
    if missed:
        click.echo(f"\n{missed} targets missed", err=True)
        sys.exit(1)


if __name__ == "__main__":
    bench()
