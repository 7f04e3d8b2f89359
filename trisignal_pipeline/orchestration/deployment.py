"""What a deployment may choose and `dagster.yaml` can't give a default: folders and concurrency.

An `env:` entry in that file fails where the variable isn't set. These classes are Dagster's own,
told where things are by the environment, so that one file serves a laptop and a server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dagster import DagsterInstance
from dagster._config import UserConfigSchema
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.settings import Settings

CONCURRENT_RUNS_VARIABLE = "TRISIGNAL_CONCURRENT_RUNS"
DEFAULT_CONCURRENT_RUNS = 2


def dagster_folder(settings: Settings) -> Path:
    """Where Dagster keeps files rather than rows: the output of steps, above all."""
    return settings.home / "dagster"


def compute_logs_folder(settings: Settings) -> Path:
    """Where it keeps that output, in a folder a run."""
    return dagster_folder(settings) / "compute_logs"


def concurrent_runs(environment: Mapping[str, str] = os.environ) -> int:
    """How many runs may work at once: `TRISIGNAL_CONCURRENT_RUNS`, or 2.

    Raises:
        ConfigurationError: the variable holds no whole number from 1 up.
    """
    named = environment.get(CONCURRENT_RUNS_VARIABLE)
    if not named:
        return DEFAULT_CONCURRENT_RUNS
    if not (named.isascii() and named.isdigit() and int(named) > 0):
        raise ConfigurationError(
            f"{CONCURRENT_RUNS_VARIABLE} is {named!r}; write a whole number from 1 up, "
            "about as many as the machine has cores"
        )
    return int(named)


class HomeArtifacts(LocalArtifactStorage):
    """Files of runs, below `TRISIGNAL_HOME`."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration but the environment."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The folder that the environment names."""
        return cls(str(dagster_folder(Settings.from_environment())), inst_data)


class HomeComputeLogs(LocalComputeLogManager):
    """What steps write to stdout and stderr, below `TRISIGNAL_HOME`."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration but the environment."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The folder that the environment names."""
        return cls(str(compute_logs_folder(Settings.from_environment())), inst_data=inst_data)


class RunQueue(QueuedRunCoordinator[DagsterInstance]):
    """The queue of runs, as long as the machine can bear."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration but the environment."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """A queue that lets as many runs start as the environment says."""
        return cls(max_concurrent_runs=concurrent_runs(), inst_data=inst_data)
