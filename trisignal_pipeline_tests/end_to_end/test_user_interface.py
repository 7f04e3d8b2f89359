"""The UI as `trisignal dev` opens it: what is launched there gives what a backfill gives."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.pipeline import ASSETS, Pipeline, open_pipeline
from trisignal_pipeline_tests.tiny_market import (
    ES,
    MONDAY,
    NQ,
    WEDNESDAY,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)

LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus
    locationOrLoadError {
        __typename
        ... on PythonError { message }
        ... on RepositoryLocation { repositories { name } }
    }
} } } }
"""

DAEMONS = """
{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""

LAUNCH_RUN = """
mutation Launch($executionParams: ExecutionParams!) {
    launchRun(executionParams: $executionParams) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message }
        ... on RunConfigValidationInvalid { errors { message } }
    }
}
"""

LAUNCH_BACKFILL = """
mutation Launch($backfillParams: LaunchBackfillParams!) {
    launchPartitionBackfill(backfillParams: $backfillParams) {
        __typename
        ... on LaunchBackfillSuccess { backfillId }
        ... on PythonError { message }
    }
}
"""

RUN_STATUS = """
query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }
"""

BACKFILL_STATUS = """
query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } }
} }
"""


@dataclass(frozen=True, slots=True)
class Webserver:
    """Dagster's GraphQL interface on a port of this machine."""

    port: int

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query, "variables": variables or {}}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = json.load(answer)
        assert "errors" not in content, content["errors"]
        found: dict[str, Any] = content["data"]
        return found

    def answers(self) -> bool:
        try:
            return "version" in self.ask("{ version }")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def daemons_are_well(self) -> bool:
        health = self.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(daemon["healthy"] for daemon in health if daemon["required"])

    def launch_one(self, repository: str, key: str, symbol: str) -> str:
        """Materialise one partition of every asset, as the button does for one cell."""
        date = key.partition("|")[0]
        tags = {
            "dagster/partition": key,
            "dagster/partition/date": date,
            "dagster/partition/symbol": symbol,
        }
        launched = self.ask(
            LAUNCH_RUN,
            {
                "executionParams": {
                    "selector": {
                        "repositoryLocationName": "trisignal",
                        "repositoryName": repository,
                        "jobName": "__ASSET_JOB",
                        "assetSelection": [{"path": [name]} for name in ASSETS],
                    },
                    "mode": "default",
                    "executionMetadata": {
                        "tags": [{"key": name, "value": value} for name, value in tags.items()]
                    },
                }
            },
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def launch_many(self, keys: Sequence[str]) -> str:
        """Materialise several partitions of every asset, as the dialogue for ranges does."""
        launched = self.ask(
            LAUNCH_BACKFILL,
            {
                "backfillParams": {
                    "assetSelection": [{"path": [name]} for name in ASSETS],
                    "partitionNames": list(keys),
                }
            },
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        backfill_id: str = launched["backfillId"]
        return backfill_id

    def run_is_over(self, run_id: str) -> bool:
        status = self.ask(RUN_STATUS, {"id": run_id})["runOrError"]["status"]
        assert status not in {"FAILURE", "CANCELED"}, status
        return bool(status == "SUCCESS")

    def backfill_is_over(self, backfill_id: str) -> bool:
        found = self.ask(BACKFILL_STATUS, {"id": backfill_id})["partitionBackfillOrError"]
        assert found["status"] in {"REQUESTED", "COMPLETED_SUCCESS"}, found
        return bool(found["status"] == "COMPLETED_SUCCESS")


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    # The daemon looks every 30 s, and a run is a process that loads everything anew.
    wait_until(condition, what, seconds=300)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    web, log = Webserver(_free_port()), tmp_path / "log"
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
