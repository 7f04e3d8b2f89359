"""Runs on several machines: the daemon hands whole runs to workers, through a Redis in between.

A run is a task of Celery's. What it does and what came of it is in the two databases as ever; Redis
holds the runs that are on their way and the names of those who took them, and no data. Launcher and
worker are configured alike, by `workers_app`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from celery import Celery
from dagster._config import UserConfigSchema
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_celery.config import DEFAULT_CONFIG
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.make_app import make_app
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from trisignal_pipeline.errors import ConfigurationError

BROKER_VARIABLE = "TRISIGNAL_BROKER_URL"

QUEUE = "dagster"

PING_SECONDS = 3.0
"""How long a worker may take to answer."""

PINGS = 3
"""How often a worker is asked before it counts as gone."""

_SETTINGS: dict[str, Any] = {
    **DEFAULT_CONFIG,
    # A worker takes a run when it has a process for it, and none on top that would wait behind it
    # while other workers are idle.
    "worker_disable_prefetch": True,
    # Each run in a process of its own, as on one machine.
    "worker_max_tasks_per_child": 1,
    # Dagster keeps what steps print, and wants the real streams for that.
    "worker_redirect_stdouts": False,
    "broker_connection_retry_on_startup": True,
    # Longer than any run may take: a run whose worker is forgotten counts as lost.
    "result_expires": 7 * 24 * 3600,
}


def broker_url(environment: Mapping[str, str] = os.environ) -> str:
    """Where the Redis between daemon and workers is: `TRISIGNAL_BROKER_URL`. May hold a password.

    Raises:
        ConfigurationError: it isn't set, or is not the URL of a Redis.
    """
    url = environment.get(BROKER_VARIABLE)
    if not url:
        raise ConfigurationError(
            f"runs are handed to workers through a Redis: name it in {BROKER_VARIABLE}, as "
            "redis://host:6379/0, for the daemon, the webserver and every worker"
        )
    if not re.fullmatch(r"rediss?://\S+", url):
        raise ConfigurationError(
            f"{BROKER_VARIABLE} must be of the form redis://:password@host:6379/0, or rediss:// "
            "with TLS (its value is not shown: it may hold a password)"
        )
    return url


def workers_app(broker: str) -> Celery:
    """Celery on `broker`, with the tasks that a worker does."""
    app: Celery = make_app(  # type: ignore[no-untyped-call]  # it has no annotations
        {
            "broker": broker,
            "backend": broker,
            "config_source": _SETTINGS,
            "task_default_queue": QUEUE,
        }
    )
    create_execute_job_task(app)
    create_resume_job_task(app)
    return app


class WorkersLauncher(CeleryRunLauncher):
    """Hands runs to workers, and tells when one is gone.

    Celery calls a task started until its worker says otherwise, which a worker that was killed
    with its whole machine never does. Here the worker is asked.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration but the environment: what is stored with a run holds no password."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """A launcher on the Redis that the environment names."""
        broker = broker_url()
        return cls(
            default_queue=QUEUE,
            broker=broker,
            backend=broker,
            config_source=_SETTINGS,
            inst_data=inst_data,
        )

    def terminate(self, run_id: str) -> bool:
        """Stop a run that a worker has; whether there was one to stop."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        # Or else its end would pass for a failure, and the run would be launched again.
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's worker is there. A run that no worker was given is nobody's loss."""
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task is None:
            return CheckRunHealthResult(
                WorkerStatus.RUNNING, "in the process of a command, or on its way to a worker"
            )
        health = super().check_run_worker_health(run)
        if health.status is not WorkerStatus.RUNNING:
            return health
        taken = self.celery.AsyncResult(task).info
        worker = taken.get("hostname") if isinstance(taken, dict) else None
        if worker is None or self._answers(str(worker)):
            return health
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"the worker {worker} is gone, or can't be reached through Redis"
        )

    def _answers(self, worker: str) -> bool:
        # Returns as soon as the one that is asked has answered.
        return any(self.celery.control.ping([worker], timeout=PING_SECONDS) for _ in range(PINGS))
