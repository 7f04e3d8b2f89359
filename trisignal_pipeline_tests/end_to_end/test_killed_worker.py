"""A worker of the daemon that is killed in mid-run: the daemon launches the run again, unasked."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from trisignal_pipeline.orchestration.lost_runs import WORKER_TAG
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.end_to_end.webserver import Webserver, free_port
from trisignal_pipeline_tests.pipeline import Pipeline, open_pipeline
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, write_days


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, seconds=300)


def test_a_run_whose_worker_is_killed_is_launched_again_and_ends_well(
    pipeline: Pipeline,
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path: Path,
) -> None:
    write_days(pipeline.raw, [MONDAY])
    terminal = CommandLine.with_home(
        tmp_path,
        pipeline.raw,
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
    )
    web, log = Webserver(free_port()), tmp_path / "log"
    with terminal.started("dev", "--port", str(web.port), log=log) as dev:
        _wait_until(lambda: dev.poll() is not None or web.answers(), "answer")
        _wait_until(web.daemons_are_well, "healthy daemon")
        with pipeline.instance() as instance:
            with symbol_lock(pipeline.database, NQ):
                first = web.launch_one(partition_key(NQ, MONDAY))
                _wait_until(lambda: _waits(pipeline), "run that waits for its symbol")
                os.kill(_worker(instance, first), signal.SIGKILL)
                _wait_until(lambda: web.run_status(first) == "FAILURE", "run that is lost")
            _wait_until(lambda: bool(_again(instance, first)), "run in its place")
            [second] = _again(instance, first)
            _wait_until(lambda: web.run_is_over(second.run_id), "end of the second run")
            # The files had been looked at; what the first run had not come to is done.
            done = {
                str(one.step_key)
                for one in instance.all_logs(
                    second.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS
                )
            }
            assert done == {"legacy_bars", "clean_bars", "signals"}
            assert len(instance.get_runs()) == 2
        dev.send_signal(signal.SIGINT)
        assert dev.wait(60) == 0, log.read_text()

    folder = tmp_path / "undisturbed"
    with open_pipeline(server, migrated_template, dagster_template, folder) as other:
        write_days(other.raw, [MONDAY])
        assert other.backfill(MONDAY, MONDAY).succeeded
        assert other.results() == pipeline.results()


def _waits(pipeline: Pipeline) -> bool:
    return bool(
        pipeline.query(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    )


def _worker(instance: dg.DagsterInstance, run_id: str) -> int:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    _host, process, of_run = run.tags[WORKER_TAG].split(" ")
    assert of_run == run_id
    return int(process)


def _again(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterRun]:
    return [run for run in instance.get_runs() if run.parent_run_id == run_id]
