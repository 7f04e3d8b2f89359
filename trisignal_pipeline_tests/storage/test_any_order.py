"""Whatever was written and computed, in which order, and how it ended: the result is one pass's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Database, scalar
from trisignal_pipeline_tests.storage.signal_history import compute, refresh
from trisignal_pipeline_tests.storage.signal_steps import (
    DAYS,
    HISTORY,
    SETTINGS,
    THRESHOLDS,
    Compute,
    Judge,
    Refresh,
    Set,
    Step,
    Write,
    require_one_pass,
    selected_days,
    take,
)
from trisignal_pipeline_tests.storage.stored_bars import days_from

_NUMBERS = count(1)


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
    CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
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


@settings(
    max_examples=12,
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
    computed = require_one_pass(disturbed, symbol)
    for step, statement in sequence:
        note(f"{step}, disturbed at {statement}")
        with suppress(psycopg.errors.RaiseException), disturbance(disturbed, statement):
            take(disturbed, symbol, step)
        computed |= require_one_pass(disturbed, symbol)

    refresh(disturbed, symbol)

    # What was computed once is there, if only its bars are.
    assert require_one_pass(disturbed, symbol) >= computed & selected_days(disturbed, symbol)


def _started(
    database: Database, symbol: str, seed: int, steps: int, part: int
) -> subprocess.Popen[str]:
    """Another process that takes some steps."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "trisignal_pipeline_tests.storage.signal_steps",
            *(database.url, symbol, str(seed), str(steps), str(part)),
        ],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


def _waits_at_the_gate(database: Database) -> bool:
    with database.connect("test") as connection:
        return bool(
            scalar(
                connection,
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND classid = 0 AND objid = %s)",
                _GATE,
            )
        )


def test_a_process_killed_inside_a_statement_leaves_nothing_wrong(disturbed: Database) -> None:
    symbol = new_symbol(disturbed)
    take(disturbed, symbol, Write(HISTORY, LEGACY, 0, 500))
    compute(disturbed, HISTORY, symbol)
    for seed, statement in ((1, 2), (2, 14), (3, 23), (4, 47)):
        with (
            disturbance(disturbed, statement, waits=True),
            psycopg.connect(disturbed.url, autocommit=True) as gate,
        ):
            gate.execute("SELECT pg_advisory_lock(%s)", (_GATE,))
            process = _started(disturbed, symbol, seed, steps=12, part=seed % 2)
            while not _waits_at_the_gate(disturbed):
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"{process.wait(0.02)} before statement {statement}")
            process.kill()
            process.communicate()
        require_one_pass(disturbed, symbol)

    refresh(disturbed, symbol)

    assert require_one_pass(disturbed, symbol) == selected_days(disturbed, symbol)


def test_two_processes_at_once_end_where_one_pass_does(disturbed: Database) -> None:
    symbol = new_symbol(disturbed)
    take(disturbed, symbol, Write(HISTORY, LEGACY, 0, 500))
    compute(disturbed, HISTORY, symbol)

    processes = [_started(disturbed, symbol, seed=5 + part, steps=10, part=part) for part in (0, 1)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    refresh(disturbed, symbol)

    assert require_one_pass(disturbed, symbol) == selected_days(disturbed, symbol)
