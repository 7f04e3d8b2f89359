"""The two tables of bars: what goes in comes out, and what each of them is stamped by."""

from __future__ import annotations

from datetime import date, datetime
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, midnight_ns, utc
from trisignal_pipeline.storage import bars
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable, read_bars, replace_bars
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.replacement import Written
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    all_rows,
    bar,
    columns,
    expected_rows,
    one_row,
    table_rows,
    whole_bars,
)

both_tables = pytest.mark.parametrize("table", [LEGACY, CLEAN], ids=lambda table: table.layer)
once_a_database = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NEW_YEAR = (date(2023, 12, 31), date(2024, 1, 1))
AROUND_MIDNIGHT = (0, 1, 1438, 1439)

prices = st.integers(-(2**63), 2**63 - 2)


def _replace(
    connection: Connection,
    table: BarsTable,
    rows: list[Bar],
    span: tuple[int, int] | None = None,
    *,
    symbol: str = NQ,
    run_id: int = 1,
) -> Written:
    start_ns, end_ns = span or (DateRange(DAY, DAY).start_ns, DateRange(DAY, DAY).end_ns)
    with connection.transaction():
        return replace_bars(
            connection,
            table,
            symbol,
            columns(rows),
            start_ns,
            end_ns,
            run_id=run_id,
            source="legacy",
        )


def _rows_of(bars: Bars) -> list[Bar]:
    return [
        Bar._make(
            bars.contracts[bars.contract[row]]
            if name == "contract"
            else int(getattr(bars, name)[row])
            for name in Bar._fields
        )
        for row in range(len(bars))
    ]


@both_tables
@once_a_database
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1439), prices, prices, prices, prices, st.integers(0, 2**63 - 1),
            st.sampled_from(("NQM4", "NQU4", "#1234567890", "A" * 24)),
        ),
        unique_by=lambda row: row[0],
        max_size=6,
    )
)  # fmt: skip
def test_what_is_written_is_read_back_exactly(
    connection: Connection, table: BarsTable, made: list[tuple[int, int, int, int, int, int, str]]
) -> None:
    delivered = []
    for minute, a, b, c, d, volume, contract in sorted(made):
        low, open_, close, high = sorted((a, b, c, d))
        opened = midnight_ns(DAY) + minute * NS_PER_MINUTE
        delivered.append(Bar(opened, open_, high, low, close, volume, contract))

    _replace(connection, table, delivered)

    day = DateRange(DAY, DAY)
    assert _rows_of(read_bars(connection, table, NQ, day.start_ns, day.end_ns)) == delivered


def test_the_legacy_table_is_stamped_by_the_close(
    connection: Connection, database: Database
) -> None:
    _replace(connection, LEGACY, [bar(0), bar(1439)])

    assert all_rows(
        database.url,
        "SELECT (ts AT TIME ZONE 'UTC')::text, ts_ms, vendor, schema, verified "
        "FROM market_bars_ohlcv_1m ORDER BY ts",
    ) == [
        ("2024-06-17 00:01:00", 1_718_582_460_000, "databento", "ohlcv-1m", True),
        ("2024-06-18 00:00:00", 1_718_668_800_000, "databento", "ohlcv-1m", True),
    ]


def test_the_clean_table_is_stamped_by_the_open(connection: Connection, database: Database) -> None:
    _replace(connection, CLEAN, [bar(0), bar(1439)])

    assert all_rows(
        database.url,
        "SELECT (ts AT TIME ZONE 'UTC')::text, source FROM market_bars_ohlcv_1m_clean ORDER BY ts",
    ) == [("2024-06-17 00:00:00", "legacy"), ("2024-06-17 23:59:00", "legacy")]


@both_tables
def test_prices_are_exact_decimals_in_sql(
    connection: Connection, database: Database, table: BarsTable
) -> None:
    written = Bar(midnight_ns(DAY), 100_000_000, 20_123_250_000_000, -37_630_000_000, 1, 3, "CLK0")

    _replace(connection, table, [written])

    shown = one_row(
        database.url, f"SELECT open::text, high::text, low::text, close::text FROM {table.name}"
    )
    assert shown == ("0.1", "20123.25", "-37.63", "0.000000001")


