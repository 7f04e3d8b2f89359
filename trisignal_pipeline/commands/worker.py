"""`trisignal worker`: do runs that the daemon hands out, on this machine."""

from __future__ import annotations

import click

from trisignal_pipeline.settings import Settings


@click.command()
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many runs to do at once, each in a process of its own.",
)
def worker(runs: int) -> None:
    """Take runs from the Redis of TRISIGNAL_BROKER_URL and do them on this machine.

    For a deployment whose dagster.yaml hands runs to workers: see docs/OPERATIONS.md. SIGTERM and
    Ctrl-C let the runs at work finish first.
    """
    from trisignal_pipeline.orchestration.worker import run_worker  # noqa: PLC0415

    run_worker(Settings.from_environment(), runs)
