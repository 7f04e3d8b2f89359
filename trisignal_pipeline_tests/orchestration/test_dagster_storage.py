"""Dagster's storage through a pool: made once, closed at the end, and the same rows as ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.base import EventLogCursor
from dagster._serdes import serialize_value
from dagster_postgres import PostgresEventLogStorage

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.dagster_storage import PooledStorage
from trisignal_pipeline.settings import project_file

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trisignal dagster'"


@pytest.fixture
def url(dagster_database: str) -> str:
    return dagster_database.replace("postgresql://", "postgresql+psycopg2://")


@pytest.fixture
def storage(url: str) -> Iterator[PooledStorage]:
    opened = PooledStorage(url)
    yield opened
    opened.event_log_storage.dispose()


def _query(database: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def _in_this_database(database: str, statement: str) -> int:
    return int(str(_query(database, f"{statement} AND datname = current_database()")[0][0]))


def test_four_processes_that_start_at_once_make_the_tables_once(dagster_database: str) -> None:
    script = (
        "from dagster import DagsterInstance\n"
        "from dagster._core.instance.ref import InstanceRef\n"
        "from trisignal_pipeline.settings import project_file\n"
        "import sys, tempfile\n"
        "folder = str(project_file('dagster.yaml').parent)\n"
        "with tempfile.TemporaryDirectory() as home:\n"
        "    ref = InstanceRef.from_dir(home, config_dir=folder)\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    with DagsterInstance.from_ref(ref) as instance:\n"
        "        assert instance.get_runs_count() == 0\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outcomes = [process.communicate("go\n", timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, outcomes
    assert not any("Retrying" in errors for _, errors in outcomes)
    assert len(_query(dagster_database, "SELECT * FROM alembic_version")) == 1


def test_tables_left_half_made_are_completed(dagster_database: str, url: str) -> None:
    PooledStorage(url).event_log_storage.dispose()
    complete = _query(dagster_database, "SELECT relname FROM pg_class WHERE relkind IN ('r', 'i')")
    _query(dagster_database, "DROP TABLE run_tags, kvs, jobs, instigators RETURNING 1") if (
        False
    ) else None
    with psycopg.connect(dagster_database) as connection:
        connection.execute("DROP TABLE run_tags, kvs, jobs, instigators, alembic_version CASCADE")

    PooledStorage(url).event_log_storage.dispose()

    again = _query(dagster_database, "SELECT relname FROM pg_class WHERE relkind IN ('r', 'i')")
    assert set(again) == set(complete)
