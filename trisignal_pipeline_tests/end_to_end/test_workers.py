"""A deployment's two workers share a backfill; one is killed, and the work ends as on one machine.

Everything is real: webserver, daemon, code server and workers in processes of their own, configured
by the files of deploy/, and a Redis. The moment of the kill is chosen: another session holds bars
that the runs are about to write.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import psycopg
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.settings import project_file
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline_tests.end_to_end.command_line import COMMAND, wait_until
from trisignal_pipeline_tests.end_to_end.services import (
    DAEMON,
    WEBSERVER,
    deployed,
    deployment,
    kill,
    running_redis,
    service,
)
from trisignal_pipeline_tests.end_to_end.webserver import LOCATIONS, Webserver, free_port
from trisignal_pipeline_tests.pipeline import Pipeline, Stored, open_pipeline
from trisignal_pipeline_tests.tiny_market import ES, MONDAY, NQ, WEDNESDAY, write_days

DATES = DateRange(MONDAY, WEDNESDAY)

# A legacy bar carries its close. The second batch of 500 holds it.
HELD_MINUTE = f"{WEDNESDAY} 14:01Z"

AT_WORK = dg.RunsFilter(
    statuses=[status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
)

PASSWORD = "kestrel-4711"

IMPATIENT = deployed("dagster.yaml").replace(
    "poll_interval_seconds: 60", "poll_interval_seconds: 1"
)


def test_a_backfill_that_loses_a_worker_ends_as_on_one_machine(
    pipeline: Pipeline,
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path: Path,
) -> None:
    write_days(pipeline.raw, DATES, ("NQ", "ES"))
    keys = [partition_key(symbol, day) for symbol in (NQ, ES) for day in DATES]
    code_port, web = free_port(), Webserver(free_port())
    workspace = ("--workspace", str(project_file("deploy") / "workspace.yaml"))
    commands = {
        "code": [*COMMAND, "code-server", "--port", str(code_port)],
        "web": [*WEBSERVER, "--port", str(web.port), *workspace],
        "daemon": [*DAEMON, *workspace],
        "one": [*COMMAND, "worker"],
        "other": [*COMMAND, "worker"],
    }
    logs = {name: tmp_path / f"{name}.log" for name in commands}
    with ExitStack() as stack:
        terminal = deployment(
            tmp_path,
            pipeline.raw,
            IMPATIENT,
            TRISIGNAL_DATABASE_URL=pipeline.database.url,
            TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
            TRISIGNAL_BROKER_URL=stack.enter_context(running_redis(tmp_path, PASSWORD)),
            CODE_SERVER_HOST="127.0.0.1",
            CODE_SERVER_PORT=str(code_port),
            # How often the daemon looks for runs that are to be launched again.
            DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS="1",
        )
        held = stack.enter_context(ExitStack())
        for symbol in (NQ, ES):
            held.enter_context(_bar_held(pipeline, symbol))
        instance = stack.enter_context(pipeline.instance())
        services = {
            name: stack.enter_context(service(terminal, command, logs[name]))
            for name, command in commands.items()
        }
        wait_until(lambda: _has_loaded(web), "webserver that has loaded everything")
        web.launch_keys(keys)
        # While the daemon gets to it.
        folder = tmp_path / "one machine"
        alone = _on_one_machine(server, migrated_template, dagster_template, folder)

        wait_until(lambda: _waiting(pipeline, "transactionid") == 2, "two runs at work")
        lost, kept = (_run_of(instance, services[name].pid) for name in ("one", "other"))
        kill(services["one"])
        held.close()

        def retries() -> list[dg.DagsterRun]:
            return [run for run in instance.get_runs() if run.parent_run_id == lost]

        wait_until(lambda: [run.is_success for run in retries()] == [True], "end of the retry")
        wait_until(lambda: _status(instance, kept).name == "SUCCESS", "end of the other run")
        wait_until(lambda: not instance.get_runs(AT_WORK), "end of what sensors asked for")
        assert "raw_dbn_files" not in (retries()[0].step_keys_to_execute or ()), "done before"
        results = pipeline.results()

        with symbol_lock(pipeline.database, NQ):
            stopped = web.launch_one(keys[0])
            wait_until(lambda: _waiting(pipeline, "advisory") == 1, "run that waits")
            web.terminate(stopped)
            wait_until(lambda: _status(instance, stopped).name == "CANCELED", "end of the stop")

    assert _status(instance, lost) is dg.DagsterRunStatus.FAILURE
    assert results == alone
    assert all(rows.rows for rows in alone.values())
    for log in logs.values():
        assert PASSWORD not in log.read_text(), log


def _on_one_machine(
    server: EmbeddedServer, template: str, dagster_template: str, folder: Path
) -> dict[str, Stored]:
    with open_pipeline(server, template, dagster_template, folder) as pipeline:
        write_days(pipeline.raw, DATES, ("NQ", "ES"))
        for symbol in (NQ, ES):
            assert pipeline.backfill(MONDAY, WEDNESDAY, symbol=symbol).succeeded
        return pipeline.results()


def _has_loaded(web: Webserver) -> bool:
    if not web.answers():
        return False
    [location] = web.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
    return (location["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"


@contextmanager
def _bar_held(pipeline: Pipeline, symbol: str) -> Iterator[None]:
    """A legacy bar that another session has inserted, and has not committed."""
    pipeline.query(
        "SELECT ensure_time_partitions('market_bars_ohlcv_1m'::regclass, %s, %s)",
        str(MONDAY),
        str(WEDNESDAY),
    )
    with psycopg.connect(pipeline.database.url) as other:
        other.execute(
            "INSERT INTO market_bars_ohlcv_1m (symbol, ts, ts_ms, open, high, low, close, volume) "
            "SELECT %s, ts, (extract(epoch FROM ts) * 1000)::bigint, 1, 1, 1, 1, 1 "
            "FROM CAST(%s AS timestamptz) AS ts",
            (symbol, HELD_MINUTE),
        )
        yield
        other.rollback()


def _waiting(pipeline: Pipeline, what: str) -> int:
    """How many runs wait for another session, for its transaction or for its lock on a symbol."""
    return int(
        pipeline.value(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'trisignal symbol lock'
              AND wait_event_type = 'Lock' AND wait_event = %s
            """,
            what,
        )
    )


def _run_of(instance: dg.DagsterInstance, worker: int) -> str:
    """The run at work in a process of `worker`, by the process number that the run tells."""
    found = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            metadata = entry.get_dagster_event().engine_event_data.metadata
            if "pid" in metadata and os.getpgid(int(str(metadata["pid"].value))) == worker:
                found.add(run.run_id)
    assert len(found) == 1, "each worker has one of the two runs"
    return found.pop()


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status
