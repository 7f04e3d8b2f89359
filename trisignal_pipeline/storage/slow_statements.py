"""How long the database's statements take, where the server keeps statistics of them.

The server keeps them if it was started with `pg_stat_statements` in `shared_preload_libraries`, and
shows them in a database that has the extension. The embedded server has both. On a server of the
user's an administrator runs `CREATE EXTENSION pg_stat_statements` where they are wanted.
"""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg import sql

from trisignal_pipeline.storage.connection import Connection, Database, scalar
from trisignal_pipeline.storage.figures import Figure, Measured

SLOW_SECONDS = 1.0
"""A statement is slow if it takes longer than this on average."""

STATISTICS = Figure(
    "statement_statistics", "", "1 where the server keeps statistics of statements, else 0"
)
SLOW = Figure(
    "slow_statements", "", f"statements that take more than {SLOW_SECONDS:g} s on average"
)
SLOWEST = Figure("slowest_statement_seconds", "seconds", "the slowest one's average")
TOTAL = Figure(
    "statements_seconds", "seconds", "time spent in all statements since the statistics began"
)


def keep_statistics(database: Database) -> None:
    """Show the statistics in this database, if its server keeps any; by all rights of the user."""
    owner = Database(database.url, role=None)
    with owner.connect("statistics", autocommit=True) as connection:
        if "pg_stat_statements" not in scalar(connection, "SHOW shared_preload_libraries"):
            return
        # Another process that starts at the same moment may be making it.
        with suppress(psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject):
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def statement_figures(connection: Connection) -> list[Measured]:
    """The figures of this database's statements; that there are none, if there are none."""
    schema = scalar(
        connection,
        """
        SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_stat_statements'
          AND has_schema_privilege(n.oid, 'USAGE')
          AND current_setting('pg_stat_statements.max', true) IS NOT NULL
        """,
    )
    if schema is None:
        return [Measured(STATISTICS, (), 0.0)]
    found = connection.execute(
        sql.SQL(
            """
            SELECT count(*) FILTER (WHERE mean_exec_time > %s)::float8,
                   coalesce(max(mean_exec_time), 0) / 1000, coalesce(sum(total_exec_time), 0) / 1000
            FROM {statements}
            WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            """
        ).format(statements=sql.Identifier(schema, "pg_stat_statements")),
        (SLOW_SECONDS * 1000,),
    ).fetchone()
    assert found is not None
    return [
        Measured(STATISTICS, (), 1.0),
        Measured(SLOW, (), found[0]),
        Measured(SLOWEST, (), found[1]),
        Measured(TOTAL, (), found[2]),
    ]
