"""What the schema says of itself, and what it refuses."""

from __future__ import annotations

import psycopg
import pytest

from trisignal_pipeline_tests.storage.original_tables import run

# Columns whose name and type say all there is to say, whatever the table.
PLAIN = {
    "id", "symbol", "bias_5m", "bias_15m", "bias_1h", "bias_4h", "bias_1d", "bias_m5", "bias_m15",
    "bias_h1", "bias_h4", "bias_d1", "high", "low", "close", "created_at", "updated_at",
    "started_at", "updated_count", "vendor", "asset_class", "size_bytes", "passed", "checked_at",
}  # fmt: skip
STAMPS = {"ts", "ts_ms", "min_ts", "max_ts", "first_ts", "last_ts", "start_ts", "end_ts"}

COLUMNS = """
    SELECT c.relname, a.attname, col_description(c.oid, a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition AND a.attnum > 0 AND c.relname <> 'trisignal_schema'
"""


def test_every_table_and_view_says_what_it_holds(database_url: str) -> None:
    silent = run(
        database_url,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p', 'v') AND NOT relispartition "
        "AND obj_description(oid, 'pg_class') IS NULL AND relname <> 'trisignal_schema'",
    )

    assert silent == []


def test_every_column_is_explained_unless_its_name_says_it_all(database_url: str) -> None:
    columns = run(database_url, COLUMNS)

    assert len(columns) > 100
    assert [row[:2] for row in columns if row[2] is None and row[1] not in PLAIN] == []


def test_every_time_stamp_says_whether_it_is_the_open_or_the_close(database_url: str) -> None:
    stamps = [row for row in run(database_url, COLUMNS) if row[1] in STAMPS]

    assert len({row[0] for row in stamps}) == 11
    for table, column, comment in stamps:
        legacy = table in {"market_bars_ohlcv_1m", "data_ingest_runs", "market_bars_revisions"}
        assert ("CLOSE" if legacy else "OPEN") in str(comment), f"{table}.{column}"


BAR = (
    "market_bars_ohlcv_1m (symbol, ts, ts_ms, open, high, low, close, volume) "
    "VALUES ('NQ', '2024-05-01 00:00:00', 1714521600000, "
)
LATE = BAR.replace("00:00:00", "00:00:01").replace("600000", "601000")
CLEAN = "market_bars_ohlcv_1m_clean (symbol, ts, open, high, low, close, volume, source) VALUES "
BIAS = "bias_series_1m_v1 VALUES ('NQ', '2024-05-01 00:00+00', 'Neutral', 'Neutral', 'Neutral', "
RUN = "data_ingest_runs (asset, status, row_count, inserted_count, updated_count, rejected_count) "
FILE = "raw_files (path, size_bytes, mtime_ns, verdict, reason) VALUES ('a', 1, 1, "
MARKET = "symbol_registry (internal_symbol, dataset, root, is_active, roll_rule, rank, "
X = "VALUES ('X', 'D', 'X', true, "
DATE = "bar_dates (symbol, date, layer, state, completed_at) VALUES ('NQ', '2024-05-01', "

REFUSED = [
    ("ohlc_is_consistent", f"{BAR}5, 6, 4, 7, 1)"),
    ("ohlc_is_consistent", f"{BAR}3, 6, 4, 5, 1)"),
    ("volume_is_not_neg", f"{BAR}5, 6, 4, 5, -1)"),
    ("ts_is_a_whole_min", f"{BAR.replace('600000', '660000')}5, 6, 4, 5, 1)"),
    ("ts_is_a_whole_min", f"{LATE}5, 6, 4, 5, 1)"),
    ("null value", f"{BAR}5, 6, 4, NULL, 1)"),
    ("ohlc_is_consistent", f"{CLEAN} ('NQ', '2024-05-01', 5, 6, 7, 5, 1, 'legacy')"),
    ("volume_is_not_neg", f"{CLEAN} ('NQ', '2024-05-01', 5, 6, 4, 5, -1, 'legacy')"),
    ("ts_is_a_whole_min", f"{CLEAN} ('NQ', '2024-05-01 00:00:00.5', 5, 6, 4, 5, 1, 'legacy')"),
    ("source_is_known", f"{CLEAN} ('NQ', '2024-05-01', 5, 6, 4, 5, 1, 'hearsay')"),
    ("no partition", f"{CLEAN} ('NQ', '2031-05-01', 5, 6, 4, 5, 1, 'legacy')"),
    ("biases_are_known", f"{BIAS}'Bull', 'Bearish', 'Bullish', 't', '1')"),
    ("null value", f"{BIAS}NULL, 'Bearish', 'Bullish', 't', '1')"),
    ("success_accounts", f"{RUN} VALUES ('legacy_bars', 'success', 10, 5, 3, 1)"),
    ("success_accounts", f"{RUN} VALUES ('legacy_bars', 'success', NULL, 5, 3, 1)"),
    ("status_is_known", f"{RUN} VALUES ('legacy_bars', 'done', 9, 5, 3, 1)"),
    ("refused_for_a_reason", f"{FILE}'verified', 'cut')"),
    ("refused_for_a_reason", f"{FILE}'refused', NULL)"),
    ("verdict", f"{FILE}'perhaps', NULL)"),
    ("roll_rule_is_known", f"{MARKET}price_floor) {X}'x', 0, 0)"),
    ("rank_is_not_negative", f"{MARKET}price_floor) {X}'v', -1, 0)"),
    ("tick_size_is_positive", f"{MARKET}tick_size) {X}'v', 0, 0)"),
    ("anchor_is_known", f"{MARKET}higher_timeframe_anchor) {X}'v', 0, 'me')"),
    ("timeframes_are_known", f"{MARKET}aligned_timeframes) {X}'v', 0, '{{2m}}')"),
    ("bar_dates_layer", f"{DATE}'raw', 'writing', NULL)"),
    ("bar_dates_state", f"{DATE}'legacy', 'done', NULL)"),
    ("complete_at_a_time", f"{DATE}'legacy', 'complete', NULL)"),
    ("complete_at_a_time", f"{DATE}'legacy', 'writing', now())"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "insert"), REFUSED, ids=range(len(REFUSED)))
