"""What of an earlier system's tables can't be taken over as it is, and how that is said."""

from __future__ import annotations

import logging

import psycopg
import pytest

from trisignal_pipeline.errors import DatabaseUnavailableError, SchemaVersionError
from trisignal_pipeline.storage import migrations
from trisignal_pipeline.storage.migrations import current_revision, migrate
from trisignal_pipeline_tests.storage.original_tables import (
    Shape,
    contents,
    leave_original_tables,
    run,
)

OBSTACLES = {
    r"clean holds 2 rows with \(symbol, ts\) = \(GLBX.MDP3:NQ, 2022-12-31 23:59:00\+00\)": """
        INSERT INTO market_bars_ohlcv_1m_clean
        SELECT * FROM market_bars_ohlcv_1m_clean WHERE volume IN (4, 7)
        """,
    r"clean has rows without \(symbol, ts\): 1 of them": """
        ALTER TABLE market_bars_ohlcv_1m_clean ALTER ts DROP NOT NULL;
        UPDATE market_bars_ohlcv_1m_clean SET ts = NULL WHERE volume = 4
        """,
    "clean has no column ts": "ALTER TABLE market_bars_ohlcv_1m_clean RENAME ts TO time",
    "row-level security is enabled on it": """
        ALTER TABLE market_bars_ohlcv_1m_clean ENABLE ROW LEVEL SECURITY
        """,
    "it takes part in inheritance": "CREATE TABLE heir () INHERITS (market_bars_ohlcv_1m_clean)",
    "it is not a plain table": """
        ALTER TABLE market_bars_ohlcv_1m_clean RENAME TO elsewhere;
        CREATE VIEW market_bars_ohlcv_1m_clean AS SELECT * FROM elsewhere
        """,
    r"function latest\(\) is bound to it": """
        CREATE FUNCTION latest() RETURNS market_bars_ohlcv_1m_clean LANGUAGE sql AS
        'SELECT * FROM market_bars_ohlcv_1m_clean ORDER BY ts DESC LIMIT 1'
        """,
    r"can't be set aside: function public.low\(\) depends on view public.lows": """
        CREATE VIEW lows AS SELECT low FROM market_bars_ohlcv_1m_clean;
        CREATE FUNCTION low() RETURNS numeric BEGIN ATOMIC SELECT min(low) FROM lows; END
        """,
    r"triangle_events_v1 holds 2 rows with \(symbol, ts, direction\) = .* 23:56:00\+00, BULL\)": """
        ALTER TABLE triangle_events_v1 DROP CONSTRAINT triangle_events_v1_symbol_ts_direction_key;
        INSERT INTO triangle_events_v1 (symbol, ts, direction)
        SELECT symbol, ts, direction FROM triangle_events_v1 WHERE id = 2
        """,
    "data_ingest_runs.id is uuid, not a number": """
        ALTER TABLE data_ingest_runs DROP id, ADD id uuid DEFAULT gen_random_uuid()
        """,
}


@pytest.mark.parametrize("said", OBSTACLES, ids=range(len(OBSTACLES)))
def test_an_obstacle_is_named_and_nothing_changes(empty_database_url: str, said: str) -> None:
    leave_original_tables(empty_database_url, Shape(bar_key="CHECK (volume >= 0)"))
    run(empty_database_url, OBSTACLES[said])
    everything = (
        "SELECT oid, relname, relkind, relfilenode FROM pg_class WHERE oid > 16383 ORDER BY 1"
    )
    before = run(empty_database_url, everything)

    with pytest.raises(SchemaVersionError, match=f"(?s){said}.*; then run: trisignal db migrate"):
        migrate(empty_database_url)

    assert run(empty_database_url, everything) == before
    assert current_revision(empty_database_url) is None


def test_tables_in_use_are_not_waited_for_without_end(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_original_tables(empty_database_url)
    monkeypatch.setattr(migrations, "LOCK_PATIENCE_SECONDS", 0.1)

    with psycopg.connect(empty_database_url) as reader:
        reader.execute("SELECT * FROM market_bars_ohlcv_1m LIMIT 1")
        with pytest.raises(DatabaseUnavailableError, match="other programs use the tables"):
            migrate(empty_database_url)

    assert current_revision(empty_database_url) is None


def test_rows_that_break_a_rule_are_kept_and_new_ones_are_refused(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave_original_tables(empty_database_url)
    run(
        empty_database_url,
        "UPDATE market_bars_ohlcv_1m SET close = high + 1, ts_ms = 5 WHERE volume = 3",
        "UPDATE market_bars_ohlcv_1m_clean SET close = NULL WHERE volume = 3",
        "UPDATE bias_series_1m_v1 SET bias_1d = 'bullish'",
    )
    before = contents(empty_database_url)

    with caplog.at_level(logging.WARNING, "trisignal_pipeline"):
        migrate(empty_database_url)

    after = contents(empty_database_url)
    for name in ("market_bars_ohlcv_1m", "market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert [{c: row[c] for c in before[name][0]} for row in after[name]] == before[name]
    for rule in ("ohlc_is_consistent", "ts_is_a_whole_minute", "biases_are_known", "no close"):
        assert any(rule in message for message in caplog.messages), rule
    with pytest.raises(psycopg.errors.CheckViolation, match="ohlc_is_consistent"):
        run(
            empty_database_url,
            "SELECT ensure_time_partitions('market_bars_ohlcv_1m', '1970-01-01', '1970-01-01')",
            "INSERT INTO market_bars_ohlcv_1m (symbol, ts, ts_ms, open, high, low, close, volume) "
            "VALUES ('GLBX.MDP3:NQ', '1970-01-01 00:00:00+00', 0, 1, 2, 1, 3, 1)",
        )
