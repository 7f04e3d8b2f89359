"""Writing a range: whatever is delivered, in whatever batches, is accounted for row by row."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE
from trisignal_pipeline.market.dates import DateRange, date_of_ns, iso_minute
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    all_rows,
    bar,
    days_from,
    delivered,
    expected_rows,
    moment,
    one_row,
    store,
    table_rows,
    walk,
    whole_bars,
)

DATES = DateRange(date(2023, 12, 30), date(2024, 1, 2))
numbered = count()

COUNTS = "row_count, inserted_count, updated_count, unchanged_count, rejected_count, removed_count"


def _counts(database: Database, run_id: int) -> tuple[int, ...]:
    return one_row(database.url, f"SELECT {COUNTS} FROM data_ingest_runs WHERE id = %s", run_id)


def _dates(database: Database, symbol: str = NQ) -> list[tuple[object, ...]]:
    return all_rows(
        database.url,
        "SELECT date, layer, state, bar_count, rejected_count, contract, first_ts, last_ts, "
        "fingerprint, ingestion_run_id, completed_at FROM bar_dates WHERE symbol = %s "
        "ORDER BY date, layer",
        symbol,
    )


faults = st.sampled_from(
    [
        {},
        {},
        {},
        {"high": 5 * PRICE_UNIT},
        {"low": 20 * PRICE_UNIT},
        {"open": UNDEFINED_PRICE},
        {"close": -PRICE_UNIT, "low": -2 * PRICE_UNIT},
    ]
)
any_bar = st.builds(
    lambda row, fault: row._replace(**fault),
    whole_bars(list(DATES), (0, 1, 700, 1438, 1439)).filter(bool).map(lambda rows: rows[0]),
    faults,
)
any_delivery = st.lists(any_bar, max_size=12)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(any_delivery, st.integers(1, 5)), min_size=1, max_size=3))
def test_every_row_read_is_counted_once_whatever_was_delivered(
    database: Database, deliveries: list[tuple[list[Bar], int]]
) -> None:
    symbol = f"TEST.COUNTS:{next(numbered)}"
    for rows, batch_rows in deliveries:
        before = len(table_rows(database.url, LEGACY, symbol))
        run_id = store(database, rows, DATES, symbol=symbol, batch_rows=batch_rows)

        read, inserted, updated, unchanged, rejected, removed = _counts(database, run_id)
        screened = delivered(rows)
        assert read == len(rows)
        assert read == inserted + updated + unchanged + rejected
        assert rejected == len(screened.rejected)
        assert before + inserted - removed == len(screened.accepted)
        stored = table_rows(database.url, LEGACY, symbol)
        assert [row[0] for row in stored] == [
            LEGACY.stamp(ts) for ts in screened.accepted.ts.tolist()
        ]
        assert one_row(
            database.url, "SELECT rejected_by_rule FROM data_ingest_runs WHERE id = %s", run_id
        ) == ({rule: int(mask.sum()) for rule, mask in screened.broken.items()},)


@pytest.mark.parametrize("table", [LEGACY, CLEAN], ids=lambda table: table.layer)
@pytest.mark.parametrize("batch_rows", [1, 7, 29, 30, 10_000])
def test_batches_of_any_size_give_the_same_table(
    database: Database, table: BarsTable, batch_rows: int
) -> None:
    rows = walk(DATES, seed=3, share=0.005)
    before = walk(DATES, seed=4, share=0.005)

    store(database, before, DATES, table=table)
    run_id = store(database, rows, DATES, table=table, batch_rows=batch_rows)

    assert table_rows(database.url, table) == expected_rows(rows, table)
    batches = one_row(
        database.url, "SELECT batch_count FROM data_ingest_runs WHERE id = %s", run_id
    )
    assert batches == (-(-len(rows) // batch_rows),)
    counts = _counts(database, run_id)
    assert counts[0] == len(rows)
    assert counts[5] == len({row.ts for row in before} - {row.ts for row in rows})
    assert [row[2:4] for row in _dates(database)] == [
        ("complete", sum(date_of_ns(row.ts) == day for row in rows)) for day in DATES
    ]


def test_a_batch_holds_rejected_rows_as_well(database: Database) -> None:
    rows = [bar(minute, high=PRICE_UNIT) for minute in range(9)] + [bar(20)]
    heard: list[int] = []

    run_id = store(database, rows, days_from(DAY, 1), batch_rows=4, on_batch=heard.append)

    assert heard == [0, 0, 1]
    assert _counts(database, run_id) == (10, 1, 0, 0, 9, 0)


def test_a_minute_is_never_cut_in_two(database: Database) -> None:
    rows = [bar(0), *(bar(1, volume=n) for n in range(7)), bar(2), bar(3)]
    heard: list[int] = []

    run_id = store(database, rows, days_from(DAY, 1), batch_rows=3, on_batch=heard.append)

    assert heard == [1, 1, 2]
    assert _counts(database, run_id) == (10, 4, 0, 0, 6, 0)


def test_the_audit_has_the_first_and_last_minute_as_the_table_stamps_them(
    database: Database,
) -> None:
    rows = [bar(minute) for minute in range(10, 15)]

    legacy = store(database, rows, days_from(DAY, 1), batch_rows=2)
    clean = store(database, rows, days_from(DAY, 1), table=CLEAN, batch_rows=2)

    spans = all_rows(
        database.url,
        "SELECT min_ts, max_ts FROM data_ingest_runs WHERE id = ANY(%s) ORDER BY id",
        [legacy, clean],
    )
    assert spans == [(moment(11), moment(15)), (moment(10), moment(14))]


def test_the_same_delivery_again_changes_nothing(database: Database) -> None:
    rows = walk(DATES, seed=5)
    store(database, rows, DATES)
    before = table_rows(database.url, LEGACY, NQ, "created_at", "ingestion_run_id")
    dates = _dates(database)

    run_id = store(database, rows, DATES, batch_rows=11)

    assert _counts(database, run_id) == (len(rows), 0, 0, len(rows), 0, 0)
    assert table_rows(database.url, LEGACY, NQ, "created_at", "ingestion_run_id") == before
    assert _dates(database) == dates


def test_a_date_without_bars_is_complete_and_empty(database: Database) -> None:
    run_id = store(database, [], DATES)

    assert _counts(database, run_id) == (0, 0, 0, 0, 0, 0)
    assert [row[1:6] for row in _dates(database)] == [("legacy", "complete", 0, 0, None)] * 4


def test_a_date_whose_bars_are_all_rejected_is_complete_and_says_so(database: Database) -> None:
    rows = [bar(minute, high=PRICE_UNIT) for minute in range(3)]

    run_id = store(database, rows, days_from(DAY, 1))

    assert _counts(database, run_id) == (3, 0, 0, 0, 3, 0)
    assert [row[2:5] for row in _dates(database)] == [("complete", 0, 3)]


def test_what_is_no_longer_delivered_is_removed_and_counted_apart(database: Database) -> None:
    rows = [bar(minute) for minute in range(6)]
    store(database, rows, days_from(DAY, 1))

    run_id = store(database, rows[::2], days_from(DAY, 1), batch_rows=1)

    assert _counts(database, run_id) == (3, 0, 0, 3, 0, 3)
    assert table_rows(database.url, LEGACY) == expected_rows(rows[::2], LEGACY)


def test_a_run_leaves_other_dates_and_the_other_table_alone(database: Database) -> None:
    week = days_from(DAY, 5)
    rows = walk(week, seed=6)
    store(database, rows, week)
    store(database, rows, week, table=CLEAN)
    clean = table_rows(database.url, CLEAN, NQ, "created_at")
    middle = DAY + timedelta(days=2)
    dates = [row for row in _dates(database) if row[:2] != (middle, "legacy")]

    store(database, [], DateRange(middle, middle))

    left = [row for row in rows if date_of_ns(row.ts) != middle]
    assert table_rows(database.url, LEGACY) == expected_rows(left, LEGACY)
    assert table_rows(database.url, CLEAN, NQ, "created_at") == clean
    assert [row for row in _dates(database) if row[:2] != (middle, "legacy")] == dates


def test_of_changed_dates_only_those_are_being_written_until_the_end(database: Database) -> None:
    days = days_from(DAY, 3)
    rows = [bar(minute, day=day) for day in days for minute in range(4)]
    store(database, rows, days)
    rows[5] = rows[5]._replace(volume=8)
    seen = []

    def look(_bars: int) -> None:
        seen.append([row[2] for row in _dates(database)])

    with (
        symbol_lock(database, NQ) as held,
        ingest_run(
            database,
            asset="legacy_bars",
            symbol=NQ,
            dates=days,
            source="dbn_files",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        write_range(
            held,
            run,
            LEGACY,
            days,
            delivered(rows),
            source="dbn_files",
            batch_rows=2,
            on_batch=look,
        )

    complete, writing = ["complete"] * 3, ["complete", "writing", "complete"]
    assert seen == [complete] * 2 + [writing] * 4
    assert [row[2] for row in _dates(database)] == complete


def test_progress_hears_of_every_bar(database: Database) -> None:
    rows = [bar(minute) for minute in range(10)]
    heard: list[int] = []

    with (
        symbol_lock(database, NQ) as held,
        ingest_run(
            database,
            asset="legacy_bars",
            symbol=NQ,
            dates=days_from(DAY, 1),
            source="dbn_files",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        write_range(
            held,
            run,
            LEGACY,
            days_from(DAY, 1),
            delivered(rows),
            source="dbn_files",
            batch_rows=4,
            on_batch=heard.append,
        )

    assert heard == [4, 4, 2]


def test_of_a_minute_delivered_twice_the_last_one_stands(database: Database) -> None:
    rows = [bar(0), bar(1, volume=1), bar(1, volume=2), bar(2)]

    run_id = store(database, rows, days_from(DAY, 1), batch_rows=1)

    assert _counts(database, run_id) == (4, 3, 0, 0, 1, 0)
    assert [row[5] for row in table_rows(database.url, LEGACY)] == [7, 2, 7]


def test_bars_at_both_ends_of_a_year_are_one_range(database: Database) -> None:
    rows = [bar(1439, day=date(2023, 12, 31)), bar(0, day=date(2024, 1, 1))]

    store(database, rows, DATES, batch_rows=1)

    assert [iso_minute(row[0]) for row in table_rows(database.url, LEGACY)] == [
        "2024-01-01T00:00:00Z",
        "2024-01-01T00:01:00Z",
    ]
