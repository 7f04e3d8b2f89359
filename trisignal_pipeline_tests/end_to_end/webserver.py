"""Dagster's webserver as a browser talks to it: what is asked of it, and what is launched there."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trisignal_pipeline_tests.pipeline import ASSETS

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

TERMINATE_RUN = """
mutation Terminate($id: String!) { terminateRun(runId: $id) { __typename } }
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

    def terminate(self, run_id: str) -> None:
        """Stop a run, as the button does."""
        ended = self.ask(TERMINATE_RUN, {"id": run_id})["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended

    def run_status(self, run_id: str) -> str:
        return str(self.ask(RUN_STATUS, {"id": run_id})["runOrError"]["status"])

    def run_is_over(self, run_id: str) -> bool:
        status = self.run_status(run_id)
        assert status not in {"FAILURE", "CANCELED"}, status
        return bool(status == "SUCCESS")

    def backfill_is_over(self, backfill_id: str) -> bool:
        found = self.ask(BACKFILL_STATUS, {"id": backfill_id})["partitionBackfillOrError"]
        assert found["status"] in {"REQUESTED", "COMPLETED_SUCCESS"}, found
        return bool(found["status"] == "COMPLETED_SUCCESS")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
