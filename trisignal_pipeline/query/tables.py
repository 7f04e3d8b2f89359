"""A result of a query: named columns, and rows that come as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

from trisignal_pipeline.storage.connection import Connection

_ROWS_AT_A_TIME = 5_000


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a query. They are read in portions, and can be gone through once."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def read_table(
    connection: Connection, query: LiteralString, parameters: Mapping[str, object]
) -> Table:
    """Run `query` in a transaction of `connection`, and read its rows in bounded memory."""
    cursor = connection.cursor(name="trisignal_query")
    cursor.itersize = _ROWS_AT_A_TIME
    cursor.execute(query, parameters)
    assert cursor.description is not None
    return Table(tuple(column.name for column in cursor.description), _rows(cursor))


def _rows(cursor: psycopg.ServerCursor[TupleRow]) -> Iterator[tuple[Any, ...]]:
    with cursor:
        yield from cursor
