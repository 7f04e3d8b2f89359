"""What the daemon does with a sensor: it lets it look, and starts the runs that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from trisignal_pipeline.orchestration.definitions import build_defs
from trisignal_pipeline.orchestration.resources import PostgresResource, RawFolderResource


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of one look. `about` is job, symbol, first and last date of each run asked for."""

    requests: tuple[dg.RunRequest, ...]
    skipped: str
    cursor: str | None

    @property
    def about(self) -> list[tuple[str, str, str, str]]:
        found = []
        for request in self.requests:
            first = request.tags.get("dagster/asset_partition_range_start", "|")
            last = request.tags.get("dagster/asset_partition_range_end", "|")
            start, _, symbol = first.partition("|")
            found.append((str(request.job_name), symbol, start, last.partition("|")[0]))
        return found


def tick(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None
) -> Tick:
    """Let `sensor` look once."""
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        definitions=build_defs(),
        resources={"postgres": PostgresResource(), "raw_folder": RawFolderResource()},
        sensor_name=sensor.name,
    ) as context:
        seen = sensor.evaluate_tick(context)
    return Tick(tuple(seen.run_requests or ()), seen.skip_message or "", seen.cursor)


def start(
    instance: dg.DagsterInstance, request: dg.RunRequest, **more_config: Mapping[str, Any]
) -> dg.ExecuteInProcessResult:
    """The run that was asked for, here and now."""
    assert request.job_name is not None
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return (
        build_defs()
        .resolve_job_def(request.job_name)
        .execute_in_process(
            instance=instance,
            tags=dict(request.tags),
            run_config={**quiet, **request.run_config, **more_config},
            raise_on_error=False,
        )
    )
