"""Taking over the tables of the system before this one, in place, with what hangs on them."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.storage.original_tables import (
    NAMES,
    SHAPES,
    Shape,
    contents,
    leave_original_tables,
    run,
)

ADOPTED_MARKS: dict[str, dict[str, object]] = {
    "market_bars_ohlcv_1m": {"contract": None, "verified": False},
    "market_bars_ohlcv_1m_clean": {"contract": None, "source": "adopted"},
}


@pytest.fixture
def trader() -> str:
    """The name of a role that may or may not be made; dropped by the test that makes it."""
    return f"trader_{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.price} {shape.bar_key[:11]}")
def test_every_row_and_every_column_is_kept(empty_database_url: str, shape: Shape) -> None:
    leave_original_tables(empty_database_url, shape)
    before = contents(empty_database_url)

    migrate(empty_database_url)

    after = contents(empty_database_url)
    for name in NAMES[:5]:
        assert len(after[name]) == len(before[name])
        for old, new in zip(before[name], after[name], strict=True):
            assert {column: new[column] for column in old} == old
            marks = ADOPTED_MARKS.get(name, {})
            assert {column: new[column] for column in marks} == marks


@pytest.mark.parametrize("price", ["double precision", "real"])
def test_a_price_that_was_a_float_becomes_the_number_it_was_written_as(
    empty_database_url: str, price: str
) -> None:
    leave_original_tables(
        empty_database_url,
        Shape(price, "PRIMARY KEY (symbol, ts)"),
        ("market_bars_ohlcv_1m_clean",),
    )
    run(empty_database_url, "UPDATE market_bars_ohlcv_1m_clean SET low = 0.1")

    migrate(empty_database_url)

    assert run(empty_database_url, "SELECT DISTINCT low FROM market_bars_ohlcv_1m_clean") == [
        (Decimal("0.1"),)
    ]


def test_prices_of_other_markets_are_no_longer_rounded(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url, Shape("numeric(10,2)"))
    migrate(empty_database_url)

    stored = run(
        empty_database_url,
        "UPDATE market_bars_ohlcv_1m_clean SET high = 15010.123456789 "
        "WHERE ts = '2023-01-01 00:00:00+00' RETURNING high",
    )

    assert stored == [(Decimal("15010.123456789"),)]


def test_rows_are_not_copied_where_the_prices_were_exact(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url, names=("market_bars_ohlcv_1m",))
    file = "SELECT relfilenode FROM pg_class WHERE relname ="
    # A wider integer is another layout of the row, a wider numeric is not.
    run(
        empty_database_url,
        "ALTER TABLE market_bars_ohlcv_1m ALTER volume TYPE bigint, "
        "ALTER ingestion_run_id TYPE bigint",
    )
    before = run(empty_database_url, f"{file} 'market_bars_ohlcv_1m'")
    migrate(empty_database_url)

    assert run(empty_database_url, f"{file} 'market_bars_ohlcv_1m_adopted'") == before


@pytest.mark.parametrize("name", NAMES)
def test_any_one_table_alone_is_taken_over(empty_database_url: str, name: str) -> None:
    leave_original_tables(empty_database_url, names=(name,))
    before = len(contents(empty_database_url)[name])

    assert migrate(empty_database_url)[0] == "0001"

    after = contents(empty_database_url)
    assert set(after) == set(NAMES)
    # Of the four seeds of the registry one was there already.
    assert len(after[name]) == before + (3 if name == "symbol_registry" else 0)


def test_an_empty_table_is_taken_over(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url)
    run(empty_database_url, "TRUNCATE market_bars_ohlcv_1m, bias_series_1m_v1")

    migrate(empty_database_url)

    assert contents(empty_database_url)["market_bars_ohlcv_1m"] == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.price} {shape.bar_key[:11]}")
def test_new_bars_go_beside_adopted_ones(empty_database_url: str, shape: Shape) -> None:
    leave_original_tables(empty_database_url, shape)
    migrate(empty_database_url)

    upsert = """
        INSERT INTO market_bars_ohlcv_1m (symbol, ts, ts_ms, open, high, low, close, volume)
        SELECT 'GLBX.MDP3:NQ', ts, extract(epoch FROM ts) * 1000, 1, 2, 1, 2, 1
        FROM unnest('{2022-12-31 23:55:00+00,2024-02-01 00:00:00+00}'::timestamptz[]) AS ts
        ON CONFLICT (symbol, ts) DO UPDATE SET open = excluded.open, high = excluded.high,
            low = excluded.low, close = excluded.close, verified = true
        RETURNING tableoid::regclass::text, verified, vendor
    """
    made = run(
        empty_database_url,
        "SELECT ensure_time_partitions('market_bars_ohlcv_1m', '2022-05-01', '2024-02-01')",
    )

    assert made == [(1,)]
    assert run(empty_database_url, upsert) == [
        ("market_bars_ohlcv_1m_adopted", True, "databento"),
        ("market_bars_ohlcv_1m_y2024", True, "databento"),
    ]


@pytest.mark.parametrize("shape", SHAPES[1:3], ids=["serial", "identity"])
def test_numbering_goes_on_where_the_original_stopped(
    empty_database_url: str, shape: Shape
) -> None:
    leave_original_tables(empty_database_url, shape)
    migrate(empty_database_url)

    bar = run(
        empty_database_url,
        "INSERT INTO market_bars_ohlcv_1m_clean (symbol, ts, open, high, low, close, volume) "
        "VALUES ('GLBX.MDP3:NQ', '2023-05-01', 1, 1, 1, 1, 1) RETURNING id",
    )
    # An audit numbers its rows before it writes them.
    audit = run(
        empty_database_url,
        "INSERT INTO data_ingest_runs (id, status) VALUES "
        "(nextval(pg_get_serial_sequence('data_ingest_runs', 'id')), 'running') RETURNING id",
    )

    assert (bar, audit) == ([(11,)], [(2,)])


def granted(url: str) -> list[tuple[object, ...]]:
    """Who may do what with the clean bars, the product's own roles apart."""
    return run(
        url,
        "SELECT a::text FROM pg_class, aclexplode(relacl) AS a "
        "WHERE oid = 'market_bars_ohlcv_1m_clean'::regclass AND grantee NOT IN "
        "(SELECT oid FROM pg_roles WHERE rolname IN ('trisignal_writer', 'trisignal_reader')) "
        "ORDER BY 1",
    )


