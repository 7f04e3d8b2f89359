"""Figures of health: what each says, and that it says nothing where there is nothing to tell."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.errors import CalendarError
from trisignal_pipeline.market.dates import DateRange, midnight_ns
from trisignal_pipeline.market.symbols import Anchor, Market, parse_internal
from trisignal_pipeline.storage import registry, slow_statements
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.figures import Measured, keep
from trisignal_pipeline.storage.health import health, minutes_behind
from trisignal_pipeline.storage.migrations import downgrade, grant_to_roles, migrate
from trisignal_pipeline.storage.slow_statements import keep_statistics
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    all_rows,
    bar,
    by_hand,
    days_from,
    moment,
    one_row,
    store,
    walk,
)
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days, stored_triangles

ES = "GLBX.MDP3:ES"
FRIDAY, SUNDAY = date(2024, 6, 21), date(2024, 6, 23)
MINUTE = timedelta(minutes=1)


def measure(database: Database, now: datetime | None = None, **folders: Path) -> list[Measured]:
    with database.reading().connect("test") as connection:
        return health(connection, now or datetime.now(UTC), folders)


def values(measured: list[Measured], name: str) -> dict[str, float]:
    return {one.subject: one.value for one in measured if one.figure.name == name}


def test_nothing_stored_has_sizes_and_no_shares(database: Database) -> None:
    measured = measure(database)

    tables = values(measured, "table_bytes")
    assert {"market_bars_ohlcv_1m", "health_figures", "symbol_registry"} <= set(tables)
    assert not any(name.endswith(("_y2024", "_y2026")) for name in tables)
    assert values(measured, "database_bytes")[""] > 1e6
    assert values(measured, "ingest_runs") == {"success": 0, "failed": 0, "running": 0}
    for name in (
        "behind_minutes", "in_doubt_ratio", "quarantine_ratio", "ingest_success_ratio",
        "growth_bytes", "stored_rows", "disk_free_bytes",
    ):  # fmt: skip
        assert values(measured, name) == {}


def test_sizes_are_those_of_all_partitions_together(database: Database) -> None:
    before = values(measure(database), "table_bytes")[LEGACY.name]
    for year in (2023, 2024):
        dates = days_from(date(year, 6, 19), 2)
        store(database, walk(dates, 3, share=0.2), dates)

    measured = measure(database)

    [(table, indexes)] = all_rows(
        database.url,
        "SELECT sum(pg_table_size(relid)), sum(pg_indexes_size(relid)) "
        "FROM pg_partition_tree('market_bars_ohlcv_1m')",
    )
    assert values(measured, "table_bytes")[LEGACY.name] == table > before
    assert values(measured, "index_bytes")[LEGACY.name] == indexes


def test_rows_are_those_of_each_table_by_symbol(database: Database) -> None:
    dates = days_from(DAY, 2)
    rows = walk(dates, 41, share=0.03)
    store_days(database, rows, dates, LEGACY)
    store_days(database, rows, dates, CLEAN)
    store_days(database, rows[:5], dates, LEGACY, ES)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, dates)

    assert values(measure(database), "stored_rows") == {
        f"market_bars_ohlcv_1m {ES}": 5,
        f"market_bars_ohlcv_1m {NQ}": len(rows),
        f"market_bars_ohlcv_1m_clean {NQ}": len(rows),
        f"bias_series_1m_v1 {NQ}": len(rows),
        f"triangle_events_v1 {NQ}": len(stored_triangles(database.url)),
    }


def test_growth_is_that_since_the_last_measurement_and_a_day_over_the_last_ones(
    database: Database,
) -> None:
    by_hand(
        database.url,
        "INSERT INTO health_figures SELECT now() - days * interval '1 day', figure, %s, bytes "
        "FROM (VALUES (30, 1e9), (2, 1e6), (1, 2e6)) AS m (days, bytes), "
        "(VALUES ('table_bytes'), ('index_bytes')) AS f (figure)",
        LEGACY.name,
    )

    measured = measure(database)

    size = sum(values(measured, name)[LEGACY.name] for name in ("table_bytes", "index_bytes"))
    assert values(measured, "growth_bytes") == {LEGACY.name: size - 4e6}
    assert values(measured, "growth_a_day_bytes") == {
        LEGACY.name: pytest.approx((size - 2e6) / 2, rel=1e-3)
    }


def test_what_is_kept_is_what_was_measured(database: Database) -> None:
    measured = measure(database)

    with database.connect("test") as connection:
        at = keep(connection, measured)

    assert all_rows(
        database.url, "SELECT measured_at, figure, subject, value FROM health_figures ORDER BY 2, 3"
    ) == sorted((at, one.figure.name, one.subject, one.value) for one in measured)
    assert len(values(measure(database), "growth_bytes")) > 15
    # Not yet an hour.
    assert values(measure(database), "growth_a_day_bytes") == {}


NQ_MARKET = Market(parse_internal(NQ))


@pytest.mark.parametrize(
    ("day", "minute", "behind"),
    [
        (FRIDAY, 21 * 60, 0),  # the close: the bar of 20:59 is the last
        (SUNDAY, 0, 0),  # a weekend is not staleness
        (SUNDAY, 22 * 60, 0),  # open, and no minute has finished
        (SUNDAY, 22 * 60 + 1, 1),
        (date(2024, 6, 24), 0, 120),
        (date(2024, 6, 25), 0, 120 + 23 * 60),
        (date(2024, 6, 20), 0, 0),  # a clock that goes wrong
    ],
)
def test_only_minutes_on_which_the_market_was_open_count(
    day: date, minute: int, behind: int
) -> None:
    last = midnight_ns(FRIDAY) + (20 * 60 + 59) * 60_000_000_000
    now = midnight_ns(day) + minute * 60_000_000_000 + 59_000_000_000

    assert minutes_behind(NQ_MARKET, last, now) == behind


def test_a_market_of_utc_days_never_closes() -> None:
    market = Market(parse_internal(NQ), anchor=Anchor.UTC, session_profile="none")
    last = midnight_ns(FRIDAY)
    assert minutes_behind(market, last, midnight_ns(SUNDAY)) == 2 * 24 * 60 - 1
    with pytest.raises(CalendarError):
        minutes_behind(Market(parse_internal(NQ), session_profile="none"), last, last * 2)


def test_active_symbols_are_as_fresh_as_their_newest_clean_bar(database: Database) -> None:
    for symbol in (NQ, ES, "GLBX.MDP3:YM"):
        store(database, [bar(0), bar(10)], days_from(DAY, 1), symbol=symbol, table=CLEAN)
    store(database, [bar(30)], days_from(DAY, 1))
    with database.connect("test") as connection:
        registry.set_symbol(connection, ES, {"is_active": False})

    measured = measure(database, moment(20) + MINUTE)

    assert values(measured, "behind_minutes") == {NQ: 10, "GLBX.MDP3:YM": 10}


def test_doubt_is_a_share_of_the_signal_s_rows(database: Database) -> None:
    dates = days_from(DAY, 2)
    rows = walk(dates, 41, share=0.03)
    store_days(database, rows, dates)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, dates)
    assert values(measure(database), "in_doubt_ratio") == {NQ: 0}

    second = [row for row in rows if row.ts >= DateRange(dates.end, dates.end).start_ns]
    store_days(database, [row._replace(low=row.low - 1) for row in second],
               DateRange(dates.end, dates.end))  # fmt: skip

    measured = measure(database)
    assert values(measured, "dates_in_doubt") == {NQ: 1}
    assert values(measured, "in_doubt_ratio") == {NQ: pytest.approx(len(second) / len(rows))}

    by_hand(database.url, "UPDATE signal_dates SET logic_version = '0'")
    assert values(measure(database), "in_doubt_ratio") == {NQ: 1}


def test_the_quarantine_rate_is_that_of_bars_rejected_now(database: Database) -> None:
    broken = [bar(minute, high=1) for minute in range(2)]
    store(database, [*broken, bar(2), bar(3)], days_from(DAY, 1))
    assert values(measure(database), "quarantine_ratio") == {f"legacy {NQ}": 0.5}

    store(database, [*broken[:1], bar(1), bar(2), bar(3)], days_from(DAY, 1))

    measured = measure(database)
    assert values(measured, "quarantined_rows") == {f"legacy {NQ}": 1}
    assert values(measured, "quarantine_ratio") == {f"legacy {NQ}": 0.25}


def test_runs_count_for_a_week_and_a_dead_one_is_stale(database: Database) -> None:
    for _ in range(3):
        store(database, [bar(0)], days_from(DAY, 1))
    by_hand(
        database.url,
        "UPDATE data_ingest_runs SET status = 'failed' WHERE id = 2; "
        "UPDATE data_ingest_runs SET started_at = now() - interval '8 days' WHERE id = 1; "
        "INSERT INTO data_ingest_runs (id, status) VALUES (1001, 'running'), (1002, 'running')",
    )
    with psycopg.connect(database.url) as alive:
        alive.execute("SELECT pg_advisory_lock(x'75160002'::integer, 1001)")

        measured = measure(database)

    assert values(measured, "ingest_runs") == {"success": 1, "failed": 1, "running": 2}
    assert values(measured, "ingest_success_ratio") == {"": 0.5}
    assert values(measured, "stale_runs") == {"": 1}


def test_the_disk_of_a_folder_counts_before_the_folder_is_made(
    database: Database, tmp_path: Path
) -> None:
    measured = measure(database, home=tmp_path / "not" / "there")

    assert 0 < values(measured, "disk_free_ratio")["home"] <= 1
    assert values(measured, "disk_free_bytes")["home"] > 0


def test_statements_are_measured_where_the_server_keeps_statistics(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_statements, "SLOW_SECONDS", 1e-9)
    measured = measure(database)
    assert values(measured, "statement_statistics") == {"": 0}
    assert values(measured, "slow_statements") == {}

    keep_statistics(database)
    keep_statistics(database)
    by_hand(database.url, "SELECT count(*) FROM generate_series(1, 100000)")

    measured = measure(database)
    assert values(measured, "statement_statistics") == {"": 1}
    assert values(measured, "slow_statements")[""] >= 1
    assert (
        0
        < values(measured, "slowest_statement_seconds")[""]
        <= values(measured, "statements_seconds")[""]
    )


def test_figures_and_deletions_outlast_a_way_down(database: Database) -> None:
    by_hand(
        database.url,
        "INSERT INTO health_figures VALUES (now(), 'connections', '', 3); "
        "INSERT INTO deletions (what, lower_bound, upper_bound, row_count) "
        "VALUES ('year', '2011-01-01', '2012-01-01', 7)",
    )
    kept = "SELECT value, row_count, deleted_at FROM health_figures, deletions"
    before = all_rows(database.url, kept)
    rights = (
        "SELECT has_table_privilege('trisignal_reader', 'health_figures', 'SELECT'), "
        "has_table_privilege('trisignal_writer', 'health_figures', 'INSERT, DELETE'), "
        "has_table_privilege('trisignal_writer', 'deletions', 'INSERT'), "
        "has_table_privilege('trisignal_writer', 'deletions', 'UPDATE') "
        "OR has_table_privilege('trisignal_writer', 'deletions', 'DELETE')"
    )
    assert one_row(database.url, rights) == (True, True, True, False)
    granted = "SELECT prosrc FROM pg_proc WHERE oid = 'grant_to_roles()'::regprocedure"
    in_0009 = one_row(database.url, granted)

    downgrade(database.url, "0008")

    assert all_rows(database.url, kept) == before
    assert one_row(database.url, rights) == (False, False, False, False)
    in_0008 = one_row(database.url, granted)
    assert "health_figures" not in in_0008[0]
    grant_to_roles(database.url)

    migrate(database.url)

    assert all_rows(database.url, kept) == before
    assert one_row(database.url, rights) == (True, True, True, False)
    assert one_row(database.url, granted) == in_0009
