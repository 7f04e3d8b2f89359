"""The `trisignal` command."""

from __future__ import annotations

import sys

import click

from trisignal_pipeline.commands.api import api
from trisignal_pipeline.commands.backfill import backfill
from trisignal_pipeline.commands.bars import bars
from trisignal_pipeline.commands.code_server import code_server
from trisignal_pipeline.commands.db import db
from trisignal_pipeline.commands.demo import demo
from trisignal_pipeline.commands.dev import dev
from trisignal_pipeline.commands.explain import explain
from trisignal_pipeline.commands.fetch import fetch
from trisignal_pipeline.commands.files import files
from trisignal_pipeline.commands.gaps import gaps
from trisignal_pipeline.commands.housekeeping import housekeeping
from trisignal_pipeline.commands.kept_bars import quarantine, revisions
from trisignal_pipeline.commands.parity import parity
from trisignal_pipeline.commands.quality import quality
from trisignal_pipeline.commands.reading import bias, counts, dataset, runs, triangles, world
from trisignal_pipeline.commands.refresh import refresh
from trisignal_pipeline.commands.reingest import reingest
from trisignal_pipeline.commands.status import status
from trisignal_pipeline.commands.symbols import symbols
from trisignal_pipeline.commands.worker import worker
from trisignal_pipeline.errors import TrisignalError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trisignal-pipeline")
def trisignal() -> None:
    """From Databento 1-minute futures files to trading signals, checked bar by bar.

    \b
    Where things are is set by the environment:
      TRISIGNAL_RAW_DIR       the folder of DBN files           (data/raw)
      TRISIGNAL_HOME          what trisignal keeps for itself   (.trisignal)
      TRISIGNAL_DATABASE_URL  a PostgreSQL server of your own   (unset: an embedded one)

    \b
    Start here:
      trisignal demo
      trisignal backfill GLBX.MDP3:NQ --start 2024-11-01 --end 2025-01-31
      trisignal triangles GLBX.MDP3:NQ --start 2024-11-01 --end 2024-11-01
      trisignal dev
    """


for command in (
    demo,
    dev,
    db,
    symbols,
    fetch,
    backfill,
    reingest,
    refresh,
    status,
    triangles,
    bias,
    counts,
    bars,
    dataset,
    world,
    explain,
    api,
    parity,
    gaps,
    quality,
    runs,
    files,
    quarantine,
    revisions,
    housekeeping,
    code_server,
    worker,
):
    trisignal.add_command(command)


def main() -> None:
    """Run the command line; an error of ours is one line, not a traceback."""
    try:
        trisignal()
    except TrisignalError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
