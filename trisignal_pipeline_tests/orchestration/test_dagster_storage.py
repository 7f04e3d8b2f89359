"""Dagster's storage through a pool: made once, closed at the end, and the same rows as ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEvent,
    DagsterEventType,
    StepSuccessData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import serialize_value
from dagster_postgres import PostgresEventLogStorage

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.dagster_storage import EVENT_BATCH_SIZE, PooledStorage
from trisignal_pipeline.settings import project_file

TABLES_AND_INDEXES = """
    SELECT relname FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
"""


def _for_psycopg2(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://")


@pytest.fixture
def url(dagster_database: str) -> str:
    return _for_psycopg2(dagster_database)


@pytest.fixture
def storage(url: str) -> Iterator[PooledStorage]:
    opened = PooledStorage(url)
    yield opened
    opened.event_log_storage.dispose()


def _query(database: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def _pooled_connections(database: str) -> int:
    return len(
        _query(
            database,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'trisignal dagster' "
            "AND datname = current_database()",
        )
    )


def test_four_processes_that_start_at_once_make_the_tables_once(
    empty_dagster_database: str,
) -> None:
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
    assert len(_query(empty_dagster_database, "SELECT * FROM alembic_version")) == 1


def test_tables_left_half_made_are_completed(empty_dagster_database: str) -> None:
    PooledStorage(_for_psycopg2(empty_dagster_database)).event_log_storage.dispose()
    complete = _query(empty_dagster_database, TABLES_AND_INDEXES)
    with psycopg.connect(empty_dagster_database) as connection:
        connection.execute("DROP TABLE run_tags, kvs, jobs, instigators, alembic_version")

    PooledStorage(_for_psycopg2(empty_dagster_database)).event_log_storage.dispose()

    assert set(_query(empty_dagster_database, TABLES_AND_INDEXES)) == set(complete)


def test_no_connection_outlives_its_instance(dagster_database: str, storage: PooledStorage) -> None:
    storage.run_storage.get_runs()
    storage.event_log_storage.get_dynamic_partitions("symbol")
    storage.schedule_storage.all_instigator_state()
    assert _pooled_connections(dagster_database) > 0

    storage.event_log_storage.dispose()

    assert _pooled_connections(dagster_database) == 0


def test_threads_have_connections_of_their_own(storage: PooledStorage) -> None:
    events = storage.event_log_storage
    together = threading.Barrier(4, timeout=30)
    backends: list[int] = []

    def ask() -> None:
        with events.index_connection() as connection:
            backends.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            together.wait()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(set(backends)) == 4


def test_a_forked_process_leaves_its_parents_connection_alone(storage: PooledStorage) -> None:
    def backend() -> int:
        with storage.event_log_storage.index_connection() as connection:
            return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

    before = backend()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(backend()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        of_child = int(answer.read())
    assert os.waitpid(child, 0)[1] == 0

    assert of_child != before
    assert backend() == before


def test_connections_that_the_server_dropped_are_replaced(
    dagster_database: str, storage: PooledStorage
) -> None:
    storage.run_storage.get_runs()
    dropped = _query(
        dagster_database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'trisignal dagster' AND datname = current_database()",
    )
    assert dropped
    assert set(dropped) == {(True,)}

    assert storage.run_storage.get_runs() == []


def test_the_webserver_limits_how_long_a_statement_takes(storage: PooledStorage) -> None:
    for part in (storage.schedule_storage, storage.run_storage, storage.event_log_storage):
        part.optimize_for_webserver(statement_timeout=4321, pool_recycle=60, max_overflow=5)

    with storage.run_storage.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "4321ms"
    with storage.event_log_storage.index_connection() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "4321ms"


def _entry(run_id: str, dagster_event: DagsterEvent) -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message="",
        run_id=run_id,
        timestamp=1_700_000_000.0,
        step_key=dagster_event.step_key,
        job_name="job",
        dagster_event=dagster_event,
    )


def _planned(run_id: str, asset: str, partition: str) -> EventLogEntry:
    return _entry(
        run_id,
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
            job_name="job",
            step_key=asset,
            message=f"job intends to materialize asset {asset}",
            event_specific_data=AssetMaterializationPlannedData(
                dg.AssetKey(asset), partition=partition
            ),
        ),
    )


def test_plans_stored_together_are_those_that_dagster_stores_one_by_one(
    dagster_database: str, url: str, storage: PooledStorage
) -> None:
    def stored(run_id: str) -> list[tuple[object, ...]]:
        rows = _query(
            dagster_database,
            "SELECT event, dagster_event_type, step_key, asset_key, partition, timestamp "
            f"FROM event_logs WHERE run_id = '{run_id}' ORDER BY id",
        )
        return [(str(event).replace(run_id, "a run"), *others) for event, *others in rows]

    def assets() -> list[tuple[object, ...]]:
        return _query(
            dagster_database,
            "SELECT asset_key, last_run_id, last_materialization_timestamp FROM asset_keys "
            "ORDER BY asset_key",
        )

    stock = PostgresEventLogStorage(url)
    plan = [(asset, f"2024-01-0{day}|ES") for asset in ("a", "b") for day in (1, 2, 3)]
    stock.store_event_batch([_planned("one-by-one", *each) for each in plan])
    assets_one_by_one = assets()

    storage.event_log_storage.store_event_batch([_planned("together", *each) for each in plan])

    assert len(stored("together")) == 6
    assert stored("together") == stored("one-by-one")
    assert [(key, when) for key, _, when in assets()] == [
        (key, when) for key, _, when in assets_one_by_one
    ]
    assert {run for _, run, _ in assets()} == {"together"}


def _evaluation(run_id: str, partition: str | None = None, *, passed: bool = True) -> EventLogEntry:
    return _entry(
        run_id,
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name="job",
            step_key="a",
            event_specific_data=dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("a"),
                check_name="c",
                passed=passed,
                metadata={},
                partition=partition,
            ),
        ),
    )


def _step_success(run_id: str) -> EventLogEntry:
    return _entry(
        run_id,
        DagsterEvent(
            event_type_value=DagsterEventType.STEP_SUCCESS.value,
            job_name="job",
            step_key="a",
            event_specific_data=StepSuccessData(duration_ms=1.0),
        ),
    )


def _check_planned(run_id: str, partition: str) -> EventLogEntry:
    return _entry(
        run_id,
        DagsterEvent(
            event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
            job_name="job",
            step_key="a",
            event_specific_data=AssetCheckEvaluationPlanned(
                asset_key=dg.AssetKey("a"),
                check_name="c",
                partitions_subset=DefaultPartitionsSubset({partition}),
            ),
        ),
    )


@pytest.mark.parametrize("planned", [True, False])
def test_evaluations_stored_together_are_those_that_dagster_stores_one_by_one(
    dagster_database: str, url: str, storage: PooledStorage, planned: bool
) -> None:
    def stored(run_id: str) -> list[tuple[object, ...]]:
        rows = _query(
            dagster_database,
            "SELECT event, dagster_event_type, step_key, asset_key, partition, timestamp "
            f"FROM event_logs WHERE run_id = '{run_id}' ORDER BY id",
        )
        checks = _query(
            dagster_database,
            "SELECT c.evaluation_event, c.asset_key, c.check_name, c.partition, "
            "c.execution_status, c.evaluation_event_timestamp, "
            "c.evaluation_event_storage_id - (SELECT min(id) FROM event_logs WHERE "
            f"run_id = '{run_id}') FROM asset_check_executions c WHERE run_id = '{run_id}' "
            "ORDER BY c.partition",
        )
        assert len(checks) == 3
        return [(str(event).replace(run_id, "a run"), *others) for event, *others in rows + checks]

    def told(run_id: str) -> list[EventLogEntry]:
        keys = [f"2024-01-0{day}|ES" for day in (1, 2, 3)]
        return [
            *([_check_planned(run_id, key) for key in keys] if planned else []),
            *(_evaluation(run_id, key, passed=key != keys[1]) for key in keys),
            _step_success(run_id),
        ]

    stock = PostgresEventLogStorage(url)
    for event in told("one-by-one"):
        stock.store_event(event)

    for event in told("together"):
        storage.event_log_storage.store_event(event)

    assert stored("together") == stored("one-by-one")


def test_evaluations_of_a_step_wait_for_what_it_tells_next(
    dagster_database: str, storage: PooledStorage
) -> None:
    def stored() -> list[tuple[object, ...]]:
        return _query(
            dagster_database, "SELECT run_id, dagster_event_type FROM event_logs ORDER BY id"
        )

    events = storage.event_log_storage
    evaluation, success = "ASSET_CHECK_EVALUATION", "STEP_SUCCESS"
    events.store_event(_evaluation("this"))
    events.store_event(_evaluation("that"))
    assert stored() == []

    events.store_event(_step_success("this"))
    assert stored() == [("this", evaluation), ("this", success)]

    events.dispose()
    assert stored() == [("this", evaluation), ("this", success), ("that", evaluation)]


def test_no_more_evaluations_wait_than_fit_into_a_batch(
    dagster_database: str, storage: PooledStorage
) -> None:
    for number in range(EVENT_BATCH_SIZE + 1):
        storage.event_log_storage.store_event(_evaluation("run", f"{number}|ES"))

    assert _query(dagster_database, "SELECT count(*) FROM event_logs") == [(EVENT_BATCH_SIZE,)]


def test_an_event_is_stored_with_all_that_follows_from_it_or_not_at_all(
    dagster_database: str, storage: PooledStorage
) -> None:
    events = storage.event_log_storage
    for event in (_evaluation("whole"), _step_success("whole")):
        events.store_event(event)
    with psycopg.connect(dagster_database) as connection:
        connection.execute("ALTER TABLE asset_check_executions RENAME TO out_of_the_way")

    events.store_event(_evaluation("half"))
    with pytest.raises(Exception, match="asset_check_executions"):
        events.store_event(_step_success("half"))

    assert _query(dagster_database, "SELECT DISTINCT run_id FROM event_logs") == [("whole",)]
    events.store_event(_planned("afterwards", "a", "2024-01-01|ES"))
    assert ("afterwards",) in _query(dagster_database, "SELECT run_id FROM event_logs")


def test_whoever_watches_a_run_hears_of_its_events(storage: PooledStorage) -> None:
    heard: list[str] = []
    told = threading.Event()

    def hear(entry: EventLogEntry, _cursor: str) -> None:
        heard.append(entry.get_dagster_event().event_type_value)
        told.set()

    events = storage.event_log_storage
    events.watch("watched", None, hear)
    events.store_event(_planned("watched", "a", "2024-01-01|ES"))
    assert told.wait(30)
    events.end_watch("watched", hear)

    assert heard == [DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value]


def test_no_password_is_handed_to_child_processes(
    dagster_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_password = dagster_database.replace("@/", ":not-for-your-eyes@/")
    assert with_password != dagster_database
    monkeypatch.setenv(URL_VARIABLE, with_password)
    ref = InstanceRef.from_dir(str(tmp_path), config_dir=str(project_file("dagster.yaml").parent))

    storage = ref.storage
    assert isinstance(storage, PooledStorage)
    assert "not-for-your-eyes" not in serialize_value(ref)
    assert "not-for-your-eyes" not in repr(vars(storage))
    storage.event_log_storage.dispose()


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(DatabaseUnavailableError, match="can't be reached") as refusal:
        PooledStorage("postgresql+psycopg2://user:not-for-your-eyes@/nowhere?host=/nonexistent")
    assert "not-for-your-eyes" not in str(refusal.value)
    assert "nowhere" in str(refusal.value)
