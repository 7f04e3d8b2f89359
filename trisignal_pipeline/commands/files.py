"""`trisignal files`: the catalogue of raw files, and the verification of files anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from trisignal_pipeline.commands.printing import format_option, print_table
from trisignal_pipeline.errors import MissingFileError
from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.query.files import catalogued_files
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile
from trisignal_pipeline.sources.raw_folder import candidate_files, changed_files
from trisignal_pipeline.sources.verification import Verified, absent_files, verify
from trisignal_pipeline.storage.readiness import ready_database

_COLUMNS = ("file", "verdict", "reason", "dataset", "symbols", "from", "to", "records", "job")
_NOT_THERE = "manifest.json lists it, and it isn't there: download it"


@click.group(invoke_without_command=True)
@click.option("--refused", is_flag=True, help="Only files that can't be used.")
@format_option
@click.pass_context
def files(context: click.Context, refused: bool, form: str) -> None:
    """List the catalogue of the raw folder: each file with its verdict, and what it holds.

    A file is catalogued when raw_dbn_files is materialised next, by `trisignal backfill` or in the
    UI. Verdicts are verified, refused (with the reason), and missing.
    """
    if context.invoked_subcommand is not None:
        return
    settings = Settings.from_environment()
    with ready_database(settings).reading().connect("files") as connection:
        print_table(catalogued_files(connection, settings.raw_dir, refused_only=refused), form)


@files.command(name="verify")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@format_option
def verify_(paths: tuple[Path, ...], form: str) -> None:
    """Check files, or all files below folders, without a database and without writing anything.

    What a job of Databento's left beside a file is taken into account. Exits with 1 if a file is
    refused, or listed by a manifest and not there.
    """
    rows = [row for path in paths for row in _verdicts(path)]
    print_table(Table(_COLUMNS, iter(rows)), form)
    if any(row[1] != "verified" for row in rows):
        sys.exit(1)


def _verdicts(path: Path) -> Iterator[tuple[Any, ...]]:
    if not path.exists():
        raise MissingFileError(f"there is no {path}; name a file or a folder of files")
    if not path.is_dir():
        yield from _rows(verify(changed_files([path], {}), None))
        return
    yield from _rows(verify(changed_files(candidate_files(path), {}), path))
    for absent in absent_files(path):
        yield (str(absent), "missing", _NOT_THERE, *[None] * (len(_COLUMNS) - 3))


def _rows(verified: Iterable[Verified]) -> Iterator[tuple[Any, ...]]:
    for one in verified:
        file = one.file
        reason = file.reason if isinstance(file, RefusedFile) else None
        yield (
            str(file.path),
            "verified" if reason is None else "refused",
            reason,
            file.dataset,
            list(file.symbols),
            None if file.start_ns is None else utc(file.start_ns),
            None if file.end_ns is None else utc(file.end_ns),
            file.record_count if isinstance(file, DbnFile) else None,
            one.job_id,
        )
