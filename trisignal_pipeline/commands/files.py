"""`trisignal files`: the catalogue of raw files, and the verification of files anywhere."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import click

from trisignal_pipeline.commands.printing import (
    MOST_ROWS_FOR_PEOPLE,
    Form,
    format_option,
    print_table,
)
from trisignal_pipeline.errors import MissingFileError
from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.query.files import catalogued_files
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.query.tables import DATE, TEXT, TEXTS, TIME, WHOLE, Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile
from trisignal_pipeline.sources.raw_folder import as_written, candidate_files, changed_files
from trisignal_pipeline.sources.verification import Verified, absent_files, verify

_COLUMNS = {
    "file": TEXT,
    "verdict": TEXT,
    "reason": TEXT,
    "dataset": TEXT,
    "symbols": TEXTS,
    "from": TIME,
    "to": TIME,
    "records": WHOLE,
    "job": TEXT,
}
_FOR_PEOPLE = {
    "file": TEXT,
    "verdict": TEXT,
    "symbols": TEXTS,
    "first": DATE,
    "last": DATE,
    "records": WHOLE,
    "job": TEXT,
}
_UNBROKEN = ("verdict", "first", "last", "records")
_MOST_SYMBOLS_FOR_PEOPLE = 3
_NOT_THERE = "manifest.json lists it, and it isn't there: download it"


@click.group(invoke_without_command=True)
@click.option("--refused", is_flag=True, help="Only files that can't be used.")
@format_option
@click.pass_context
def files(context: click.Context, refused: bool, form: Form) -> None:
    """List the catalogue of the raw folder: each file with its verdict, and what it holds.

    A file is catalogued when raw_dbn_files is materialised next, by `trisignal backfill` or in the
    UI. Verdicts are verified, refused (with the reason, below the table), and missing. csv and json
    have more columns.
    """
    if context.invoked_subcommand is not None:
        return
    settings = Settings.from_environment()
    with questions(settings, "files") as connection:
        _print(catalogued_files(connection, settings.raw_dir, refused_only=refused), form)


@files.command(name="verify")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@format_option
def verify_(paths: tuple[Path, ...], form: Form) -> None:
    """Check files, or all files below folders, without a database and without writing anything.

    What a job of Databento's left beside a file is taken into account. Exits with 1 if a file is
    refused, or listed by a manifest and not there.
    """
    rows = [row for path in paths for row in _verdicts(path)]
    if not rows:
        raise MissingFileError(
            "there is nothing to verify: no name has .dbn in it, or .dbz at its end"
        )
    _print(Table.of_rows(_COLUMNS, rows), form)
    if any(row[1] != "verified" for row in rows):
        sys.exit(1)


def _verdicts(path: Path) -> Iterator[tuple[Any, ...]]:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise MissingFileError(
            f"nothing can be verified at {as_written(path)} ({error.strerror}); name a file or a "
            "folder of files"
        ) from error
    if not is_folder:
        yield from _rows(verify(changed_files([path], {}), None))
        return
    yield from _rows(verify(changed_files(candidate_files(path), {}), path))
    for absent in absent_files(path):
        yield (str(as_written(absent)), "missing", _NOT_THERE, *[None] * (len(_COLUMNS) - 3))


def _print(table: Table, form: Form) -> None:
    """All columns for programs; for people those that fit side by side, and reasons on lines."""
    if not form.for_people:
        print_table(table, form)
        return
    reasons: list[str] = []
    print_table(Table.of_rows(_FOR_PEOPLE, _for_people(table, reasons)), unbroken=_UNBROKEN)
    for line in reasons:
        click.echo(line)


def _for_people(table: Table, reasons: list[str]) -> Iterator[tuple[Any, ...]]:
    for number, values in enumerate(table.rows):
        row = dict(zip(table.columns, values, strict=True))
        start, end, symbols = row["from"], row["to"], row["symbols"] or []
        more = len(symbols) - _MOST_SYMBOLS_FOR_PEOPLE
        if row["reason"] and number < MOST_ROWS_FOR_PEOPLE:
            reasons.append(f"{row['file']}: {row['verdict']}: {row['reason']}")
        yield (
            row["file"],
            row["verdict"],
            [*symbols[:_MOST_SYMBOLS_FOR_PEOPLE], *([f"+{more}"] if more > 0 else [])],
            start and start.astimezone(UTC).date(),
            end and (end.astimezone(UTC) - timedelta(microseconds=1)).date(),
            row["records"],
            row["job"],
        )


def _rows(verified: Iterable[Verified]) -> Iterator[tuple[Any, ...]]:
    for one in verified:
        file = one.file
        reason = file.reason if isinstance(file, RefusedFile) else None
        yield (
            str(as_written(file.path)),
            "verified" if reason is None else "refused",
            reason,
            file.dataset,
            list(file.symbols),
            None if file.start_ns is None else utc(file.start_ns),
            None if file.end_ns is None else utc(file.end_ns),
            file.record_count if isinstance(file, DbnFile) else None,
            one.job_id,
        )