def test_views_of_every_kind_read_the_new_tables(empty_database_url: str, trader: str) -> None:
    leave_original_tables(empty_database_url)
    run(
        empty_database_url,
        f"CREATE ROLE {trader}",
        'CREATE SCHEMA "Desk"',
        'CREATE VIEW "Desk"."Closes" WITH (security_barrier = true) AS '
        "SELECT symbol, ts, close FROM market_bars_ohlcv_1m_clean",
        "CREATE VIEW daily AS SELECT symbol, ts::date AS day, max(close) AS top "
        'FROM "Desk"."Closes" GROUP BY 1, 2',
        "CREATE MATERIALIZED VIEW tops AS SELECT DISTINCT d.*, b.bias_1d FROM daily d "
        "JOIN bias_series_1m_v1 b ON b.symbol = d.symbol AND b.ts::date = d.day",
        "CREATE UNIQUE INDEX one_top ON tops (symbol, day, top, bias_1d) WHERE top > 0",
        "CREATE MATERIALIZED VIEW unfilled AS SELECT * FROM tops WITH NO DATA",
        "COMMENT ON VIEW daily IS 'the day''s best close'",
        "COMMENT ON COLUMN daily.top IS 'in points'",
        f"GRANT SELECT ON daily TO {trader} WITH GRANT OPTION",
        'GRANT SELECT (ts) ON "Desk"."Closes" TO PUBLIC',
        f"GRANT SELECT ON market_bars_ohlcv_1m_clean TO {trader}",
        f"ALTER VIEW daily OWNER TO {trader}",
        f'GRANT USAGE ON SCHEMA "Desk" TO {trader}',
        f'GRANT SELECT ON "Desk"."Closes" TO {trader}',
        # What is granted on new tables by default must not widen what is there.
        f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {trader}",
    )
    what = """
        SELECT c.oid::regclass::text, relkind, relowner::regrole::text, relispopulated, reloptions,
               pg_get_viewdef(c.oid), obj_description(c.oid),
               -- In order, and spelled out where the list says no more than the default.
               ARRAY(SELECT a::text
                     FROM aclexplode(coalesce(relacl, acldefault('r', relowner))) AS a ORDER BY 1),
               ARRAY(SELECT attacl::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
               ARRAY(SELECT col_description(c.oid, n) FROM generate_series(1, 3) AS n),
               ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid)
        FROM pg_class c
        WHERE relname IN ('Closes', 'daily', 'tops', 'unfilled')
        ORDER BY relname
    """
    try:
        before, privileges = run(empty_database_url, what), granted(empty_database_url)
        migrate(empty_database_url)
        after = run(empty_database_url, what)

        assert len(before) == 4
        assert after == before
        assert granted(empty_database_url) == privileges
        assert run(
            empty_database_url,
            "UPDATE market_bars_ohlcv_1m_clean SET close = 15900, high = 15900 "
            "WHERE ts = '2023-01-01 00:00:00+00'",
            "REFRESH MATERIALIZED VIEW tops",
            "SELECT max(top) FROM tops",
        ) == [(Decimal(15900),)]
    finally:
        run(empty_database_url, f"DROP OWNED BY {trader} CASCADE", f"DROP ROLE {trader}")


