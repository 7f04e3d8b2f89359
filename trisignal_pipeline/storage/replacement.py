"""Replacing what a table holds of a symbol and a span of time.

Rows are inserted, updated where they differ, left alone where they don't (so they keep ids and
times), and deleted where they are no longer delivered. What there is and what comes are compared
first, in one pass: mostly they are the same, and nothing else has to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.storage.connection import Connection


@dataclass(frozen=True, slots=True)
class Written:
    """What one replacement did to a table, in rows.

    changed_from is the first `ts` at which the table holds anything else than before, as it stamps
    rows; None where nothing changed.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    changed_from: datetime | None = None


def replace_span(
    connection: Connection,
    table: str,
    symbol: str,
    span_ns: tuple[int, int],
    incoming: sql.Composable,
    *,
    key: Sequence[str],
    values: Sequence[str],
    assigned: Sequence[str] = (),
    parameters: dict[str, object],
) -> Written:
    """Make the rows of `incoming` all that `table` holds of `symbol` with `ts` in `span_ns`.

    Args:
        connection: in a transaction, which the caller commits.
        table: has a unique key of `symbol` and `key`.
        symbol: internal symbol.
        span_ns: from and to (excluded), nanoseconds since the epoch, as the table stamps rows.
        incoming: a query that yields `key`, `values` and `assigned`, with `parameters` bound.
        key: what identifies a row beside the symbol.
        values: what makes a row another one.
        assigned: what is written with a row that is new or another, but doesn't make it so.
        parameters: what `incoming` refers to by name.
    """
    written = [*values, *assigned]
    parts = {
        "incoming": incoming,
        "table": sql.Identifier(table),
        "span": sql.SQL("t.symbol = %(symbol)s AND t.ts >= %(start)s AND t.ts < %(end)s"),
        "matching": sql.SQL(" AND ").join(
            sql.SQL("t.{0} = i.{0}").format(sql.Identifier(name)) for name in key
        ),
        "key": _names(key),
        "columns": _names(written),
        "theirs": _names(values, "t"),
        "ours": _names(values, "i"),
        "written": _names(written, "i"),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in written
        ),
    }
    bound = {**parameters, "symbol": symbol, "start": utc(span_ns[0]), "end": utc(span_ns[1])}

    def execute(statement: LiteralString) -> psycopg.Cursor[TupleRow]:
        return connection.execute(sql.SQL(statement).format(**parts), bound)

    compared = execute(_COMPARE).fetchone()
    assert compared is not None
    absent, unchanged, changed, gone, changed_from = compared
    return Written(
        execute(_INSERT).rowcount if absent else 0,
        execute(_UPDATE).rowcount if changed else 0,
        unchanged,
        execute(_DELETE).rowcount if gone else 0,
        changed_from,
    )


_COMPARE = """
    SELECT count(*) FILTER (WHERE c.same IS NULL AND c.delivered),
           count(*) FILTER (WHERE c.same), count(*) FILTER (WHERE NOT c.same),
           count(*) FILTER (WHERE NOT c.delivered), min(c.ts) FILTER (WHERE c.same IS NOT TRUE)
    FROM (
        SELECT coalesce(i.ts, t.ts) AS ts, i.ts IS NOT NULL AS delivered,
               CASE WHEN i.ts IS NOT NULL AND t.ts IS NOT NULL
                    THEN ({theirs}) IS NOT DISTINCT FROM ({ours}) END AS same
        FROM ({incoming}) AS i
        FULL JOIN (SELECT * FROM {table} t WHERE {span}) AS t ON {matching}
    ) AS c
"""
# What a writer without a lock adds in between is replaced.
_INSERT = """
    INSERT INTO {table} (symbol, {key}, {columns})
    SELECT %(symbol)s, {key}, {columns} FROM ({incoming}) AS i
    WHERE NOT EXISTS (SELECT FROM {table} t WHERE {span} AND {matching})
    ON CONFLICT (symbol, {key}) DO UPDATE SET {assignments}
"""
_UPDATE = """
    UPDATE {table} t SET ({columns}) = ROW({written})
    FROM ({incoming}) AS i
    WHERE {span} AND {matching} AND ({theirs}) IS DISTINCT FROM ({ours})
"""
_DELETE = """
    DELETE FROM {table} t
    WHERE {span} AND NOT EXISTS (SELECT FROM ({incoming}) AS i WHERE {matching})
"""


def holds_any(connection: Connection, table: str, symbol: str, span_ns: tuple[int, int]) -> bool:
    """Whether `table` holds a row of `symbol` with `ts` in `span_ns` (as stamped)."""
    found = connection.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE symbol = %s AND ts >= %s AND ts < %s)").format(
            sql.Identifier(table)
        ),
        (symbol, utc(span_ns[0]), utc(span_ns[1])),
    ).fetchone()
    return found is not None and bool(found[0])


def ensure_time_partitions(connection: Connection, table: str, first_ns: int, last_ns: int) -> None:
    """Make the partitions that rows from `first_ns` to `last_ns` (as stamped) need."""
    connection.execute(
        "SELECT ensure_time_partitions(%s::regclass, %s, %s)", (table, utc(first_ns), utc(last_ns))
    )


def _names(names: Sequence[str], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.Identifier(name) if alias is None else sql.Identifier(alias, name) for name in names
    )
