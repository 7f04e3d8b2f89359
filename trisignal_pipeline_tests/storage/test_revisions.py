"""Old versions of bars: kept by the database, whoever changes them, and read again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable, read_bars
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.migrations import downgrade, migrate
from trisignal_pipeline_tests.storage.original_tables import leave_original_tables, run
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    all_rows,
    bar,
    columns,
    days_from,
    one_row,
    store,
    table_rows,
    whole_bars,
)

numbered = count()
both_tables = pytest.mark.parametrize("table", [LEGACY, CLEAN], ids=lambda table: table.layer)

KEPT = (
    "SELECT r.layer, (extract(epoch FROM ts) * 1000000000)::bigint, r.close, r.volume, r.contract, "
    "r.kind FROM market_bars_revisions r WHERE r.symbol = %s ORDER BY recorded_at, ts"
)
LATE = bar(1439, day=date(2023, 12, 31))
EARLY = bar(2, day=date(2024, 1, 1))
NEW_YEAR = DateRange(date(2023, 12, 31), date(2024, 1, 1))
PRICE = 20_000
PARTITIONS = "SELECT ensure_time_partitions('{}', '2023-12-31', '2024-01-02')"

# {t} is the table, {p} its partition of 2023, {stamp} what it adds to the OPEN.
UPDATES = {
    "update": "UPDATE {t} SET volume = 8 WHERE ts < '2024-01-01 00:02+00'",
    "update of a partition": "UPDATE {p} SET volume = 8",
    "upsert": "INSERT INTO {t} SELECT * FROM {t} WHERE ts < '2024-01-01 00:02+00' "
    "ON CONFLICT (symbol, ts) DO UPDATE SET volume = 8",
    "merge": "MERGE INTO {t} b USING (SELECT timestamptz '2023-12-31 23:59+00' + {stamp} AS ts) v "
    "ON b.ts = v.ts WHEN MATCHED THEN UPDATE SET volume = 8",
}
REMOVALS = {
    "delete": "DELETE FROM {t} WHERE ts < '2024-01-01 00:02+00'",
    "delete from a partition": "DELETE FROM {p}",
    "truncate of a partition": "TRUNCATE {p}",
    "merge": "MERGE INTO {t} b USING (SELECT timestamptz '2023-12-31 23:59+00' + {stamp} AS ts) v "
    "ON b.ts = v.ts WHEN MATCHED THEN DELETE",
    "another key": "UPDATE {t} SET symbol = 'GLBX.MDP3:ES' WHERE ts < '2024-01-01 00:02+00'",
}
MOVES = {
    "within a partition": "- interval '1 minute'",
    "into another partition": "+ interval '2 minutes'",
}


def _change(database: Database, table: BarsTable, statement: str) -> None:
    """Carry out `statement` on two bars: the last of 2023 and one in 2024, by their OPEN."""
    run(
        database.url,
        statement.format(
            t=table.name,
            # The close of the last minute of 2023 lies in 2024.
            p=f"{table.name}_y{2024 if table is LEGACY else 2023}",
            stamp="interval '1 minute'" if table is LEGACY else "interval '0'",
        ),
    )


def _kept(database: Database, symbol: str = NQ) -> list[tuple[Any, ...]]:
    return all_rows(database.url, KEPT, symbol)


@both_tables
@pytest.mark.parametrize("how", UPDATES)
def test_an_update_keeps_the_version_before(database: Database, table: BarsTable, how: str) -> None:
    store(database, [LATE], NEW_YEAR, table=table)

    _change(database, table, UPDATES[how])

    assert _kept(database) == [(table.layer, table.stamp(LATE.ts), PRICE, 7, "NQM4", "updated")]
    assert [row[5] for row in table_rows(database.url, table)] == [8]


@both_tables
@pytest.mark.parametrize("how", REMOVALS)
def test_a_removal_keeps_what_it_removes(database: Database, table: BarsTable, how: str) -> None:
    store(database, [LATE], NEW_YEAR, table=table)

    _change(database, table, REMOVALS[how])

    assert _kept(database) == [(table.layer, table.stamp(LATE.ts), PRICE, 7, "NQM4", "removed")]
    assert table_rows(database.url, table) == []


@both_tables
def test_emptying_a_whole_table_keeps_each_of_its_bars_once(
    database: Database, table: BarsTable
) -> None:
    store(database, [LATE, EARLY], NEW_YEAR, table=table)

    _change(database, table, "TRUNCATE {t}")

    assert [row[1] for row in _kept(database)] == [table.stamp(LATE.ts), table.stamp(EARLY.ts)]


@pytest.mark.parametrize("where", MOVES)
def test_a_bar_that_is_moved_was_at_its_old_minute_before_and_at_the_new_one_since(
    database: Database, where: str
) -> None:
    store(database, [LATE], NEW_YEAR, table=CLEAN)
    run(database.url, PARTITIONS.format(CLEAN.name))
    before = one_row(database.url, "SELECT clock_timestamp()")[0]

    _change(database, CLEAN, f"UPDATE {{t}} SET ts = ts {MOVES[where]}")

    [(ts, *_)] = table_rows(database.url, CLEAN)
    assert ts != LATE.ts
    assert _as_of(database, CLEAN, before) == [LATE.ts]
    assert _as_of(database, CLEAN, datetime.now(UTC)) == [ts]


@both_tables
def test_writing_the_same_values_makes_no_revision(database: Database, table: BarsTable) -> None:
    store(database, [LATE, EARLY], NEW_YEAR, table=table)

    _change(database, table, "UPDATE {t} SET volume = volume, created_at = now()")
    store(database, [LATE, EARLY], NEW_YEAR, table=table)

    assert _kept(database) == []


def test_a_program_that_may_not_touch_revisions_makes_them_all_the_same(
    database: Database,
) -> None:
    store(database, [LATE], NEW_YEAR)
    with psycopg.connect(database.url) as connection:
        connection.execute("CREATE ROLE clerk")
        connection.execute(f"GRANT SELECT, UPDATE ON {LEGACY.name} TO clerk")
        connection.execute("SET LOCAL ROLE clerk")
        connection.execute(f"UPDATE {LEGACY.name} SET volume = 8")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("DELETE FROM market_bars_revisions")
        connection.execute("RESET ROLE")
        kept = connection.execute("SELECT volume FROM market_bars_revisions").fetchall()
        connection.rollback()

    assert kept == [(7,)]


def test_a_version_is_valid_from_the_one_before_it(database: Database) -> None:
    day = days_from(DAY, 1)
    for volume in (1, 2, 3):
        store(database, [bar(0, volume=volume)], day)
    store(database, [], day)
    store(database, [bar(0, volume=4)], day)
    store(database, [], day)

    versions = all_rows(
        database.url,
        "SELECT volume, kind, valid_from, valid_to FROM market_bars_revisions ORDER BY valid_to",
    )

    assert [row[:2] for row in versions] == [
        (1, "updated"),
        (2, "updated"),
        (3, "removed"),
        (4, "removed"),
    ]
    assert versions[0][3] == versions[1][2]
    assert versions[1][3] == versions[2][2]
    assert versions[2][3] < versions[3][2] < versions[3][3]


def test_bars_that_were_adopted_are_kept_like_any_others(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url)
    migrate(empty_database_url)

    run(
        empty_database_url,
        "DELETE FROM market_bars_ohlcv_1m_adopted WHERE volume < 2",
        "UPDATE market_bars_ohlcv_1m SET volume = 99 WHERE volume = 2",
        "TRUNCATE market_bars_ohlcv_1m_clean",
    )

    assert run(
        empty_database_url,
        "SELECT layer, kind, verified, source, count(*) FROM market_bars_revisions "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2",
    ) == [
        ("clean", "removed", None, "adopted", 10),
        ("legacy", "removed", False, None, 4),
        ("legacy", "updated", False, None, 2),
    ]


def test_what_was_kept_outlives_going_down_and_up(database: Database) -> None:
    store(database, [LATE], NEW_YEAR)
    store(database, [LATE._replace(volume=8), bar(0, high=1)], NEW_YEAR)
    everything = [
        f"SELECT * FROM {table}" for table in ("quarantined_bars", "market_bars_revisions")
    ]
    kept = [run(database.url, query) for query in everything]

    downgrade(database.url, "0002")
    run(database.url, f"UPDATE {LEGACY.name} SET volume = 9")
    assert [run(database.url, query) for query in everything] == kept
    migrate(database.url)
    run(database.url, f"UPDATE {LEGACY.name} SET volume = 10")

    assert [row[3] for row in _kept(database)] == [7, 9]


def _as_of(database: Database, table: BarsTable, moment: datetime) -> list[int]:
    with database.connect("test") as connection:
        found = read_bars(connection, table, NQ, NEW_YEAR.start_ns, NEW_YEAR.end_ns, as_of=moment)
    return found.ts.tolist()


# Changes of every kind, by the product and by hand, each of which says what it does.
changes = st.one_of(
    st.tuples(st.just("store"), whole_bars(list(NEW_YEAR), (0, 1, 1438, 1439))),
    st.tuples(st.just("update"), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("move"), st.integers(1, 3)),
)


def _carry_out(
    connection: Connection, database: Database, table: BarsTable, symbol: str, change: Any
) -> None:
    kind, what = change
    if kind == "store":
        store(database, what, NEW_YEAR, table=table, symbol=symbol, batch_rows=2)
    elif kind == "update":
        connection.execute(
            f"UPDATE {table.name} SET volume = volume + 1 "
            "WHERE symbol = %s AND abs(hashtext(ts::text)) %% 10 > %s",
            (symbol, what),
        )
    elif kind == "delete":
        connection.execute(
            f"DELETE FROM {table.name} WHERE symbol = %s AND abs(hashtext(ts::text)) %% 10 = %s",
            (symbol, what),
        )
    elif table is CLEAN:
        # One bar after the other, since none may meet another on its way.
        for (ts,) in connection.execute(
            f"SELECT ts FROM {table.name} WHERE symbol = %s ORDER BY ts DESC", (symbol,)
        ).fetchall():
            connection.execute(
                f"UPDATE {table.name} SET ts = ts + %s * interval '1 minute' "
                "WHERE symbol = %s AND ts = %s",
                (what, symbol, ts),
            )


def _rows(connection: Connection, table: BarsTable, symbol: str, **as_of: Any) -> list[Bar]:
    # A day more, for what was moved.
    found = read_bars(
        connection,
        table,
        symbol,
        NEW_YEAR.start_ns,
        NEW_YEAR.end_ns + 86_400 * PRICE_UNIT,
        **as_of,
    )
    names = [found.contracts[code] for code in found.contract]
    return [
        Bar(*values, name)
        for *values, name in zip(
            *(
                getattr(found, name).tolist()
                for name in ("ts", "open", "high", "low", "close", "volume")
            ),
            names,
            strict=True,
        )
    ]


@both_tables
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=st.lists(changes, min_size=1, max_size=6))
def test_as_of_each_moment_the_table_is_what_it_was(
    database: Database, table: BarsTable, made: list[Any]
) -> None:
    symbol = f"TEST.ASOF:{next(numbered)}"
    with database.connect("test", autocommit=True) as connection:

        def snapshot() -> tuple[datetime, list[Bar]]:
            [moment] = connection.execute("SELECT clock_timestamp()").fetchone() or ()
            return moment, _rows(connection, table, symbol)

        connection.execute(PARTITIONS.format(table.name))
        snapshots = [snapshot()]
        for change in made:
            _carry_out(connection, database, table, symbol, change)
            snapshots.append(snapshot())

        for moment, rows in snapshots:
            assert _rows(connection, table, symbol, as_of=moment) == rows
    assert columns(snapshots[-1][1]).ts.tolist() == sorted(row.ts for row in snapshots[-1][1])
