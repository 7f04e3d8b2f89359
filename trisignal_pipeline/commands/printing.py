"""How commands print tables: for people, or as CSV or JSON for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TextIO, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from trisignal_pipeline.query.tables import Table

FORMATS = ("table", "csv", "json")
MOST_ROWS_FOR_PEOPLE = 1_000

Command = TypeVar("Command", bound=Callable[..., Any])


def format_option(command: Command) -> Command:
    """`--format table|csv|json` for a command that prints a table."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="table for people; csv and json (one array of objects) for programs.",
    )(command)


def print_table(
    table: Table, form: str, *, title: str | None = None, unbroken: Collection[str] = ()
) -> None:
    """Write all rows to standard output; for people, `unbroken` columns stay on one line."""
    if form == "csv":
        _write_csv(table, sys.stdout)
    elif form == "json":
        _write_json(table, sys.stdout)
    else:
        _write_for_people(table, title, unbroken)


def _write_csv(table: Table, out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_text(value) for value in row] for row in table.rows)


def _write_json(table: Table, out: TextIO) -> None:
    out.write("[")
    for number, row in enumerate(table.rows):
        out.write(",\n " if number else "\n ")
        json.dump(dict(zip(table.columns, row, strict=True)), out, default=_text)
    out.write("\n]\n")


def _write_for_people(table: Table, title: str | None, unbroken: Collection[str]) -> None:
    # A file or a pipe has no width to fit into.
    console = Console() if sys.stdout.isatty() else Console(width=400)
    shown = RichTable(
        *table.columns, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for column in shown.columns:
        column.overflow = "fold"
        column.no_wrap = column.header in unbroken
    left_out = 0
    for number, row in enumerate(table.rows):
        if number < MOST_ROWS_FOR_PEOPLE:
            shown.add_row(*(_text(value) for value in row))
        else:
            left_out += 1
    console.print(shown)
    if left_out:
        console.print(f"… and {left_out:,} more rows; --format csv prints all of them")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(_text, value))
    if isinstance(value, (date, Decimal, int, float, str)):
        return str(value)
    return json.dumps(value)
