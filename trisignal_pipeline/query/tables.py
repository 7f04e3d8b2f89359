"""A result of a query: typed columns, and batches of rows that come as they are read.

Times are UTC to the microsecond. Prices of bars are points in float64, which gives every price of
up to 15 digits back as it was written. What PostgreSQL has as numeric elsewhere (rejected prices as
delivered, costs) stays an exact decimal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import TupleRow

from trisignal_pipeline.market.bars import PRICE_UNIT, Int64s
from trisignal_pipeline.storage.connection import Connection

_ROWS_AT_A_TIME = 5_000

TIME = pa.timestamp("us", "UTC")
POINTS = pa.float64()
NUMBER = pa.float64()
WHOLE = pa.int64()
TEXT = pa.string()
DATE = pa.date32()
FLAG = pa.bool_()
TEXTS = pa.list_(pa.string())
DECIMAL = pa.decimal128(38, 18)
JSON = pa.json_()
WORD = pa.dictionary(pa.int8(), pa.string())
"""One of a few names that are known beforehand; a categorical column of pandas."""

# What psycopg calls PostgreSQL's types; of any other type, the text of its values.
_TYPES = {
    "bool": FLAG,
    "int2": WHOLE,
    "int4": WHOLE,
    "int8": WHOLE,
    "float4": NUMBER,
    "float8": NUMBER,
    "numeric": DECIMAL,
    "date": DATE,
    "timestamptz": TIME,
    "json": JSON,
    "jsonb": JSON,
}
_LISTS_OF_TEXT = {"text", "varchar"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a query in batches. They are read in portions, and can be gone through once."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    @classmethod
    def of_rows(cls, columns: Mapping[str, pa.DataType], rows: Iterable[Sequence[object]]) -> Table:
        """A table of plain values, one sequence a row, in the order of `columns`."""
        schema = pa.schema(list(columns.items()))
        return cls(schema, _batches(schema, iter(rows)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.schema.names)

    @property
    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows that haven't been read yet, as plain values."""
        for batch in self.batches:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def whole(self) -> pa.Table:
        """All rows at once, in memory."""
        return pa.Table.from_batches(list(self.batches), self.schema)


def read_table(
    connection: Connection, query: LiteralString, parameters: Mapping[str, object]
) -> Table:
    """Run `query` in a transaction of `connection`, and read its rows in bounded memory."""
    cursor = connection.cursor(name="trisignal_query")
    cursor.itersize = _ROWS_AT_A_TIME
    cursor.execute(query, parameters)
    assert cursor.description is not None
    columns = {column.name: _type_of(connection, column) for column in cursor.description}
    return Table.of_rows(columns, _rows(cursor))


def _rows(cursor: psycopg.ServerCursor[TupleRow]) -> Iterator[tuple[Any, ...]]:
    with cursor:
        yield from cursor


def _type_of(connection: Connection, column: psycopg.Column) -> pa.DataType:
    info = connection.adapters.types.get(column.type_code)
    if info is None:
        return TEXT
    if info.array_oid == column.type_code:
        return TEXTS if info.name in _LISTS_OF_TEXT else TEXT
    return _TYPES.get(info.name, TEXT)


def _batches(schema: pa.Schema, rows: Iterator[Sequence[object]]) -> Iterator[pa.RecordBatch]:
    while portion := list(islice(rows, _ROWS_AT_A_TIME)):
        columns = zip(*portion, strict=True)
        yield pa.record_batch(
            [_array(values, kind) for values, kind in zip(columns, schema.types, strict=True)],
            schema=schema,
        )


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == JSON:
        written = [None if value is None else json.dumps(value) for value in values]
        return pa.ExtensionArray.from_storage(kind, pa.array(written, TEXT))
    if kind == TEXT:
        return pa.array([None if value is None else str(value) for value in values], kind)
    return pa.array(values, kind)


def always(name: str, kind: pa.DataType) -> pa.Field:
    """A column in which every row has a value."""
    return pa.field(name, kind, nullable=False)


def times(ts_ns: Int64s) -> pa.Array:
    """Nanoseconds since the epoch (UTC) as a column."""
    return pa.array(ts_ns // 1000, pa.int64()).cast(TIME)


def prices(units: Int64s) -> pa.Array:
    """Prices in units of 1e-9 as a column of points."""
    return pa.array(units / PRICE_UNIT, POINTS)


def words(codes: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> pa.Array:
    """Names by their place in `names` as a column; null for any other place."""
    known = (codes >= 0) & (codes < len(names))
    places = pa.array(np.where(known, codes, 0).astype(np.int8), mask=~known)
    return pa.DictionaryArray.from_arrays(places, pa.array(names, TEXT))


def as_words(column: pa.Array, names: Sequence[str]) -> pa.Array:
    """A column of text, all of it `names` or null, as such names."""
    places = pc.index_in(column, pa.array(names, TEXT)).cast(pa.int8())
    return pa.DictionaryArray.from_arrays(places, pa.array(names, TEXT))


def texts(codes: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> pa.Array:
    """Names by their place in `names` as a column of text; an empty name as null."""
    known = pa.array([name or None for name in names], TEXT)
    return pc.take(known, pa.array(codes))
