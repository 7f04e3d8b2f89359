"""Queries of what the pipeline did: the audit, and what the tables hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query.operations import (
    ingest_runs,
    ingest_runs_in_short,
    last_triangles,
    row_counts,
    symbol_states,
)
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    bar,
    days_from,
    moment,
    store,
    walk,
)
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days, stored_triangles

ES = "GLBX.MDP3:ES"
DATES = days_from(DAY, 2)
ROWS = walk(DATES, seed=41, share=0.03)


@pytest.fixture
def reading(database: Database) -> Iterator[Connection]:
    """A connection in a transaction, as the commands read."""
    with database.connect("test") as connection:
        yield connection


def _named(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize("query", [ingest_runs, ingest_runs_in_short])
def test_runs_come_newest_first_and_of_one_symbol_if_asked(
    database: Database,
    reading: Connection,
    query: Callable[..., Table],
) -> None:
    ids = [store(database, [bar(0)], DATES, symbol=symbol) for symbol in (NQ, ES, NQ)]

    assert [row["id"] for row in _named(query(reading, 10))] == ids[::-1]
    assert [row["id"] for row in _named(query(reading, 2))] == ids[:0:-1]
    assert [row["id"] for row in _named(query(reading, 10, NQ))] == [ids[2], ids[0]]
    assert _named(query(reading, 10, "GLBX.MDP3:YM")) == []


@pytest.mark.parametrize("query", [ingest_runs, ingest_runs_in_short])
def test_the_next_runs_are_those_before_the_last_one_whatever_is_written(
    database: Database,
    reading: Connection,
    query: Callable[..., Table],
) -> None:
    ids = [store(database, [bar(0)], DATES) for _ in range(3)]
    first = [row["id"] for row in _named(query(reading, 2, NQ))]
    store(database, [bar(1)], DATES)

    assert first == [ids[2], ids[1]]
    assert [row["id"] for row in _named(query(reading, 2, NQ, first[-1]))] == [ids[0]]


def test_a_run_of_an_earlier_system_without_a_symbol_is_shown(
    database: Database, reading: Connection
) -> None:
    with database.connect("test") as connection:
        connection.execute("INSERT INTO data_ingest_runs (vendor, status) VALUES ('x', 'success')")

    assert [row["symbol"] for row in _named(ingest_runs(reading, 10))] == [None]
    assert _named(ingest_runs(reading, 10, NQ)) == []


def test_a_run_shows_its_counts_under_plain_names(database: Database, reading: Connection) -> None:
    rows = [bar(0), bar(1), bar(2, high=PRICE_UNIT)]
    store(database, [bar(1, volume=9), bar(3)], DATES)
    run_id = store(database, rows, DATES)

    shown = _named(ingest_runs(reading, 1))[0]
    short = _named(ingest_runs_in_short(reading, 1))[0]

    counted = {"read": 3, "inserted": 1, "updated": 1, "unchanged": 0, "rejected": 1, "removed": 1}
    assert shown.items() >= {**counted, "id": run_id, "status": "success", "retries": 0}.items()
    assert (shown["start_date"], shown["end_date"]) == (DATES.start, DATES.end)
    assert short.items() >= {**counted, "from": DATES.start, "to": DATES.end}.items()
    assert short["seconds"] >= 0


def test_a_failed_run_shows_its_error_and_a_live_one_that_it_runs(
    database: Database, reading: Connection
) -> None:
    def run() -> Any:
        return ingest_run(
            database, asset="a", symbol=NQ, dates=DATES, source="s", dataset="GLBX.MDP3"
        )

    with pytest.raises(ValueError, match="x"), run():
        raise ValueError("x" * 500)
    with run():
        live, failed = _named(ingest_runs_in_short(reading, 2))

    assert (live["status"], live["seconds"], live["error"]) == ("running", None, None)
    assert failed["status"] == "failed"
    assert failed["error"] == ("ValueError: " + "x" * 500)[:200]


def test_rows_are_counted_by_table_and_symbol_as_each_table_stamps_them(
    database: Database, reading: Connection
) -> None:
    store(database, [bar(0), bar(5)], DATES)
    store(database, [bar(1)], DATES, symbol=ES)
    store(database, [bar(0)], DATES, table=CLEAN)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)

    assert sorted(row_counts(reading).rows) == [
        ("bias_series_1m_v1", NQ, 1, moment(0), moment(0)),
        ("market_bars_ohlcv_1m", ES, 1, moment(2), moment(2)),
        ("market_bars_ohlcv_1m", NQ, 2, moment(1), moment(6)),
        ("market_bars_ohlcv_1m_clean", NQ, 1, moment(0), moment(0)),
    ]


def test_an_empty_database_has_no_rows_to_count(reading: Connection) -> None:
    assert list(row_counts(reading).rows) == []
    assert list(last_triangles(reading, 5).rows) == []


def test_the_last_triangles_of_all_symbols_come_newest_first(
    database: Database, reading: Connection
) -> None:
    with database.connect("test", autocommit=True) as connection:
        for symbol in (NQ, ES):
            store_days(database, ROWS, DATES, symbol=symbol)
            compute(connection, DATES, symbol)

    found = _named(last_triangles(reading, 5))

    stored = [(row[0], row[1]) for row in stored_triangles(database.url)]
    assert len(stored) > 5
    assert [(row["ts"], row["symbol"]) for row in found] == [
        (ts, symbol) for ts, _ in stored[::-1][:3] for symbol in (ES, NQ)
    ][:5]


def _state(reading: Connection, symbol: str = NQ) -> dict[str, Any]:
    return {row["symbol"]: row for row in _named(symbol_states(reading))}[symbol]


def test_the_state_of_a_symbol_without_anything_is_all_zeros(reading: Connection) -> None:
    assert [row["symbol"] for row in _named(symbol_states(reading))] == [
        ES, NQ, "GLBX.MDP3:RTY", "GLBX.MDP3:YM",
    ]  # fmt: skip
    state = _state(reading)

    assert state["active"]
    assert [state[name] for name in ("legacy_bars", "clean_bars", "triangles")] == [0, 0, 0]
    assert [state[name] for name in ("first_date", "last_date", "in_doubt_from")] == [None] * 3


def test_the_state_of_a_symbol_says_how_far_it_is(database: Database, reading: Connection) -> None:
    store_days(database, ROWS, DATES, LEGACY)
    store_days(database, ROWS, DateRange(DAY, DAY), CLEAN)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)

    state = _state(reading)

    first_day = sum(row.ts < DateRange(DAY, DAY).end_ns for row in ROWS)
    assert (state["legacy_bars"], state["clean_bars"]) == (len(ROWS), first_day)
    assert state["triangles"] == len(stored_triangles(database.url))
    assert (state["first_date"], state["last_date"]) == (DATES.start, DATES.end)
    assert (state["unfinished_dates"], state["dates_in_doubt"]) == (0, 0)
    assert _state(reading, ES)["legacy_bars"] == 0


def test_the_state_of_a_symbol_says_from_which_minute_it_is_in_doubt(
    database: Database, reading: Connection
) -> None:
    store_days(database, ROWS, DATES)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)
    at = next(i for i, row in enumerate(ROWS) if row.ts >= DateRange(DATES.end, DATES.end).start_ns)
    changed: Bar = ROWS[at + 2]._replace(close=ROWS[at + 2].low - 1, low=ROWS[at + 2].low - 1)

    store_days(database, [*ROWS[: at + 2], changed, *ROWS[at + 3 :]], DATES)

    state = _state(reading)
    assert state["dates_in_doubt"] == 1
    assert state["in_doubt_from"].timestamp() * 10**9 == changed.ts
    assert state["reasons"]


def test_an_unfinished_date_is_counted(database: Database, reading: Connection) -> None:
    store_days(database, ROWS, DATES)
    with database.connect("test") as connection:
        connection.execute(
            "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = %s",
            (DAY + timedelta(days=1),),
        )

    assert _state(reading)["unfinished_dates"] == 1
