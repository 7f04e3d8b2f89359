"""Tables for programs: CSV, JSON, Parquet and Arrow, written batch by batch.

In CSV and JSON times are written 2024-11-01T00:15:00Z and prices without trailing zeros; what isn't
there is empty in CSV and null in JSON. Exact decimals are strings in JSON. Parquet and Arrow keep
the types of the columns.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from trisignal_pipeline.query.tables import JSON, Table

# What JSON holds as it is.
_PLAIN = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)


def write_csv(table: Table, out: BinaryIO) -> None:
    """One line a row below the names of the columns; lists with blanks between their items."""
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    for batch in table.batches:
        writer.writerows(text_rows(batch))
    text.detach()


def write_json(table: Table, out: BinaryIO) -> None:
    """One array of objects, one a line."""
    names = table.columns
    before = b"[\n "
    for batch in table.batches:
        columns = [_json_values(column) for column in batch.columns]
        for row in zip(*columns, strict=True):
            out.write(before + json.dumps(dict(zip(names, row, strict=True))).encode())
            before = b",\n "
    out.write(b"\n]\n" if before != b"[\n " else b"[\n]\n")


def write_parquet(table: Table, out: BinaryIO) -> None:
    """A Parquet file, a group of rows for each batch."""
    with pyarrow.parquet.ParquetWriter(out, table.schema) as writer:
        for batch in table.batches:
            writer.write_batch(batch)


def write_arrow(table: Table, out: BinaryIO) -> None:
    """A stream of Arrow's IPC format."""
    with pa.ipc.new_stream(out, table.schema) as stream:
        for batch in table.batches:
            stream.write_batch(batch)


WRITERS: Mapping[str, Callable[[Table, BinaryIO], None]] = {
    "csv": write_csv,
    "json": write_json,
    "parquet": write_parquet,
    "arrow": write_arrow,
}
"""How a table is written in each form."""


def text_rows(batch: pa.RecordBatch) -> Iterator[tuple[str, ...]]:
    """The rows as text; what isn't there is empty."""
    columns = (pc.fill_null(_text(column), "").to_pylist() for column in batch.columns)
    yield from zip(*columns, strict=True)


def _json_values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_floating(kind):
        return [
            int(value) if value is not None and value.is_integer() else value
            for value in column.to_pylist()
        ]
    if kind == JSON:
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    if pa.types.is_list(kind) or any(is_plain(kind) for is_plain in _PLAIN):
        return list(column.to_pylist())
    return list(_text(column).to_pylist())


def _text(column: pa.Array) -> pa.Array:
    kind = column.type
    if kind == JSON:
        return column.storage
    if pa.types.is_timestamp(kind):
        return pc.strftime(column.cast(pa.timestamp("s", "UTC"), safe=False), "%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_list(kind):
        return pc.binary_join(column, " ")
    if pa.types.is_decimal(kind):
        return pa.array([_plain_decimal(value) for value in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _plain_decimal(value: Decimal | None) -> str | None:
    """A decimal as it is written by hand: `20123.25`, `5`."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
