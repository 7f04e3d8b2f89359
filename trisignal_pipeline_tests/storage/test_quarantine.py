"""Rejected bars are kept as delivered, and those of overruled files beside the revisions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE
from trisignal_pipeline.market.deliveries import merge_deliveries
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.schemas import clean_bar, legacy_bar
from trisignal_pipeline.screening import screen
from trisignal_pipeline.storage.audit import IngestFile
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.original_tables import run
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    all_rows,
    bar,
    columns,
    days_from,
    moment,
    one_row,
    store,
    store_delivery,
    table_rows,
    whole_bars,
)

DATES = days_from(DAY, 2)
FLOOR = HygieneThresholds(price_floor=1000 * PRICE_UNIT)
ANY_PRICE = HygieneThresholds(price_floor=None)
numbered = count()

QUARANTINE = (
    "SELECT ts, open, high, low, close, volume, contract, rules, file_name, file_sha256 "
    "FROM quarantined_bars WHERE symbol = %s AND released_at IS NULL "
    "ORDER BY ts, file_name, volume, open, id"
)
SUPERSEDED = (
    "SELECT ts, open, high, low, close, volume, contract, file_name, file_sha256 "
    "FROM market_bars_revisions WHERE symbol = %s AND kind = 'superseded' "
    "ORDER BY ts, file_name, volume, open"
)


def _deliver(
    database: Database,
    files: Sequence[tuple[str, list[Bar]]],
    *,
    symbol: str = NQ,
    table: BarsTable = LEGACY,
    limits: HygieneThresholds = ANY_PRICE,
    batch_rows: int = 500,
) -> int:
    """Write the bars of `files`, each a name and rows in order of time; later files come later."""
    schema = (legacy_bar if table is LEGACY else clean_bar)(limits)
    return store_delivery(
        database,
        screen(schema, merge_deliveries([columns(rows) for _, rows in files])),
        DATES,
        symbol=symbol,
        table=table,
        files=[IngestFile(name, f"sha of {name}") for name, _ in files],
        batch_rows=batch_rows,
    )


def _everything(database: Database) -> list[list[tuple[Any, ...]]]:
    return [
        all_rows(database.url, "SELECT * FROM quarantined_bars ORDER BY id"),
        all_rows(database.url, "SELECT * FROM market_bars_revisions ORDER BY ts, recorded_at"),
    ]


def test_a_rejected_bar_is_kept_as_delivered_with_all_its_rules_and_its_file(
    database: Database,
) -> None:
    bad = bar(
        3, 900 * PRICE_UNIT, open=UNDEFINED_PRICE, high=-5, low=899 * PRICE_UNIT, volume=12345678901
    )

    run_id = _deliver(
        database, [("a.dbn", [bar(2)]), ("b.dbn", [bad, bar(4)])], table=CLEAN, limits=FLOOR
    )

    assert all_rows(
        database.url,
        "SELECT layer, symbol, ts, open, high, low, close, volume, contract, rules, file_name, "
        "file_sha256, source, ingestion_run_id, released_at, released_by_run FROM quarantined_bars",
    ) == [
        (
            "clean",
            NQ,
            moment(3),
            UNDEFINED_PRICE,
            -5,
            899 * PRICE_UNIT,
            900 * PRICE_UNIT,
            12345678901,
            "NQM4",
            ["UNDEFINED_PRICE", "OHLC_INTEGRITY", "NEGATIVE_PRICE", "PRICE_LT_1000"],
            "b.dbn",
            "sha of b.dbn",
            "legacy",
            run_id,
            None,
            None,
        )
    ]
    assert one_row(
        database.url, "SELECT open, high, low, close FROM quarantined_bars_in_points"
    ) == (None, Decimal("-0.000000005"), 899, 900)


def test_bars_are_kept_by_their_open_in_both_layers(database: Database) -> None:
    for table in (LEGACY, CLEAN):
        store(database, [bar(7, high=1)], DATES, table=table)

    assert all_rows(
        database.url, "SELECT layer, ts, file_name, file_sha256 FROM quarantined_bars ORDER BY id"
    ) == [("legacy", moment(7), None, None), ("clean", moment(7), None, None)]


def test_the_same_again_changes_nothing_not_even_an_id(database: Database) -> None:
    files = [
        ("a.dbn", [bar(0, volume=1), bar(1, high=1), bar(1, high=1), bar(2), bar(2, volume=3)]),
        ("b.dbn", [bar(0, volume=2), bar(1, high=2)]),
    ]
    _deliver(database, files)
    before = _everything(database)
    assert [len(rows) for rows in before] == [4, 1]

    _deliver(database, files, batch_rows=1)

    assert _everything(database) == before


def test_a_bar_that_a_file_holds_three_times_is_kept_twice(database: Database) -> None:
    _deliver(database, [("a.dbn", [bar(0), bar(0), bar(0)])])

    kept = all_rows(database.url, "SELECT rules FROM quarantined_bars")
    assert kept == [(["DUPLICATE_MINUTE"],)] * 2


def test_what_is_no_longer_rejected_is_released_and_stays(database: Database) -> None:
    bad, gone = bar(0, high=1), bar(1, high=1)
    first = _deliver(database, [("a.dbn", [bad, gone, bar(1000, high=1)])], batch_rows=1)

    second = _deliver(database, [("a.dbn", [bar(0), bar(1000, high=1)])], batch_rows=1)
    third = _deliver(database, [("a.dbn", [bad, bar(1000, high=1)])], batch_rows=1)

    assert all_rows(
        database.url,
        "SELECT ts, ingestion_run_id, released_by_run, released_at > quarantined_at "
        "FROM quarantined_bars ORDER BY id",
    ) == [
        (moment(0), first, second, True),
        (moment(1), first, second, True),
        (moment(1000), first, None, None),
        (moment(0), third, None, None),
    ]


def test_a_run_releases_nothing_beside_its_span_symbol_and_layer(database: Database) -> None:
    rows = [bar(0, high=1)]
    store(database, rows, DATES)
    store(database, rows, DATES, table=CLEAN)
    store(database, rows, DATES, symbol="GLBX.MDP3:ES")

    store(database, [], days_from(DATES.end, 1))
    store(database, [], DATES, table=CLEAN)

    assert all_rows(
        database.url,
        "SELECT symbol, layer FROM quarantined_bars WHERE released_at IS NULL ORDER BY id",
    ) == [(NQ, "legacy"), ("GLBX.MDP3:ES", "legacy")]


def test_an_overruled_bar_is_a_revision_that_never_was_valid(database: Database) -> None:
    run_id = _deliver(database, [("a.dbn", [bar(0, volume=1)]), ("b.dbn", [bar(0, volume=2)])])

    assert [row[5] for row in table_rows(database.url, LEGACY)] == [2]
    assert all_rows(
        database.url,
        "SELECT layer, ts, close, volume, contract, source, ingestion_run_id, kind, valid_from, "
        "valid_to, file_name, file_sha256 FROM market_bars_revisions",
    ) == [
        (
            "legacy",
            moment(1),  # the CLOSE
            20_000,
            1,
            "NQM4",
            "legacy",
            run_id,
            "superseded",
            None,
            None,
            "a.dbn",
            "sha of a.dbn",
        )
    ]
    assert all_rows(database.url, "SELECT FROM quarantined_bars") == []
    assert one_row(
        database.url,
        "SELECT row_count, inserted_count, rejected_count, rejected_by_rule FROM data_ingest_runs",
    ) == (2, 1, 1, {"SUPERSEDED_BY_LATER_FILE": 1})


good = whole_bars(list(DATES), (0, 1, 2))
some_bad = st.tuples(good, st.sets(st.integers(0, 9))).map(
    lambda made: [
        row._replace(high=1) if number in made[1] else row for number, row in enumerate(made[0])
    ]
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(some_bad, min_size=2, max_size=3), st.integers(1, 4))
def test_files_one_by_one_in_any_order_leave_what_all_at_once_leave(
    database: Database, deliveries: list[list[Bar]], batch_rows: int
) -> None:
    files = [(f"{number}.dbn", rows) for number, rows in enumerate(deliveries)]

    def left(symbol: str) -> list[list[tuple[Any, ...]]]:
        return [
            table_rows(database.url, LEGACY, symbol),
            all_rows(database.url, QUARANTINE, symbol),
            all_rows(database.url, SUPERSEDED, symbol),
        ]

    at_once = f"TEST.ORDER:{next(numbered)}"
    _deliver(database, files, symbol=at_once)
    for arrival in itertools.permutations(range(len(files))):
        symbol = f"TEST.ORDER:{next(numbered)}"
        for arrived in range(1, len(files) + 1):
            there = [files[number] for number in sorted(arrival[:arrived])]
            _deliver(database, there, symbol=symbol, batch_rows=batch_rows)
        assert left(symbol) == left(at_once)


def test_a_delivery_of_nothing_but_bad_bars_is_kept_in_batches(database: Database) -> None:
    rows = [bar(minute, high=1) for minute in range(1000)]

    run_id = store(database, rows, DATES, batch_rows=100)

    assert one_row(
        database.url,
        "SELECT rejected_count, batch_count, (SELECT count(*) FROM quarantined_bars) "
        "FROM data_ingest_runs WHERE id = %s",
        run_id,
    ) == (1000, 10, 1000)


def test_a_large_batch_of_bad_bars_costs_what_it_is_long_also_the_second_time(
    database: Database,
) -> None:
    rows = [bar(minute % 2880, high=minute) for minute in range(20_000)]
    name = conninfo_to_dict(database.url)["dbname"]
    # Compared row by row they would take minutes.
    run(database.url, f"ALTER DATABASE {name} SET statement_timeout = '20s'")

    for _ in range(2):
        store(database, rows, DATES, batch_rows=50_000)

    assert all_rows(database.url, "SELECT count(*), count(released_at) FROM quarantined_bars") == [
        (20_000, 0)
    ]
