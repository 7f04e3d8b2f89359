"""The tables of the system before this one, as installations have them, with rows in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

NAMES = (
    "market_bars_ohlcv_1m",
    "market_bars_ohlcv_1m_clean",
    "bias_series_1m_v1",
    "triangle_events_v1",
    "data_ingest_runs",
    "symbol_registry",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """In what installations differ: the type of prices, and what identifies a bar."""

    price: LiteralString = "numeric(10,2)"
    bar_key: LiteralString = "PRIMARY KEY (symbol, ts)"


SHAPES = (
    Shape(),
    Shape("double precision", "id bigserial PRIMARY KEY, UNIQUE (symbol, ts)"),
    Shape("numeric", "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, UNIQUE (symbol, ts)"),
    Shape("real", "UNIQUE (symbol, ts)"),
    Shape("numeric(18,9)", "CHECK (volume >= 0)"),
    Shape("numeric(12,4)", "PRIMARY KEY (ts, symbol)"),
)

_TABLES: dict[str, LiteralString] = {
    "market_bars_ohlcv_1m": """
        CREATE TABLE market_bars_ohlcv_1m (
            vendor varchar(32) NOT NULL, schema varchar(32) NOT NULL, symbol varchar(64) NOT NULL,
            ts timestamptz NOT NULL, ts_ms bigint NOT NULL, open {price} NOT NULL,
            high {price} NOT NULL, low {price} NOT NULL, close {price} NOT NULL,
            volume int NOT NULL, ingestion_run_id int, created_at timestamptz DEFAULT now(),
            note text, {bar_key}, CONSTRAINT ohlc CHECK (high >= low));
        CREATE INDEX bars_by_time ON market_bars_ohlcv_1m (ts);
        INSERT INTO market_bars_ohlcv_1m (
            vendor, schema, symbol, ts, ts_ms, open, high, low, close, volume, note)
        SELECT 'databento', 'ohlcv-1m', symbol, ts, extract(epoch FROM ts) * 1000,
               15000.25 + i, 15001 + i, 14999.75 + i, 15000.5 + i, i, 'kept ' || i
        FROM unnest('{{GLBX.MDP3:NQ,GLBX.MDP3:ES}}'::text[]) AS symbol,
             generate_series(0, 9) AS i,
             LATERAL (SELECT timestamptz '2022-12-31 23:55+00' + i * interval '1 minute') AS t (ts)
        """,
    "market_bars_ohlcv_1m_clean": """
        CREATE TABLE market_bars_ohlcv_1m_clean (
            symbol text NOT NULL, ts timestamptz NOT NULL, open {price}, high {price}, low {price},
            close {price}, volume double precision, created_at timestamptz DEFAULT now(),
            {bar_key});
        INSERT INTO market_bars_ohlcv_1m_clean (symbol, ts, open, high, low, close, volume)
        SELECT 'GLBX.MDP3:NQ', timestamptz '2022-12-31 23:55:00+00' + i * interval '1 minute',
               15000.25 + i, 15001 + i, 14999.75 + i, 15000.5 + i, i
        FROM generate_series(0, 9) AS i
        """,
    "bias_series_1m_v1": """
        CREATE TABLE bias_series_1m_v1 (
            symbol text NOT NULL, ts timestamptz NOT NULL, bias_1m text, bias_5m text,
            bias_15m text, bias_1h text, bias_4h text, bias_1d text, source_table text,
            logic_version text, created_at timestamptz DEFAULT now(), PRIMARY KEY (symbol, ts));
        INSERT INTO bias_series_1m_v1
        SELECT 'GLBX.MDP3:NQ', timestamptz '2022-12-31 23:55:00+00' + i * interval '1 minute',
               'Bullish', 'Bearish', 'Neutral', 'Neutral', 'Neutral', 'Neutral',
               'market_bars_ohlcv_1m', 'v1'
        FROM generate_series(0, 9) AS i
        """,
    "triangle_events_v1": """
        CREATE TABLE triangle_events_v1 (
            id serial PRIMARY KEY, symbol text NOT NULL, ts timestamptz NOT NULL,
            direction varchar(4) NOT NULL, bias_1m text, bias_m5 text, bias_m15 text, bias_h1 text,
            bias_h4 text, bias_d1 text, htf_bullish boolean, htf_bearish boolean,
            require_engulfing boolean, require_sweep_engulfing boolean, htf_aligned_only boolean,
            source_table text, logic_version text, created_at timestamptz DEFAULT now(),
            UNIQUE (symbol, ts, direction));
        INSERT INTO triangle_events_v1 (
            symbol, ts, direction, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1,
            htf_bullish, htf_bearish, require_engulfing, require_sweep_engulfing, htf_aligned_only,
            source_table, logic_version)
        SELECT 'GLBX.MDP3:NQ', timestamptz '2022-12-31 23:55:00+00' + i * interval '1 minute',
               'BULL', 'Bullish', 'Neutral', 'Neutral', 'Neutral', 'Neutral', 'Neutral', false,
               false, false, false, false, 'market_bars_ohlcv_1m', 'v1'
        FROM generate_series(0, 2) AS i
        """,
    "data_ingest_runs": """
        CREATE TABLE data_ingest_runs (
            id serial PRIMARY KEY, vendor text, dataset text, file_name text, file_sha256 text,
            started_at timestamptz NOT NULL, finished_at timestamptz, row_count int,
            inserted_count int, updated_count int, min_ts timestamptz, max_ts timestamptz,
            status text, error text);
        INSERT INTO data_ingest_runs (vendor, file_name, started_at, row_count, inserted_count,
            updated_count, status)
        VALUES ('databento', 'nq.dbn.zst', '2023-01-02 00:00:00+00', 20, 11, 7, 'success')
        """,
    "symbol_registry": """
        CREATE TABLE symbol_registry (
            internal_symbol text PRIMARY KEY, dataset text NOT NULL, root text NOT NULL,
            roll_rule text NOT NULL, rank int NOT NULL, schema text NOT NULL,
            stype_in text NOT NULL, is_active boolean NOT NULL, vendor_dataset text,
            schema_name text, venue text, asset_class text, timezone text, session_profile text,
            created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
        INSERT INTO symbol_registry
        VALUES ('GLBX.MDP3:NQ', 'GLBX.MDP3', 'NQ', 'c', 1, 'ohlcv-1m', 'continuous', false),
               ('GLBX.MDP3:MGC', 'GLBX.MDP3', 'MGC', 'v', 0, 'ohlcv-1m', 'continuous', true)
        """,
}


def leave_original_tables(
    url: str, shape: Shape = SHAPES[0], names: tuple[str, ...] = NAMES
) -> None:
    """Make the original's tables in the empty database at `url`, each with some rows."""
    with psycopg.connect(url) as connection:
        for name in names:
            connection.execute(
                sql.SQL(_TABLES[name]).format(
                    price=sql.SQL(shape.price), bar_key=sql.SQL(shape.bar_key)
                )
            )


def contents(url: str) -> dict[str, list[dict[str, object]]]:
    """Every row of the original's tables that are there, as values PostgreSQL compares by."""
    found = {}
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in NAMES:
            if connection.execute("SELECT to_regclass(%s) AS table", (name,)).fetchone() != {
                "table": None
            }:
                table = sql.Identifier(name)
                found[name] = connection.execute(
                    sql.SQL("SELECT * FROM {} ORDER BY to_jsonb({})::text").format(table, table)
                ).fetchall()
    return found


def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Execute each statement, all in one transaction; the rows of the last one."""
    with psycopg.connect(url, options="-c TimeZone=UTC") as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
