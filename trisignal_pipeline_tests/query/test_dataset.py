"""The joined dataset and the state of the world: what the tables hold, on one row a minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from trisignal_pipeline.errors import NotFoundError
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.query.dataset import DATASET, dataset
from trisignal_pipeline.query.world import WORLD, world
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.query.stored_market import NQ
from trisignal_pipeline_tests.storage.stored_bars import all_rows, by_hand, days_from, walk
from trisignal_pipeline_tests.storage.stored_signals import (
    compute,
    store_days,
    stored_bias,
    stored_triangles,
)

DATES = days_from(date(2023, 12, 28), 5)
ROWS = walk(DATES, seed=5, share=0.04)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def stored(database: Database) -> Database:
    """A database with five days of bars and signals."""
    store_days(database, ROWS, DATES)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)
    return database


@pytest.fixture
def reading(stored: Database) -> Iterator[Connection]:
    with stored.answering(60).connect("test", one_instant=True) as connection:
        yield connection


def minutes(connection: Connection) -> list[dict[str, Any]]:
    return dataset(NQ, DATES).table(connection).whole().to_pylist()


def test_each_minute_has_its_bar_its_biases_and_its_triangle(
    stored: Database, reading: Connection
) -> None:
    rows = minutes(reading)

    bars = all_rows(
        stored.url,
        "SELECT ts, open, high, low, close, volume, contract FROM market_bars_ohlcv_1m_clean "
        "ORDER BY ts",
    )
    assert [
        (
            row["ts"],
            *(Decimal(repr(row[name])) for name in ("open", "high", "low", "close")),
            row["volume"],
            row["contract"],
        )
        for row in rows
    ] == bars
    biases = ("bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1")
    assert [(row["ts"], *(row[name] for name in biases)) for row in rows] == [
        row[:7] for row in stored_bias(stored.url)
    ]
    flags = ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
    assert [
        (row["ts"], row["triangle"], *(row[name] for name in flags))
        for row in rows
        if row["triangle"]
    ] == [(row[0], row[1], *row[8:12]) for row in stored_triangles(stored.url)]
    assert {row[name] for row in rows if not row["triangle"] for name in flags} == {None}
    assert any(row["engulfing"] for row in rows)


def test_a_minute_whose_signal_is_not_computed_has_its_bar_alone(
    stored: Database, reading: Connection
) -> None:
    by_hand(stored.url, "DELETE FROM bias_series_1m_v1; DELETE FROM triangle_events_v1")

    rows = minutes(reading)

    assert len(rows) == len(ROWS)
    assert {row["bias_1m"] for row in rows} == {row["triangle"] for row in rows} == {None}


def test_a_date_that_is_not_finished_is_left_out(stored: Database, reading: Connection) -> None:
    day = DATES.start + timedelta(days=1)
    by_hand(
        stored.url,
        f"UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = '{day}'",
    )

    assert {row["ts"].date() for row in minutes(reading)} == set(DATES) - {day}


def test_two_triangles_of_an_earlier_system_on_one_minute_make_one_row(
    stored: Database, reading: Connection
) -> None:
    event = stored_triangles(stored.url)[0]
    other = "BEAR" if event[1] == "BULL" else "BULL"
    by_hand(
        stored.url,
        "INSERT INTO triangle_events_v1 (symbol, ts, direction, bias_1m, bias_m5, bias_m15, "
        "bias_h1, bias_h4, bias_d1, htf_bullish, htf_bearish, require_engulfing, "
        "require_sweep_engulfing, htf_aligned_only, source_table, logic_version) SELECT symbol, "
        f"ts, '{other}', bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1, htf_bullish, "
        "htf_bearish, require_engulfing, require_sweep_engulfing, htf_aligned_only, source_table, "
        f"logic_version FROM triangle_events_v1 WHERE ts = '{event[0]}'",
    )

    [row] = [row for row in minutes(reading) if row["ts"] == event[0]]

    assert row["triangle"] == event[1]


def test_the_world_is_the_row_of_the_dataset_its_session_and_the_last_triangle(
    stored: Database, reading: Connection
) -> None:
    market = registry.market(reading, NQ)
    events = stored_triangles(stored.url)
    for row in minutes(reading)[::9]:
        ts_ns = int(row["ts"].timestamp()) * 10**9
        found = world(reading, market, ts_ns)

        assert found.schema == WORLD
        [state] = found.to_pylist()
        assert {name: state[name] for name in DATASET.names} == row
        before = [event[:2] for event in events if event[0] <= row["ts"]]
        last = (state["last_triangle_ts"], state["last_triangle"])
        assert last == (before[-1] if before else (None, None))
        assert state["in_doubt"] is False
        if state["session_open"] is None:
            assert state["trade_date"] is state["session_close"] is None
        else:
            assert state["session_open"] <= row["ts"] < state["session_close"]
            assert state["trade_date"] == (state["session_close"] - timedelta(hours=1)).date()


def test_the_world_says_that_its_signal_is_in_doubt(stored: Database, reading: Connection) -> None:
    by_hand(stored.url, "UPDATE signal_dates SET logic_version = '0'")

    [state] = world(reading, registry.market(reading, NQ), ROWS[0].ts).to_pylist()

    assert state["in_doubt"] is True


def test_a_minute_without_a_bar_is_refused_with_its_neighbours(reading: Connection) -> None:
    absent = next(
        one.ts + 60 * 10**9 for one, after in pairwise(ROWS) if after.ts > one.ts + 60 * 10**9
    )
    neighbours = [
        max(row.ts for row in ROWS if row.ts < absent),
        min(row.ts for row in ROWS if row.ts > absent),
    ]

    with pytest.raises(NotFoundError) as refused:
        world(reading, registry.market(reading, NQ), absent)

    for ts in neighbours:
        assert iso_minute(ts) in str(refused.value)


def test_a_symbol_without_bars_is_refused_with_the_remedy(reading: Connection) -> None:
    with pytest.raises(NotFoundError, match="backfill"):
        world(reading, registry.market(reading, "GLBX.MDP3:ES"), ROWS[0].ts)
