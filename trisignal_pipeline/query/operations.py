"""What the pipeline did: the audit of ingestion, and what the tables hold."""

from __future__ import annotations

from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


def ingest_runs(connection: Connection, limit: int, symbol: str | None = None) -> Table:
    """The latest rows of the audit, newest first; of one symbol, if it is named."""
    return read_table(
        connection,
        """
        SELECT id, status, asset, symbol, start_date, end_date, row_count AS read,
               inserted_count AS inserted, updated_count AS updated, unchanged_count AS unchanged,
               rejected_count AS rejected, removed_count AS removed, retry_count AS retries,
               started_at, finished_at, source, file_name, error
        FROM data_ingest_runs
        WHERE symbol = coalesce(%(symbol)s, symbol) OR %(symbol)s IS NULL
        ORDER BY id DESC LIMIT %(limit)s
        """,
        {"limit": limit, "symbol": symbol},
    )


def ingest_runs_in_short(connection: Connection, limit: int, symbol: str | None = None) -> Table:
    """The same, with the columns that fit on a screen."""
    return read_table(
        connection,
        """
        SELECT id, status, asset, symbol, start_date AS "from", end_date AS "to",
               row_count AS read, inserted_count AS inserted, updated_count AS updated,
               unchanged_count AS unchanged, rejected_count AS rejected, removed_count AS removed,
               started_at, round(extract(epoch FROM finished_at - started_at), 1) AS seconds,
               left(error, 200) AS error
        FROM data_ingest_runs
        WHERE symbol = coalesce(%(symbol)s, symbol) OR %(symbol)s IS NULL
        ORDER BY id DESC LIMIT %(limit)s
        """,
        {"limit": limit, "symbol": symbol},
    )


def row_counts(connection: Connection) -> Table:
    """Rows of each table by symbol, with the first and the last minute as the table stamps it."""
    return read_table(
        connection,
        """
        SELECT 'market_bars_ohlcv_1m' AS table, symbol, count(*) AS rows, min(ts), max(ts)
        FROM market_bars_ohlcv_1m GROUP BY symbol
        UNION ALL
        SELECT 'market_bars_ohlcv_1m_clean', symbol, count(*), min(ts), max(ts)
        FROM market_bars_ohlcv_1m_clean GROUP BY symbol
        UNION ALL
        SELECT 'bias_series_1m_v1', symbol, count(*), min(ts), max(ts)
        FROM bias_series_1m_v1 GROUP BY symbol
        UNION ALL
        SELECT 'triangle_events_v1', symbol, count(*), min(ts), max(ts)
        FROM triangle_events_v1 GROUP BY symbol
        """,
        {},
    )


def last_triangles(connection: Connection, limit: int) -> Table:
    """The latest triangles of all symbols, newest first."""
    return read_table(
        connection,
        """
        SELECT ts, symbol, direction, contract, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4,
               bias_d1
        FROM triangle_events_v1 ORDER BY ts DESC, symbol LIMIT %(limit)s
        """,
        {"limit": limit},
    )
