"""Rows in the order of a key, read a page at a time or all of them in bounded memory.

A page begins behind the last key of the one before it, never at a count of rows: what is written
meanwhile moves no row from one page to another, and none comes twice. All of a series is read in
the same way, page by page, in one transaction: it is as it was at one instant if the transaction is
(`Database.connect(..., one_instant=True)`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import pyarrow as pa

from trisignal_pipeline.market.dates import DateRange, date_of_ns, utc
from trisignal_pipeline.query.cursors import Key, read_cursor, write_cursor
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.storage.connection import Connection

PORTION = 20_000
"""How many rows of a series memory holds at a time when all of it is read."""

MINUTES_A_DAY = 1_380
"""How many minutes a day of trading has, about: 23 hours."""

_MOST_DAYS_AT_A_TIME = 31


class Span(Protocol):
    """[start_ns, end_ns): nanoseconds since the epoch, UTC. A `DateRange` is one."""

    @property
    def start_ns(self) -> int:
        """The first instant."""

    @property
    def end_ns(self) -> int:
        """The first instant after it."""


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """[start_ns, end_ns): nanoseconds since the epoch, UTC."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Some rows of a series. `next_cursor` is where the next page begins; None behind the last."""

    rows: pa.Table
    next_cursor: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A question whose answer may be long.

    name, about   what is asked; a cursor of another question is refused
    schema        the columns, of which those of the key come first
    read          at most so many rows behind a key, in order; from the first on behind None
    key_of        the key of a row, the n-th one of a batch
    key_kinds     of what its parts are; a number is a time in microseconds since the epoch
    """

    name: str
    about: Mapping[str, object]
    schema: pa.Schema
    read: Callable[[Connection, Key | None, int], pa.Table]
    key_of: Callable[[pa.Table, int], Key]
    key_kinds: tuple[type, ...] = (int,)

    def page(self, connection: Connection, limit: int, cursor: str | None = None) -> Page:
        """The `limit` rows behind `cursor`, or fewer where the series ends.

        Raises:
            RangeError: `cursor` is not one of this series.
        """
        found = self.read(connection, self._behind(cursor), limit + 1)
        if found.num_rows <= limit:
            return Page(found, None)
        last = self.key_of(found, limit - 1)
        return Page(found.slice(0, limit), write_cursor(self._question(), last))

    def table(self, connection: Connection, portion: int = PORTION) -> Table:
        """All rows, `portion` of them in memory at a time."""
        return Table(self.schema, self._batches(connection, portion))

    def _batches(self, connection: Connection, portion: int) -> Iterator[pa.RecordBatch]:
        behind: Key | None = None
        while True:
            found = self.read(connection, behind, portion)
            yield from found.to_batches()
            if found.num_rows < portion:
                return
            behind = self.key_of(found, found.num_rows - 1)

    def _behind(self, cursor: str | None) -> Key | None:
        return None if cursor is None else read_cursor(self._question(), cursor, self.key_kinds)

    def _question(self) -> dict[str, object]:
        return {"name": self.name, "about": self.about}


def about(symbol: str, span: Span) -> dict[str, object]:
    """What a series of a symbol over a span of time is about."""
    return {"symbol": symbol, "start": span.start_ns, "end": span.end_ns}


def bounds(symbol: str, span: Span, behind: Key | None, limit: int) -> dict[str, object]:
    """The parameters of a statement that reads the next minutes of a series.

    They are `symbol` and `limit`; `behind` and `end`, both not included.
    """
    after_us = span.start_ns // 1000 - 1 if behind is None else behind[0]
    return {
        "symbol": symbol,
        "limit": limit,
        "behind": utc(after_us * 1000),
        "end": utc(-(-span.end_ns // 1000) * 1000),
    }


def portions(start_ns: int, end_ns: int, minutes: int) -> Iterator[DateRange]:
    """The UTC dates of [start_ns, end_ns) in parts that hold about `minutes` each, a month at most.

    So much of a history fits into memory, whatever the bars are that are made of it.
    """
    if end_ns <= start_ns:
        return
    days = min(_MOST_DAYS_AT_A_TIME, minutes // MINUTES_A_DAY + 2)
    first, last = date_of_ns(start_ns), date_of_ns(end_ns - 1)
    while first <= last:
        until = min(last, first + timedelta(days=days - 1))
        yield DateRange(first, until)
        first = until + timedelta(days=1)


def minute_of(rows: pa.Table, row: int) -> Key:
    """The key of a series that has one row a minute: its `ts`, microseconds since the epoch."""
    return (rows.column("ts")[row].cast(pa.int64()).as_py(),)
