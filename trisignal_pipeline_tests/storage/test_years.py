"""Partitions by year: listed, made ahead of need, and dropped only where nothing rests on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from trisignal_pipeline.errors import NotPermittedError, RangeError, SymbolBusyError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, read_bars
from trisignal_pipeline.storage.connection import Connection, Database, scalar
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.signal_computation import compute_signals
from trisignal_pipeline.storage.years import (
    TABLES,
    Dropped,
    drop_year,
    make_years,
    make_years_ahead,
    partitions,
)
from trisignal_pipeline_tests.storage.stored_bars import NQ, all_rows, bar, by_hand, one_row, walk
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days, stored_triangles

ES = "GLBX.MDP3:ES"
OLD_YEAR, NEW_YEAR = date(2023, 12, 31), date(2024, 1, 1)
DATES = DateRange(date(2023, 12, 29), date(2024, 1, 3))
# A bar on the very last minute of the year: its CLOSE is the first stamp of the next.
ROWS = sorted(
    {row.ts: row for row in (*walk(DATES, 7, share=0.03), bar(1439, day=OLD_YEAR))}.values()
)
OF_2023 = [row for row in ROWS if row.ts < DateRange(NEW_YEAR, NEW_YEAR).start_ns]


@pytest.fixture
def stored(database: Database) -> Database:
    """Bars of two years in both tables, and the signals of all of them."""
    for table in (LEGACY, CLEAN):
        store_days(database, ROWS, DATES, table)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)
    return database


def begin_in_2024(database: Database, symbol: str = NQ) -> None:
    """Let the symbol's history begin later, and compute its signals under that."""
    with database.connect("test", autocommit=True) as connection:
        registry.set_symbol(connection, symbol, {"history_start": "2024-01-01"})
        market = registry.market(connection, symbol)
        list(compute_signals(connection, market, DATES, only_in_doubt=True))


def drop(database: Database, year: int = 2023, *, really: bool = True) -> Dropped:
    with Database(database.url, role=None).connect("test") as connection:
        return drop_year(connection, year, really=really)


