"""How commands print tables: for people, or as CSV, JSON, Parquet or Arrow for programs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.query.forms import WRITERS, text_rows
from trisignal_pipeline.query.tables import Table

FORMATS = ("table", *WRITERS)
MOST_ROWS_FOR_PEOPLE = 1_000

_BINARY = ("parquet", "arrow")

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Form:
    """How a table is to be printed, and where; to standard output if no file is named."""

    name: str = "table"
    output: Path | None = None

    @property
    def for_people(self) -> bool:
        """Whether it is to be read on a screen."""
        return self.name == "table"


def format_option(command: Command) -> Command:
    """`--format` and `--output` for a command that prints a table; both come as one `Form`."""

    @functools.wraps(command)
    def with_form(*args: Any, form_name: str, output: Path | None, **named: Any) -> Any:
        if output is not None and form_name == "table":
            raise click.UsageError(
                f"--output takes {', '.join(WRITERS)}; a table is for the screen: add --format csv"
            )
        return command(*args, form=Form(form_name, output), **named)

    decorated = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write to this file instead of standard output.",
    )(with_form)
    return click.option(  # type: ignore[return-value]
        "--format",
        "form_name",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="table for people; csv, json (one array of objects), parquet and arrow (a stream) "
        "for programs.",
    )(decorated)


def print_table(
    table: Table,
    form: Form = Form(),
    *,
    title: str | None = None,
    unbroken: Collection[str] = (),
) -> None:
    """Write all rows where `form` says; for people, `unbroken` columns stay on one line."""
    if form.for_people:
        _write_for_people(table, title, unbroken)
        return
    with _opened(form) as out:
        WRITERS[form.name](table, out)


@contextmanager
def _opened(form: Form) -> Iterator[BinaryIO]:
    """Where to write. A file is there whole or, after an error, as it was before."""
    if form.output is None:
        if form.name in _BINARY and sys.stdout.isatty():
            raise ConfigurationError(
                f"{form.name} is not for a terminal; name a file with --output, or send it on with "
                "> or |"
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    unfinished = form.output.with_name(f".{form.output.name}.unfinished")
    try:
        with unfinished.open("wb") as out:
            yield out
        unfinished.replace(form.output)
    except OSError as error:
        raise ConfigurationError(
            f"{form.output} can't be written ({error.strerror}); name another file with --output"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


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
    for batch in table.batches:
        room = max(0, MOST_ROWS_FOR_PEOPLE - shown.row_count)
        for row in text_rows(batch.slice(0, room)):
            shown.add_row(*row)
        left_out += max(0, batch.num_rows - room)
    console.print(shown)
    if left_out:
        console.print(f"… and {left_out:,} more rows; --format csv prints all of them")
