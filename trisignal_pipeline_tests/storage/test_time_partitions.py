"""Yearly partitions, made as rows need them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.storage.original_tables import leave_original_tables, run

CALL = "SELECT ensure_time_partitions('market_bars_ohlcv_1m_clean', %s, %s)"
ROW = (
    "INSERT INTO market_bars_ohlcv_1m_clean (symbol, ts, open, high, low, close, volume) "
    "VALUES ('GLBX.MDP3:NQ', %s, 1, 1, 1, 1, 1) ON CONFLICT DO NOTHING"
)
PARTITIONS = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'market_bars_ohlcv_1m_clean'::regclass ORDER BY 1
"""


def test_a_partition_is_a_utc_year_whatever_the_session_is_set_to(database_url: str) -> None:
    with psycopg.connect(
        database_url, options="-c TimeZone=Pacific/Auckland -c DateStyle=German"
    ) as connection:
        # Both are in 2024 in Auckland, and neither is in UTC.
        made = connection.execute(CALL, ("2023-12-31 23:59+00", "2023-12-31 23:59+00")).fetchone()
        connection.execute(ROW, ("2023-12-31 23:59+00",))
    assert made == (1,)

    assert run(database_url, PARTITIONS) == [
        (
            "market_bars_ohlcv_1m_clean_y2023",
            "FOR VALUES FROM ('2023-01-01 00:00:00+00') TO ('2024-01-01 00:00:00+00')",
        )
    ]


def test_the_last_minute_of_a_range_has_a_partition_too(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        made = connection.execute(CALL, ("2020-06-01 00:00+00", "2023-01-01 00:00+00")).fetchone()
        connection.execute(ROW, ("2023-01-01 00:00+00",))

    assert made == (4,)


def test_years_under_a_wider_partition_are_left_alone(empty_database_url: str) -> None:
    # One that spans two whole years, and one that an administrator cut in mid-year.
    run(
        empty_database_url,
        "CREATE TABLE market_bars_ohlcv_1m_clean (symbol text, ts timestamptz, open numeric, "
        "high numeric, low numeric, close numeric, volume bigint, PRIMARY KEY (symbol, ts)) "
        "PARTITION BY RANGE (ts)",
        "CREATE TABLE wide PARTITION OF market_bars_ohlcv_1m_clean "
        "FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2022-01-01 00:00+00')",
        "CREATE TABLE early PARTITION OF market_bars_ohlcv_1m_clean "
        "FOR VALUES FROM (MINVALUE) TO ('2018-03-01 00:00+00')",
    )
    migrate(empty_database_url)

    with psycopg.connect(empty_database_url) as connection:
        made = connection.execute(CALL, ("2017-01-01 00:00+00", "2022-05-01 00:00+00")).fetchone()
    assert made == (3,)
    assert [name for name, _ in run(empty_database_url, PARTITIONS)] == [
        "early",
        "market_bars_ohlcv_1m_clean_y2018_0301_000000",
        "market_bars_ohlcv_1m_clean_y2019",
        "market_bars_ohlcv_1m_clean_y2022",
        "wide",
    ]


moments = st.datetimes(
    datetime(2009, 12, 30),  # noqa: DTZ001  hypothesis wants naive bounds
    datetime(2016, 1, 2),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(second=0, microsecond=0))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(moments, st.integers(0, 1200)), min_size=1, max_size=4))
def test_any_sequence_of_ranges_ends_with_one_partition_a_year(
    database_url: str, ranges: list[tuple[datetime, int]]
) -> None:
    years: set[int] = set()
    with psycopg.connect(database_url) as connection:
        for first, days in ranges:
            last = first + timedelta(days=days)
            wanted = set(range(first.year, last.year + 1))
            made = connection.execute(CALL, (first, last)).fetchone()
            assert made == (len(wanted - years),)
            years |= wanted
            for ts in (first, last):
                connection.execute(ROW, (ts,))
        names = [name for name, _ in connection.execute(PARTITIONS).fetchall()]
        connection.rollback()

    assert names == [f"market_bars_ohlcv_1m_clean_y{year}" for year in sorted(years)]


@pytest.mark.parametrize(
    ("first", "last"), [("2024-01-02", "2024-01-01"), (None, "2024-01-01"), ("2024-01-01", None)]
)
def test_an_empty_range_is_refused(database_url: str, first: str | None, last: str | None) -> None:
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="the range is empty"),
    ):
        connection.execute(CALL, (first, last))


def test_a_partition_is_made_while_others_write_and_read(database_url: str) -> None:
    run(database_url, CALL.replace("%s", "'2023-05-01'"))
    with psycopg.connect(database_url) as writer, psycopg.connect(database_url) as maker:
        writer.execute(ROW, ("2023-05-01 00:00+00",))
        writer.execute("SELECT count(*) FROM market_bars_ohlcv_1m_clean")
        maker.execute("SET LOCAL lock_timeout = '5s'")
        assert maker.execute(CALL, ("2024-01-01", "2024-05-01")).fetchone() is not None
        # Nor does the one that makes it, before it commits, keep the other from going on.
        writer.execute("SET LOCAL lock_timeout = '5s'")
        writer.execute(ROW, ("2023-05-02 00:00+00",))


def test_two_sessions_that_need_the_same_year_both_get_it(database_url: str) -> None:
    made: list[int] = []
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as other:
        one.execute(CALL, ("2024-05-01", "2024-05-01"))

        def second() -> None:
            row = other.execute(CALL, ("2024-06-01", "2025-06-01")).fetchone()
            assert row is not None
            made.append(row[0])

        thread = threading.Thread(target=second)
        thread.start()
        with psycopg.connect(database_url, autocommit=True) as watcher:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while watcher.execute(waiting).fetchone() == (0,):
                assert thread.is_alive()
        one.commit()
        thread.join()

    assert made == [1]


def test_every_rule_holds_in_a_partition_that_is_made_later(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(CALL, ("2024-05-01", "2024-05-01"))
        with pytest.raises(psycopg.errors.CheckViolation, match="ts_is_a_whole_minute"):
            connection.execute(ROW, ("2024-05-01 00:00:30+00",))


def test_adopted_bars_count_as_partitions_that_are_there(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url, names=("market_bars_ohlcv_1m_clean",))
    migrate(empty_database_url)

    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute(CALL, ("2022-01-01 00:00+00", "2023-12-31 23:59+00")).fetchone()
    assert found == (0,)