def everything(database: Database) -> list[object]:
    tables = (
        *TABLES, "triangle_events_v1", "bar_dates", "bar_gaps", "signal_dates",
        "signal_checkpoints", "market_bars_revisions", "deletions",
    )  # fmt: skip
    return [all_rows(database.url, f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]


def test_partitions_are_listed_with_bounds_rows_and_size(stored: Database) -> None:
    by_hand(stored.url, "ANALYZE")
    with stored.reading().connect("test") as connection:
        found = {(one.table, one.name): one for one in partitions(connection)}

    assert [table for table, _ in found] == [table for table in TABLES for _ in range(2)]
    clean = found[CLEAN.name, "market_bars_ohlcv_1m_clean_y2023"]
    assert (clean.start, clean.end) == (
        datetime(2023, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    assert clean.rows == len(OF_2023)
    assert clean.size_bytes > 8192
    assert clean.is_of(2023)
    assert not clean.reaches_into(2024)


def test_the_coming_year_is_ready_before_it_begins(database: Database) -> None:
    new_years_eve = datetime(2031, 12, 31, 23, 59, tzinfo=UTC)
    assert make_years_ahead(database, new_years_eve) == 6
    assert make_years_ahead(database, new_years_eve) == 0

    with database.reading().connect("test") as connection:
        assert {one.name[-4:] for one in partitions(connection)} == {"2031", "2032"}


def test_a_writer_makes_a_year_but_drops_none(stored: Database) -> None:
    begin_in_2024(stored)
    with stored.connect("test") as connection:
        assert make_years(connection, [2040]) == 3
    with (
        pytest.raises(NotPermittedError, match="to change the schema it has to own it"),
        stored.connect("test") as connection,
    ):
        drop_year(connection, 2023, really=True)


def test_a_year_that_nothing_rests_on_goes_with_all_that_is_known_of_it(stored: Database) -> None:
    by_hand(
        stored.url,
        "INSERT INTO lead_contract_doubts (symbol, date, stored_contract, lead_contract) "
        f"VALUES ('{NQ}', '2023-12-29', 'NQZ3', 'NQH4'), ('{NQ}', '2024-01-02', 'NQZ3', 'NQH4'); "
        "INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed) "
        f"VALUES ('{NQ}', '2023-12-29', 'clean_bars', 'c', 'ERROR', false), "
        f"('{NQ}', '2023-12-29', 'raw_dbn_files', 'c', 'ERROR', false)",
    )
    begin_in_2024(stored)
    kept = [row for row in ROWS if row not in OF_2023]
    triangles = stored_triangles(stored.url)

    told = drop(stored, really=False)
    dropped = drop(stored)

    # To tell, rows are counted by deleting them and taking that back: tables may grow by it.
    assert told.size_bytes > 0
    assert replace(told, size_bytes=dropped.size_bytes) == dropped
    assert dropped.partitions == tuple(f"{table}_y2023" for table in TABLES)
    # With the legacy bar of the last minute, which lies in the next year's partition.
    assert dropped.rows == 2 * len(OF_2023)
    assert one_row(stored.url, "SELECT count(*) FROM market_bars_ohlcv_1m") == (len(kept),)
    assert one_row(stored.url, "SELECT count(*) FROM market_bars_ohlcv_1m_clean") == (len(kept),)
    for table in ("bar_dates", "signal_dates", "signal_checkpoints", "lead_contract_doubts"):
        assert one_row(stored.url, f"SELECT min(date) >= '2024-01-01' FROM {table}") == (True,)
    assert all_rows(stored.url, "SELECT asset FROM data_quality_results") == [("raw_dbn_files",)]
    assert stored_triangles(stored.url) == triangles
    with stored.reading().connect("test") as connection:
        assert doubts(connection) == []


def test_a_dropped_year_can_be_stored_again(stored: Database) -> None:
    begin_in_2024(stored)
    drop(stored)

    store_days(stored, ROWS, DATES, CLEAN)

    assert one_row(stored.url, "SELECT count(*) FROM market_bars_ohlcv_1m_clean") == (len(ROWS),)
    with stored.reading().connect("test") as connection:
        assert doubts(connection) == []


def test_what_was_there_before_a_drop_is_refused_and_not_told_wrong(stored: Database) -> None:
    before = one_row(stored.url, "SELECT clock_timestamp()")[0]
    begin_in_2024(stored)
    drop(stored)

    def then(dates: DateRange) -> int:
        with stored.reading().connect("test") as connection:
            return len(read_bars(connection, CLEAN, NQ, dates.start_ns, dates.end_ns, as_of=before))

    with pytest.raises(RangeError, match="the year of these bars was dropped on"):
        then(DATES)
    assert then(DateRange(NEW_YEAR, DATES.end)) == len(ROWS) - len(OF_2023)


def _as_it_is(database: Database) -> None:
    """The signal's history begins with the first bar."""


def _later_and_not_computed(database: Database) -> None:
    with database.connect("test") as connection:
        registry.set_symbol(connection, NQ, {"history_start": "2024-01-01"})


def _another_symbol(database: Database) -> None:
    begin_in_2024(database)
    store_days(database, ROWS, DATES, CLEAN, ES)


def _an_earlier_year(database: Database) -> None:
    begin_in_2024(database)
    store_days(database, [bar(1439, day=date(2022, 12, 31))], DateRange(date(2022, 12, 31),
               date(2022, 12, 31)), LEGACY)  # fmt: skip


def _a_wide_partition(database: Database) -> None:
    begin_in_2024(database)
    by_hand(
        database.url,
        "DROP TABLE bias_series_1m_v1_y2023; CREATE TABLE wide PARTITION OF bias_series_1m_v1 "
        "FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2024-01-01 00:00+00')",
    )


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_as_it_is, r"the signal may use it.*symbols set GLBX.MDP3:NQ history_start=2024-01-01"),
        (_later_and_not_computed, r"signals rest on it: those of GLBX.MDP3:NQ.*trisignal refresh"),
        (_another_symbol, "the history of GLBX.MDP3:ES begins before"),
        (_an_earlier_year, "dates before it are there, the first of them 2022-12-31; drop 2022"),
        (_a_wide_partition, "the partition wide holds other years"),
    ],
)
def test_a_year_that_something_rests_on_stays(
    stored: Database, prepare: Callable[[Database], None], reason: str
) -> None:
    prepare(stored)
    before = everything(stored)

    with pytest.raises(RangeError, match=reason):
        drop(stored)

    assert everything(stored) == before


def test_years_go_from_the_first_one_on(stored: Database) -> None:
    _an_earlier_year(stored)

    drop(stored, 2022)
    drop(stored, 2023)

    assert one_row(stored.url, "SELECT min(date) FROM bar_dates") == (NEW_YEAR,)
    with pytest.raises(RangeError, match="there is nothing of 2022"):
        drop(stored, 2022)


def test_a_year_is_not_dropped_under_a_run(stored: Database) -> None:
    begin_in_2024(stored)
    with symbol_lock(stored, ES), pytest.raises(SymbolBusyError, match=f"{ES}: a run is working"):
        drop(stored)


def test_asking_what_would_go_changes_nothing(stored: Database) -> None:
    begin_in_2024(stored)
    before = everything(stored)

    assert drop(stored, really=False).rows > 0

    assert everything(stored) == before


def test_a_year_that_is_none_is_refused(connection: Connection) -> None:
    with pytest.raises(RangeError, match="from 1970 to 2199"):
        make_years(connection, [20240])
    assert scalar(connection, "SELECT count(*) FROM deletions") == 0
