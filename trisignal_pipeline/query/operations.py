"""What the pipeline did: the audit of ingestion, and what the tables hold."""

from __future__ import annotations

from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage.connection import Connection


def ingest_runs(connection: Connection, limit: int, symbol: str | None = None) -> Table:
    """The latest rows of the audit, newest first; of one symbol, if it is named."""
    return read_table(
        connection,
        """
        SELECT id, status, asset, symbol, start_date, end_date, row_count AS read,
               inserted_count AS inserted, updated_count AS updated, unchanged_count AS unchanged,
               rejected_count AS rejected, removed_count AS removed, retry_count AS retries,
               rejected_by_rule, batch_count AS batches, min_ts, max_ts, started_at, finished_at,
               source, vendor, dataset, file_name, file_sha256, dagster_run_id, cost_usd,
               logic_version, error
        FROM data_ingest_runs
        WHERE %(symbol)s::text IS NULL OR symbol = %(symbol)s
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
               trim_scale(cost_usd) AS cost_usd, started_at,
               round(extract(epoch FROM finished_at - started_at), 1) AS seconds,
               left(error, 200) AS error
        FROM data_ingest_runs
        WHERE %(symbol)s::text IS NULL OR symbol = %(symbol)s
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


def symbol_states(connection: Connection) -> Table:
    """One row a symbol: what is stored, how far, and what of it is in doubt.

    dates_of_another_contract   dates whose bars are not of the contract that leads by the files
    dates_in_doubt, in_doubt_from, reasons   of the signals, and from which minute on
    """
    return read_table(
        connection,
        """
        WITH legacy AS (
            SELECT symbol, count(*) AS dates, sum(bar_count) AS bars, max(date) AS last
            FROM bar_dates WHERE layer = 'legacy' AND state = 'complete' GROUP BY symbol
        ), clean AS (
            SELECT symbol, count(*) AS dates, sum(bar_count) AS bars, max(date) AS last
            FROM bar_dates WHERE layer = 'clean' AND state = 'complete' GROUP BY symbol
        ), unfinished AS (
            SELECT symbol, count(DISTINCT date) AS dates
            FROM bar_dates WHERE state = 'writing' GROUP BY symbol
        ), missing AS (
            SELECT b.symbol, count(*) AS dates
            FROM selected_bar_dates b
            LEFT JOIN signal_dates s ON s.symbol = b.symbol AND s.date = b.date AND NOT s.withdrawn
            WHERE b.bar_count > 0 AND s.symbol IS NULL
            GROUP BY b.symbol
        ), rolled AS (
            SELECT symbol, count(*) AS dates FROM lead_contract_doubts GROUP BY symbol
        ), signal AS (
            SELECT symbol, count(*) AS dates, sum(triangle_count) AS triangles, min(date) AS first,
                   max(date) AS last, sum(locked_out) AS locked_out
            FROM signal_dates WHERE NOT withdrawn GROUP BY symbol
        )
        SELECT r.internal_symbol AS symbol, r.is_active AS active,
               coalesce(legacy.bars, 0)::bigint AS legacy_bars,
               coalesce(clean.bars, 0)::bigint AS clean_bars,
               coalesce(signal.triangles, 0)::bigint AS triangles,
               signal.first AS first_date, signal.last AS last_date,
               coalesce(unfinished.dates, 0) AS unfinished_dates,
               coalesce(missing.dates, 0) AS dates_without_signal,
               coalesce(signal.locked_out, 0)::bigint AS locked_out_bars,
               coalesce(rolled.dates, 0) AS dates_of_another_contract,
               coalesce(d.dates, 0) AS dates_in_doubt, d.from_ts AS in_doubt_from, d.reasons
        FROM symbol_registry r
        LEFT JOIN legacy ON legacy.symbol = r.internal_symbol
        LEFT JOIN clean ON clean.symbol = r.internal_symbol
        LEFT JOIN signal ON signal.symbol = r.internal_symbol
        LEFT JOIN unfinished ON unfinished.symbol = r.internal_symbol
        LEFT JOIN rolled ON rolled.symbol = r.internal_symbol
        LEFT JOIN missing ON missing.symbol = r.internal_symbol
        LEFT JOIN signal_doubts_under(%(logic)s) d ON d.symbol = r.internal_symbol
        ORDER BY r.internal_symbol
        """,
        {"logic": LOGIC_VERSION},
    )


def listed_symbols(connection: Connection) -> Table:
    """The registry: the rules and thresholds of each symbol."""
    return read_table(
        connection,
        """
        SELECT internal_symbol, roll_rule, rank, is_active, higher_timeframe_anchor, history_start,
               tick_size, price_floor, discontinuity_points, small_range_points, big_gap_points,
               flat_discontinuity_points, lockout_alarm_minutes, require_engulfing,
               require_sweep_engulfing, htf_aligned_only, aligned_timeframes
        FROM symbol_registry ORDER BY internal_symbol
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