@both_tables
def test_time_zone_and_date_style_of_the_database_do_not_matter(
    database: Database, table: BarsTable
) -> None:
    with psycopg.connect(database.url, autocommit=True) as plain:
        name = sql.Identifier(plain.info.dbname)
        for setting in ("TimeZone TO 'Asia/Kathmandu'", "DateStyle TO 'German, DMY'"):
            plain.execute(sql.SQL("ALTER DATABASE {} SET " + setting).format(name))
    day = DateRange(DAY, DAY)

    with database.connect("test") as connection:
        _replace(connection, table, [bar(0), bar(1439)])
        read = read_bars(connection, table, NQ, day.start_ns, day.end_ns)

    assert read.ts.tolist() == [bar(0).ts, bar(1439).ts]
    assert table_rows(database.url, table) == expected_rows([bar(0), bar(1439)], table)


@both_tables
def test_the_sessions_time_zone_does_not_matter(
    connection: Connection, database: Database, table: BarsTable
) -> None:
    connection.execute("SET TimeZone = 'America/Chicago'")

    written = _replace(connection, table, [bar(0), bar(1439)])

    assert written.changed_from == utc(table.stamp(bar(0).ts))
    assert table_rows(database.url, table) == expected_rows([bar(0), bar(1439)], table)


@both_tables
def test_bars_are_read_by_the_time_they_open(connection: Connection, table: BarsTable) -> None:
    _replace(connection, table, [bar(minute) for minute in range(10)])

    read = read_bars(connection, table, NQ, bar(3).ts, bar(6).ts)

    assert read.ts.tolist() == [bar(3).ts, bar(4).ts, bar(5).ts]


@both_tables
def test_a_bar_whose_contract_is_not_known_has_an_empty_one(
    connection: Connection, database: Database, table: BarsTable
) -> None:
    _replace(connection, table, [bar(0), bar(1)])
    connection.execute(f"UPDATE {table.name} SET contract = NULL WHERE ts = %s", (
        datetime.fromisoformat("2024-06-17T00:01Z"),
    ))  # fmt: skip
    day = DateRange(DAY, DAY)

    read = read_bars(connection, table, NQ, day.start_ns, day.end_ns)

    assert sorted(row.contract for row in _rows_of(read)) == ["", "NQM4"]


SPANS = {
    "both years": (DateRange(*NEW_YEAR).start_ns, DateRange(*NEW_YEAR).end_ns),
    "the old year": (midnight_ns(NEW_YEAR[0]), midnight_ns(NEW_YEAR[1])),
    "the new year": (midnight_ns(NEW_YEAR[1]), DateRange(*NEW_YEAR).end_ns),
    "a few minutes": (bar(1439, day=NEW_YEAR[0]).ts, bar(1, day=NEW_YEAR[1]).ts),
}
numbered = count()


@both_tables
@once_a_database
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(SPANS)), whole_bars(NEW_YEAR, AROUND_MIDNIGHT)),
        min_size=2,
        max_size=5,
    )
)
def test_replacing_does_what_a_dictionary_would_do(
    connection: Connection,
    database: Database,
    table: BarsTable,
    deliveries: list[tuple[str, list[Bar]]],
) -> None:
    symbol = f"TEST.MODEL:{next(numbered)}"
    kept: dict[int, tuple[Bar, int, datetime]] = {}
    run_column = "ingestion_run_id" if table is LEGACY else "NULL"

    for run_id, (name, rows) in enumerate(deliveries):
        start_ns, end_ns = SPANS[name]
        rows = [row for row in rows if start_ns <= row.ts < end_ns]  # noqa: PLW2901 cut to fit
        before = {ts: row for ts, (row, *_) in kept.items() if start_ns <= ts < end_ns}
        with connection.transaction():
            started = connection.execute("SELECT now()").fetchone()
            assert started is not None
            written = replace_bars(
                connection,
                table,
                symbol,
                columns(rows),
                start_ns,
                end_ns,
                run_id=run_id,
                source="legacy",
            )

        for row in rows:
            if row.ts not in before:
                kept[row.ts] = (row, run_id, started[0])
            elif row != before[row.ts]:
                kept[row.ts] = (row, run_id, kept[row.ts][2])
        for ts in set(before) - {row.ts for row in rows}:
            del kept[ts]
        delivered = {row.ts: row for row in rows}
        changed = [ts for ts in before | delivered if before.get(ts) != delivered.get(ts)]
        assert written == Written(
            inserted=len(set(delivered) - set(before)),
            updated=sum(ts in before and ts in delivered for ts in changed),
            unchanged=len(set(before) | set(delivered)) - len(changed),
            removed=len(set(before) - set(delivered)),
            changed_from=utc(table.stamp(min(changed))) if changed else None,
        )
        assert table_rows(database.url, table, symbol, run_column, "created_at") == [
            (*shown, number if table is LEGACY else None, created)
            for shown, (_, number, created) in zip(
                expected_rows([row for row, *_ in kept.values()], table),
                [kept[ts] for ts in sorted(kept)],
                strict=True,
            )
        ]


