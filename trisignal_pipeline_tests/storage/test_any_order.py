"""Whatever was written and computed, in which order, and how it ended: the result is one pass's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.signal_history import (
    bars_of,
    compute,
    one_pass,
    refresh,
    stored_signals,
    write,
)
from trisignal_pipeline_tests.storage.stored_bars import days_from

HISTORY = days_from(date(2023, 12, 20), 42)
DAYS = list(HISTORY)

THRESHOLDS = {
    "price_floor": "1000",
    "discontinuity_points": "150",
    "small_range_points": "5",
    "big_gap_points": "40",
    "flat_discontinuity_points": "20",
}
SETTINGS: list[dict[str, Any]] = [
    {"require_engulfing": True},
    {"require_engulfing": False},
    {"htf_aligned_only": True, "aligned_timeframes": ["5m", "1h"]},
    {"htf_aligned_only": False},
    {"higher_timeframe_anchor": "utc"},
    {"higher_timeframe_anchor": "session"},
    {"discontinuity_points": "60"},
    {"discontinuity_points": "150"},
    {"history_start": date(2023, 12, 27)},
    {"history_start": None},
]

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Write:
    """Bars of a range of dates; `version` tells how often they were corrected."""

    dates: DateRange
    table: BarsTable
    version: int
    batch_rows: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Signals of a range of dates."""

    dates: DateRange


@dataclass(frozen=True, slots=True)
class Refresh:
    """Everything that is in doubt."""


@dataclass(frozen=True, slots=True)
class Set:
    """Other rules."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judge:
    """A verdict on the stored bars of a date."""

    day: date
    table: BarsTable
    passed: bool


Step = Write | Compute | Refresh | Set | Judge

ranges = st.builds(
    lambda first, length: days_from(DAYS[first], min(length, len(DAYS) - first)),
    st.integers(0, len(DAYS) - 1),
    st.sampled_from((1, 1, 2, 5, 12, 42)),
)
writes = st.builds(
    Write,
    ranges,
    st.sampled_from((CLEAN, LEGACY)),
    st.sampled_from((0, 0, 1, 2, 3, 6)),
    st.sampled_from((30, 500)),
)
steps = st.one_of(
    writes,
    writes,
    st.builds(Compute, ranges),
    st.builds(Compute, ranges),
    st.just(Refresh()),
    st.builds(Set, st.sampled_from(SETTINGS)),
    st.builds(Judge, st.sampled_from(DAYS), st.sampled_from((CLEAN, LEGACY)), st.booleans()),
)
disturbances = st.none() | st.none() | st.integers(1, 25)
"""Which statement of a step ends in an error, if any."""


_GATE = 20_240_116
"""The advisory lock at which a statement waits that is planned to."""

_DISTURBANCE = f"""
    CREATE TABLE disturbance (statement bigint, waits boolean);
    INSERT INTO disturbance VALUES (0, false);
    CREATE SEQUENCE statements;
    CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        planned disturbance;
    BEGIN
        SELECT * INTO planned FROM disturbance;
        IF nextval('statements') <> planned.statement THEN
            NULL;
        ELSIF planned.waits THEN
            PERFORM pg_advisory_xact_lock({_GATE});
        ELSE
            RAISE EXCEPTION 'disturbed';
        END IF;
        RETURN NULL;
    END $$;
"""
_DISTURBED = (
    "market_bars_ohlcv_1m",
    "market_bars_ohlcv_1m_clean",
    "bar_dates",
    "bias_series_1m_v1",
    "triangle_events_v1",
    "signal_dates",
    "signal_checkpoints",
)


@pytest.fixture
def disturbed(database_url: str) -> Database:
    """A database in which a statement can be planned to end in an error, or to wait."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_DISTURBANCE.encode())
        for table in _DISTURBED:
            connection.execute(
                f"CREATE TRIGGER disturb AFTER INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION disturb()".encode()
            )
        # No test here stops the server: what a commit waits for is the disk.
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    return Database(database_url)


@contextmanager
def disturbance(
    database: Database, statement: int | None, *, waits: bool = False
) -> Iterator[None]:
    """Disturb the `statement`-th statement from now on that changes anything."""
    plan = "UPDATE disturbance SET statement = %s, waits = %s"
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("SELECT setval('statements', 1, false)")
        connection.execute(plan, (statement or 0, waits))
        try:
            yield
        finally:
            connection.execute(plan, (0, False))


def new_symbol(database: Database) -> str:
    symbol = f"GLBX.MDP3:T{next(_NUMBERS)}"
    with database.connect("test") as connection:
        registry.add_symbol(connection, symbol, THRESHOLDS)
    return symbol


def take(database: Database, symbol: str, step: Step) -> None:
    """Do what `step` says."""
    match step:
        case Write(dates, table, version, batch_rows):
            rows = [row for day in dates for row in bars_of(day, 1, version)]
            write(database, rows, dates, table, symbol, batch_rows)
        case Compute(dates):
            compute(database, dates, symbol)
        case Refresh():
            refresh(database, symbol)
        case Set(values):
            with database.connect("test") as connection:
                registry.set_symbol(connection, symbol, values)
        case Judge(day, table, passed):
            with database.connect("test") as connection:
                connection.execute(
                    """
                    INSERT INTO data_quality_results AS known
                        (symbol, date, asset, check_name, severity, passed)
                    VALUES (%s, %s, %s, 'judged', 'ERROR', %s)
                    ON CONFLICT (symbol, date, asset, check_name)
                    DO UPDATE SET passed = excluded.passed
                    """,
                    (symbol, day, f"{table.layer}_bars", passed),
                )


def require_one_pass(database: Database, symbol: str) -> None:
    """Every stored signal that is not said to be in doubt is what one pass gives."""
    with database.connect("test") as connection:
        bias, triangles, dates = stored_signals(connection, symbol)
        doubted = {
            row[0]
            for row in connection.execute(
                "SELECT date FROM signal_dates_in_doubt WHERE symbol = %s", (symbol,)
            )
        }
        trusted = set(dates) - doubted
        expected = one_pass(connection, symbol, trusted)
    assert {ts: row for ts, row in bias.items() if ts.date() not in doubted} == expected[0]
    found = {key: row for key, row in triangles.items() if key[0].date() not in doubted}
    assert found == expected[1]
    assert {day: row for day, row in dates.items() if day in trusted} == expected[2]


@settings(
    max_examples=14,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(steps, disturbances), min_size=6, max_size=16))
def test_any_sequence_of_steps_ends_where_one_pass_does(
    disturbed: Database, sequence: list[tuple[Step, int | None]]
) -> None:
    symbol = new_symbol(disturbed)
    # So that there is something to correct and to be in doubt.
    take(disturbed, symbol, Write(HISTORY, LEGACY, 0, 500))
    take(disturbed, symbol, Compute(days_from(DAYS[20], 22)))
    for step, statement in sequence:
        note(f"{step}, disturbed at {statement}")
        with suppress(psycopg.errors.RaiseException), disturbance(disturbed, statement):
            take(disturbed, symbol, step)
        require_one_pass(disturbed, symbol)

    refresh(disturbed, symbol)

    require_one_pass(disturbed, symbol)
