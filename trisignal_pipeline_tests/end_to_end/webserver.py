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

LOCATION = "trisignal"

_EVERY_ASSET = [{"path": [name]} for name in ASSETS]

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

RUN_ERRORS = """
query Errors($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { error { message errorChain { error { message } } } }
} } } }
"""

RUN_STATUS = """
query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }
"""

BACKFILL_STATUS = """
query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } runs(limit: 20) { runId } }
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

    def repository(self) -> str:
        """The name of the repository that the product's code location holds, if it loads."""
        [location] = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        assert location["name"] == LOCATION
        assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation", location
        [repository] = location["locationOrLoadError"]["repositories"]
        return str(repository["name"])

    def launch_one(self, key: str) -> str:
        """Materialise one partition of every asset, as the button does for one cell."""
        day, _, symbol = key.partition("|")
        return self.launch_run(
            {
                "dagster/partition": key,
                "dagster/partition/date": day,
                "dagster/partition/symbol": symbol,
            }
        )

    def launch_run(self, tags: Mapping[str, str]) -> str:
        """Start a run of every asset with whatever tags."""
        launched = self.ask(
            LAUNCH_RUN,
            {
                "executionParams": {
                    "selector": {
                        "repositoryLocationName": LOCATION,
                        "repositoryName": self.repository(),
                        "jobName": "__ASSET_JOB",
                        "assetSelection": _EVERY_ASSET,
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

    def launch_keys(self, keys: Sequence[str]) -> str:
        """Materialise several partitions of every asset, as the dialogue for ranges does."""
        return self._backfill({"assetSelection": _EVERY_ASSET, "partitionNames": list(keys)})

    def launch_range(self, start: str, end: str) -> str:
        """Materialise every asset from one partition to another, named by these two."""
        box = {"range": {"start": start, "end": end}}
        return self._backfill(
            {
                "partitionsByAssets": [
                    {"assetKey": asset, "partitions": box} for asset in _EVERY_ASSET
                ]
            }
        )

    def launch_everything(self) -> str:
        """Materialise every partition of every asset."""
        return self._backfill({"assetSelection": _EVERY_ASSET, "allPartitions": True})

    def launch_job(self, job: str, keys: Sequence[str]) -> str:
        """The backfill of a job, as its page offers it."""
        return self._backfill(
            {
                "selector": {
                    "partitionSetName": f"{job}_partition_set",
                    "repositorySelector": {
                        "repositoryName": self.repository(),
                        "repositoryLocationName": LOCATION,
                    },
                },
                "partitionNames": list(keys),
            }
        )

    def _backfill(self, parameters: Mapping[str, Any]) -> str:
        asked = self.ask(LAUNCH_BACKFILL, {"backfillParams": parameters})
        launched = asked["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        backfill_id: str = launched["backfillId"]
        return backfill_id

    def terminate(self, run_id: str) -> None:
        """Stop a run, as the button does."""
        ended = self.ask(TERMINATE_RUN, {"id": run_id})["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended

    def run_errors(self, run_id: str) -> str:
        """What the failed steps of a run say."""
        events = self.ask(RUN_ERRORS, {"id": run_id})["logsForRun"]["events"]
        failures = [event["error"] for event in events if event.get("error")]
        return "\n".join(
            text
            for failure in failures
            for text in (
                failure["message"],
                *(link["error"]["message"] for link in failure["errorChain"]),
            )
        )

    def run_status(self, run_id: str) -> str:
        return str(self.ask(RUN_STATUS, {"id": run_id})["runOrError"]["status"])

    def run_is_over(self, run_id: str) -> bool:
        status = self.run_status(run_id)
        assert status not in {"FAILURE", "CANCELED"}, status
        return bool(status == "SUCCESS")

    def backfill(self, backfill_id: str) -> dict[str, Any]:
        """Status, error and runs of a backfill."""
        found: dict[str, Any] = self.ask(BACKFILL_STATUS, {"id": backfill_id})[
            "partitionBackfillOrError"
        ]
        return found

    def backfill_is_over(self, backfill_id: str) -> bool:
        found = self.backfill(backfill_id)
        assert found["status"] in {"REQUESTED", "COMPLETED_SUCCESS"}, found
        return bool(found["status"] == "COMPLETED_SUCCESS")

    def backfill_has_failed(self, backfill_id: str) -> bool:
        found = self.backfill(backfill_id)
        assert found["status"] != "COMPLETED_SUCCESS", found
        return found["status"] in {"FAILED", "COMPLETED_FAILED"}


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