def test_an_owner_who_is_no_superuser_can_migrate(empty_database_url: str, trader: str) -> None:
    owned = make_conninfo(empty_database_url, user=trader)
    name = conninfo_to_dict(empty_database_url)["dbname"]
    run(
        empty_database_url,
        f"CREATE ROLE {trader} LOGIN",
        f"ALTER DATABASE {name} OWNER TO {trader}",
    )
    try:
        leave_original_tables(owned, SHAPES[2])
        run(owned, "CREATE VIEW closes AS SELECT ts, close FROM market_bars_ohlcv_1m")
        url = empty_database_url.replace("://trisignal@", f"://{trader}@")

        migrate(url)

        assert run(
            owned,
            "SELECT ensure_time_partitions('market_bars_ohlcv_1m', '2024-05-01', '2024-05-01')",
            "SELECT count(*) FROM closes",
        ) == [(20,)]
    finally:
        run(
            empty_database_url,
            f"ALTER DATABASE {name} OWNER TO trisignal",
            f"DROP OWNED BY {trader} CASCADE",
            f"DROP ROLE {trader}",
        )


def test_references_and_triggers_move_to_the_new_table(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url)
    run(
        empty_database_url,
        "CREATE TABLE heard (symbol text)",
        "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO heard VALUES (new.symbol); RETURN new; END'",
        "CREATE TRIGGER listener AFTER INSERT ON market_bars_ohlcv_1m_clean "
        "FOR EACH ROW EXECUTE FUNCTION hear()",
        "CREATE TABLE marked (symbol text, ts timestamptz, FOREIGN KEY (symbol, ts) "
        "REFERENCES market_bars_ohlcv_1m_clean (symbol, ts) ON DELETE CASCADE)",
        "INSERT INTO marked SELECT symbol, ts FROM market_bars_ohlcv_1m_clean",
    )

    migrate(empty_database_url)

    insert = "INSERT INTO {} VALUES ('GLBX.MDP3:ES', '2025-05-01', 1, 1, 1, 1, 1)"
    assert run(
        empty_database_url,
        "SELECT ensure_time_partitions('market_bars_ohlcv_1m_clean', '2025-05-01', '2025-05-01')",
        insert.format("market_bars_ohlcv_1m_clean (symbol, ts, open, high, low, close, volume)"),
        "INSERT INTO marked VALUES ('GLBX.MDP3:ES', '2025-05-01')",
        "DELETE FROM market_bars_ohlcv_1m_clean WHERE ts < '2023-01-01 00:00:00+00'",
        "SELECT (SELECT count(*) FROM heard), (SELECT count(*) FROM marked)",
    ) == [(1, 6)]


def test_a_registry_keeps_its_settings_and_gets_values_for_what_it_had_no_column_for(
    empty_database_url: str,
) -> None:
    leave_original_tables(empty_database_url)
    migrate(empty_database_url)

    rows = run(
        empty_database_url,
        "SELECT root, roll_rule, rank, is_active, price_floor, flat_discontinuity_points, "
        "tick_size FROM symbol_registry ORDER BY root",
    )

    floor, flat = Decimal(1000), Decimal(50)
    assert rows == [
        ("ES", "v", 0, True, floor, flat, Decimal("0.25")),
        ("MGC", "v", 0, True, None, None, None),
        ("NQ", "c", 1, False, floor, flat, Decimal("0.25")),
        ("RTY", "v", 0, True, floor, flat, Decimal("0.1")),
        ("YM", "v", 0, True, floor, flat, Decimal(1)),
    ]


@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Kathmandu"])
def test_bounds_are_utc_whatever_the_database_is_set_to(empty_database_url: str, zone: str) -> None:
    leave_original_tables(empty_database_url, names=("market_bars_ohlcv_1m",))
    name = conninfo_to_dict(empty_database_url)["dbname"]
    run(
        empty_database_url,
        f"ALTER DATABASE {name} SET TimeZone = '{zone}'",
        f"ALTER DATABASE {name} SET DateStyle = 'SQL, DMY'",
        "DELETE FROM market_bars_ohlcv_1m WHERE ts >= '2023-01-01 00:00:00+00'",
    )

    migrate(empty_database_url)

    assert run(
        empty_database_url,
        "SET DateStyle = 'ISO'",
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname LIKE '%adopted'",
    ) == [("FOR VALUES FROM ('2022-01-01 00:00:00+00') TO ('2023-01-01 00:00:00+00')",)]
