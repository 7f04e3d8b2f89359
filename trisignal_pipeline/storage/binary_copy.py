"""PostgreSQL's binary COPY for columns: rows go over the wire as one array, not one by one.

Only fixed-width, non-null columns fit: that is what makes a row a record of known size.
Layout: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.storage.connection import Connection

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_EPOCH_2000_US = 946_684_800 * 1_000_000


def timestamps(ts_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Nanoseconds since 1970 as PostgreSQL's timestamptz: microseconds since 2000."""
    return ts_ns // 1000 - _EPOCH_2000_US


def nanoseconds(timestamptz: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """PostgreSQL's timestamptz, microseconds since 2000, as nanoseconds since 1970."""
    return (timestamptz + _EPOCH_2000_US) * 1000


def numerics(units: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """Whole numbers of 1e-9 as PostgreSQL's NUMERIC, with no more decimals than they need.

    A NUMERIC goes over the wire in groups of four decimal digits. All values get as many groups as
    the longest one needs: the server drops those that are zero at either end.
    """
    magnitude = np.abs(units).view(np.uint64)  # which holds that of the smallest int64 too
    whole, fraction = np.divmod(magnitude, np.uint64(10**9))
    before = np.searchsorted([10**4, 10**8], whole.max(initial=0), side="right") + 1
    scale = np.zeros(len(units), ">i2")
    for decimals in range(9):
        needed = fraction % np.uint64(10 ** (9 - decimals)) != 0
        if not needed.any():
            break
        scale += needed
    after = -(-int(scale.max(initial=0)) // 4)
    sent = np.empty(len(units), _numeric_type(before + after))
    sent["groups"], sent["weight"], sent["scale"] = before + after, before - 1, scale
    sent["sign"] = np.where(units < 0, _NEGATIVE, 0)
    fraction *= np.uint64(1000)  # of twelve digits: three groups
    for group in range(before):
        sent["digits"][:, group] = whole // np.uint64(10 ** (4 * (before - 1 - group))) % 10_000
    for group in range(after):
        sent["digits"][:, before + group] = fraction // np.uint64(10 ** (8 - 4 * group)) % 10_000
    return sent.view(f"V{sent.dtype.itemsize}")


_NEGATIVE = 0x4000


def _numeric_type(groups: int) -> np.dtype[np.void]:
    """Layout: https://github.com/postgres/postgres, numeric_send in utils/adt/numeric.c."""
    return np.dtype(
        [
            ("groups", ">i2"),
            ("weight", ">i2"),
            ("sign", ">u2"),
            ("scale", ">i2"),
            ("digits", ">i2", (groups,)),
        ]
    )


def copy_in(
    connection: Connection,
    statement: sql.SQL | sql.Composed,
    *parts: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Run `statement` (a `COPY … FROM STDIN (FORMAT BINARY)`) with the columns of `parts` as rows.

    int16, int32, int64 and bool columns become what PostgreSQL calls the same; `V<n>` columns go as
    they are (see `numerics`); an `S<n>` column becomes text, every value of which must be exactly
    n bytes long. From one part to the next n may differ.
    """
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER)
        for columns in parts:
            records = np.zeros(len(next(iter(columns.values()))), _wire_type(columns))
            records["_fields"] = len(columns)
            for name, values in columns.items():
                records[f"{name}_length"] = values.dtype.itemsize
                records[name] = values
            copy.write(records.view(np.uint8).data)
        copy.write(_TRAILER)


def copy_out(
    connection: Connection,
    query: sql.Composable,
    parameters: Mapping[str, object],
    columns: Sequence[tuple[str, str]],
) -> npt.NDArray[Any]:
    """The rows of `query` as a structured array.

    `columns` names each selected column with its numpy type: `i8`, `i4`, `i2`, `?`, or `S<n>` for
    text that the query makes exactly n bytes long.

    Raises:
        InvalidBarsError: a row holds a NULL or a text of another length.
    """
    empty = {name: np.empty(0, kind) for name, kind in columns}
    wire = _wire_type(empty)
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    received = bytearray()
    with connection.cursor() as cursor, cursor.copy(statement, parameters) as copy:
        for block in copy:
            received += block
    body = memoryview(received)[len(_HEADER) : len(received) - len(_TRAILER)]
    if len(body) % wire.itemsize:
        raise InvalidBarsError("a stored row holds a NULL or a text of unexpected length")
    records = np.frombuffer(body, wire)
    if not all((records[f"{name}_length"] == kind.itemsize).all() for name, kind in _plain(empty)):
        raise InvalidBarsError("a stored row holds a NULL or a text of unexpected length")
    native = np.empty(len(records), [(name, kind) for name, kind in columns])
    for name, _ in columns:
        native[name] = records[name]
    return native


def _wire_type(columns: Mapping[str, npt.NDArray[Any]]) -> np.dtype[Any]:
    layout: list[tuple[str, Any]] = [("_fields", ">i2")]
    for name, kind in _plain(columns):
        layout += [(f"{name}_length", ">i4"), (name, kind.newbyteorder(">"))]
    return np.dtype(layout)


def _plain(columns: Mapping[str, npt.NDArray[Any]]) -> list[tuple[str, np.dtype[Any]]]:
    return [(name, values.dtype) for name, values in columns.items()]
