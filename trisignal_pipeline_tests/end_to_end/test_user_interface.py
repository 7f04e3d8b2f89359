"""The UI as `trisignal dev` opens it: what is launched there gives what a backfill gives."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.end_to_end.webserver import LOCATIONS, Webserver, free_port
from trisignal_pipeline_tests.pipeline import ASSETS, Pipeline, open_pipeline
from trisignal_pipeline_tests.tiny_market import (
    ES,
    MONDAY,
    NQ,
    WEDNESDAY,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    # The daemon looks every 30 s, and a run is a process that loads everything anew.
    wait_until(condition, what, seconds=300)


def test_what_is_launched_in_the_ui_gives_what_a_backfill_gives(
    pipeline: Pipeline,
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path: Path,
) -> None:
    write_days(pipeline.raw, DATES, ("NQ", "ES"))
    terminal = CommandLine.with_home(
        tmp_path,
        pipeline.raw,
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
    )
    web, log = Webserver(free_port()), tmp_path / "log"
    with terminal.started("dev", "--port", str(web.port), log=log) as dev:

        def alive() -> bool:
            assert dev.poll() is None, log.read_text()
            return True

        _wait_until(lambda: alive() and web.answers(), "answer")
        [location] = web.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        assert location["name"] == "trisignal"
        assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation", location
        [repository] = location["locationOrLoadError"]["repositories"]
        _wait_until(lambda: alive() and web.daemons_are_well(), "healthy daemon")

        one = web.launch_one(repository["name"], partition_key(NQ, MONDAY), NQ)
        _wait_until(lambda: alive() and web.run_is_over(one), "end of the run")
        assert pipeline.query("SELECT symbol, date FROM signal_dates") == [(NQ, MONDAY)]

        keys = [partition_key(symbol, day) for symbol in (NQ, ES) for day in DATES]
        many = web.launch_many(keys)
        _wait_until(lambda: alive() and web.backfill_is_over(many), "end of the backfill")

        dev.send_signal(signal.SIGINT)
        assert dev.wait(60) == 0, log.read_text()

    for asset in ASSETS:
        assert set(pipeline.materializations(asset)) == set(keys)
        assert {key for key, told in pipeline.evaluations(asset).items() if told.passed} == set(
            keys
        )
    folder = tmp_path / "in process"
    with open_pipeline(server, migrated_template, dagster_template, folder) as other:
        write_days(other.raw, DATES, ("NQ", "ES"))
        for symbol in (NQ, ES):
            assert other.backfill(MONDAY, WEDNESDAY, symbol=symbol).succeeded
        assert other.results() == pipeline.results()
