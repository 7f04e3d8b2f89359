"""`trisignal demo`: a sample market, all the way from DBN files to triangles."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from trisignal_pipeline.commands.backfill import print_summary
from trisignal_pipeline.commands.printing import print_table
from trisignal_pipeline.commands.progress import progress_bar
from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.query import operations
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.raw_folder import candidate_files
from trisignal_pipeline.sources.sample_files import SAMPLE_WEEK, write_sample_market
from trisignal_pipeline.storage.connection import scalar
from trisignal_pipeline.storage.readiness import ready_database

SYMBOLS = ("GLBX.MDP3:NQ", "GLBX.MDP3:ES")
SAMPLE_FOLDER = "sample-market"


@click.command()
def demo() -> None:
    """Show the whole product on an invented market, without any data of your own.

    Writes a week of two futures as real DBN files below TRISIGNAL_RAW_DIR, materialises every
    asset through Dagster, and prints what came of it. A second run finds everything done.
    """
    started = time.perf_counter()
    settings = Settings.from_environment()
    _require_a_place_for_play(settings)
    folder = settings.raw_dir / SAMPLE_FOLDER
    if not folder.is_dir() or not candidate_files(folder):
        files = write_sample_market(folder)
        click.echo(f"wrote {len(files)} DBN files of an invented market to {folder}")

    from trisignal_pipeline.orchestration.backfill import backfill  # noqa: PLC0415

    succeeded = True
    for symbol in SYMBOLS:
        with progress_bar(symbol, SAMPLE_WEEK) as progress:
            done = backfill(settings, symbol, SAMPLE_WEEK, progress)
        print_summary(done)
        succeeded &= done.succeeded
    _print_what_is_there(settings)
    click.echo(f"all of it took {time.perf_counter() - started:.0f} s")
    click.echo("open the Dagster UI with: make dev   (or: trisignal dev)")
    if not succeeded:
        sys.exit(1)


def _print_what_is_there(settings: Settings) -> None:
    database = ready_database(settings).reading()
    for title, query in (
        (
            "Rows (legacy bars are stamped by the close, the others by the open)",
            operations.row_counts,
        ),
        ("The audit", lambda connection: operations.ingest_runs_in_short(connection, 4)),
        ("The last triangles", lambda connection: operations.last_triangles(connection, 8)),
    ):
        with database.connect("demo") as connection:
            print_table(query(connection), title=title)


def _require_a_place_for_play(settings: Settings) -> None:
    """Refuse to mix an invented market with a real one."""
    own = settings.raw_dir / SAMPLE_FOLDER
    if settings.raw_dir.is_dir():
        _require_none_else(candidate_files(settings.raw_dir), own)
    with ready_database(settings).reading().connect("demo") as connection:
        stranger = scalar(
            connection,
            """
            SELECT symbol || ' on ' || date FROM bar_dates
            WHERE bar_count > 0 AND NOT (symbol = ANY(%s) AND date BETWEEN %s AND %s) LIMIT 1
            """,
            list(SYMBOLS),
            SAMPLE_WEEK.start,
            SAMPLE_WEEK.end,
        )
    if stranger is not None:
        raise ConfigurationError(
            f"the database holds bars that are not the demo's ({stranger}); run the demo in a home "
            "of its own: TRISIGNAL_HOME=/tmp/demo TRISIGNAL_RAW_DIR=/tmp/demo/raw trisignal demo"
        )


def _require_none_else(files: list[Path], own: Path) -> None:
    strangers = [path for path in files if not path.is_relative_to(own)]
    if strangers:
        raise ConfigurationError(
            f"the raw folder holds files that are not the demo's ({strangers[0]}); run the demo in "
            "a home of its own: TRISIGNAL_HOME=/tmp/demo TRISIGNAL_RAW_DIR=/tmp/demo/raw "
            "trisignal demo"
        )