def test_what_breaks_a_rule_is_refused(database_url: str, rule: str, insert: str) -> None:
    for table in ("market_bars_ohlcv_1m", "market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        run(database_url, f"SELECT ensure_time_partitions('{table}', '2024-01-01', '2024-05-01')")

    with pytest.raises(psycopg.errors.IntegrityError, match=rule):
        run(database_url, f"INSERT INTO {insert}")


def test_an_earlier_systems_account_need_not_add_up(database_url: str) -> None:
    run(database_url, f"INSERT INTO {RUN} VALUES (NULL, 'success', 10, 5, 3, 1)")
    run(database_url, f"INSERT INTO {RUN} VALUES ('legacy_bars', 'success', 9, 5, 3, 1)")
    run(database_url, f"INSERT INTO {RUN} VALUES ('legacy_bars', 'failed', 10, 5, 3, 1)")


def test_one_minute_has_one_triangle_of_each_direction(database_url: str) -> None:
    triangle = (
        "INSERT INTO triangle_events_v1 (symbol, ts, direction, bias_1m, bias_m5, bias_m15, "
        "bias_h1, bias_h4, bias_d1, htf_bullish, htf_bearish, require_engulfing, "
        "require_sweep_engulfing, htf_aligned_only, source_table, logic_version) "
        "SELECT 'NQ', '2024-05-01 00:00+00', '{}', b, b, b, b, b, b, f, f, f, f, f, 't', '1' "
        "FROM (VALUES ('Neutral', false)) AS v (b, f)"
    )
    run(database_url, triangle.format("BULL"), triangle.format("BEAR"))

    with pytest.raises(psycopg.errors.UniqueViolation, match="symbol_ts_direction"):
        run(database_url, triangle.format("BULL"))
    with pytest.raises(psycopg.errors.CheckViolation, match="direction_is_known"):
        run(database_url, triangle.format("UP"))


def test_the_registry_starts_with_the_index_futures(database_url: str) -> None:
    rows = run(
        database_url,
        "SELECT internal_symbol, venue, tick_size::float, roll_rule || rank || stype_in, timezone, "
        "session_profile, price_floor::int, discontinuity_points::int, small_range_points::int, "
        "big_gap_points::int, flat_discontinuity_points::int FROM symbol_registry ORDER BY root",
    )

    same = ("v0continuous", "America/Chicago", "cme_equity", 1000, 500, 10, 150, 50)
    assert rows == [
        ("GLBX.MDP3:ES", "CME", 0.25, *same),
        ("GLBX.MDP3:NQ", "CME", 0.25, *same),
        ("GLBX.MDP3:RTY", "CME", 0.1, *same),
        ("GLBX.MDP3:YM", "CBOT", 1.0, *same),
    ]


def test_a_forgotten_file_takes_its_contracts_with_it(database_url: str) -> None:
    assert run(
        database_url,
        f"INSERT INTO {FILE}'verified', NULL)",
        "INSERT INTO raw_file_contracts SELECT id, '2024-05-01', 'NQ', 'NQM4', NULL, 5, 1, "
        "'2024-05-01', '2024-05-01' FROM raw_files",
        "DELETE FROM raw_files",
        "SELECT count(*) FROM raw_file_contracts",
    ) == [(0,)]