@both_tables
def test_rows_that_somebody_else_adds_meanwhile_are_replaced(
    connection: Connection,
    database: Database,
    table: BarsTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _replace(connection, table, [bar(0)], symbol="GLBX.MDP3:ES")  # which makes the partition
    look = bars.holds_any

    def add_after_the_look(*asked: Any) -> bool:
        held = look(*asked)
        monkeypatch.setattr(bars, "holds_any", look)
        with database.connect("somebody else") as other:
            _replace(other, table, [bar(1, volume=99), bar(2), bar(3)])
        return held

    monkeypatch.setattr(bars, "holds_any", add_after_the_look)
    written = _replace(connection, table, [bar(0), bar(1), bar(2)])

    assert written == Written(1, 1, 1, 1, utc(table.stamp(bar(0).ts)))
    assert table_rows(database.url, table) == expected_rows([bar(0), bar(1), bar(2)], table)


@both_tables
def test_another_symbol_and_other_minutes_are_left_alone(
    connection: Connection, database: Database, table: BarsTable
) -> None:
    day = DateRange(DAY, DAY)
    _replace(connection, table, [bar(minute) for minute in range(10)])
    _replace(connection, table, [bar(5)], symbol="GLBX.MDP3:ES")

    written = _replace(connection, table, [], (bar(5).ts, bar(7).ts))

    assert (written.removed, written.inserted, written.updated) == (2, 0, 0)
    assert len(read_bars(connection, table, NQ, day.start_ns, day.end_ns)) == 8
    assert len(read_bars(connection, table, "GLBX.MDP3:ES", day.start_ns, day.end_ns)) == 1


def _partitions(url: str, table: BarsTable) -> set[str]:
    found = all_rows(
        url,
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
        "WHERE inhparent = %s::regclass",
        table.name,
    )
    return {name for (name,) in found}


def test_partitions_are_made_for_the_years_that_bars_are_stamped_in(
    connection: Connection, database: Database
) -> None:
    old_year = [bar(1439, day=NEW_YEAR[0])]
    span = (midnight_ns(NEW_YEAR[0]), midnight_ns(NEW_YEAR[1]))

    _replace(connection, CLEAN, old_year, span)
    _replace(connection, LEGACY, old_year, span)

    assert _partitions(database.url, CLEAN) == {f"{CLEAN.name}_y2023"}
    assert _partitions(database.url, LEGACY) == {f"{LEGACY.name}_y2024"}  # closes at 00:00


def test_replacing_by_nothing_makes_no_partitions(
    connection: Connection, database: Database
) -> None:
    assert _replace(connection, LEGACY, []) == Written()
    assert _partitions(database.url, LEGACY) == set()


def test_a_range_of_many_years_is_written_at_once(
    connection: Connection, database: Database
) -> None:
    rows = [bar(1, day=date(year, 3, 1)) for year in range(2010, 2026)]
    years = DateRange(date(2010, 1, 1), date(2025, 12, 31))

    written = _replace(connection, CLEAN, rows, (years.start_ns, years.end_ns))

    assert written.inserted == 16
    assert len(_partitions(database.url, CLEAN)) == 16


@both_tables
@pytest.mark.parametrize("broken", [{"high": 1}, {"low": 2**62}, {"open": 2**62}, {"volume": -1}])
def test_the_database_itself_refuses_a_bar_that_is_none(
    connection: Connection, database: Database, table: BarsTable, broken: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        _replace(connection, table, [bar(0), bar(1, **broken), bar(2)])

    assert table_rows(database.url, table) == []


def test_a_bar_of_another_origin_is_another_bar(connection: Connection, database: Database) -> None:
    _replace(connection, LEGACY, [bar(0), bar(1)])
    connection.execute("UPDATE market_bars_ohlcv_1m SET verified = false WHERE ts_ms % 120000 = 0")

    written = _replace(connection, LEGACY, [bar(0), bar(1)])

    assert (written.updated, written.unchanged) == (1, 1)
    assert all_rows(database.url, "SELECT DISTINCT verified FROM market_bars_ohlcv_1m") == [(True,)]
