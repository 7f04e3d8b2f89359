"""Replacing what a table holds of a symbol and a span of time, in one statement.

Rows are inserted, updated where they differ, left alone where they don't (so they keep ids and
times), and deleted where they are no longer delivered. Counting by joining first works on every
PostgreSQL and on partitioned tables, where `xmax` in RETURNING doesn't.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

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
    written_columns = [*values, *assigned]
    statement = sql.SQL(
        """
        WITH incoming AS MATERIALIZED ({incoming}), present AS MATERIALIZED (
            SELECT {their_key}, ({theirs}) IS NOT DISTINCT FROM ({ours}) AS same
            FROM incoming i
            JOIN {table} t ON t.symbol = %(symbol)s AND {matching}
                          AND t.ts >= %(start)s AND t.ts < %(end)s
        ), written AS (
            INSERT INTO {table} (symbol, {columns})
            SELECT %(symbol)s, {columns} FROM incoming i
            WHERE NOT EXISTS (SELECT FROM present t WHERE {matching} AND t.same)
            ON CONFLICT (symbol, {key}) DO UPDATE SET {assignments}
            RETURNING ts
        ), removed AS (
            DELETE FROM {table} t
            WHERE t.symbol = %(symbol)s AND t.ts >= %(start)s AND t.ts < %(end)s
              AND NOT EXISTS (SELECT FROM incoming i WHERE {matching})
            RETURNING t.ts
        )
        SELECT (SELECT count(*) FROM present), (SELECT count(*) FROM present WHERE same),
               (SELECT count(*) FROM written), (SELECT count(*) FROM removed),
               least((SELECT min(ts) FROM written), (SELECT min(ts) FROM removed))
        """
    ).format(
        incoming=incoming,
        table=sql.Identifier(table),
        key=_names(key),
        their_key=_names(key, "t"),
        columns=_names([*key, *written_columns]),
        theirs=_names(values, "t"),
        ours=_names(values, "i"),
        matching=sql.SQL(" AND ").join(
            sql.SQL("t.{0} = i.{0}").format(sql.Identifier(name)) for name in key
        ),
        assignments=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in written_columns
        ),
    )
    counts = connection.execute(
        statement,
        {**parameters, "symbol": symbol, "start": utc(span_ns[0]), "end": utc(span_ns[1])},
    ).fetchone()
    assert counts is not None
    present, unchanged, written, removed, changed_from = counts
    updated = present - unchanged
    return Written(written - updated, updated, unchanged, removed, changed_from)


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
