"""A worker: a process that takes runs from the queue and does each in a process of its own."""

from __future__ import annotations

import logging
import os
import uuid

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.instance import environment_of_services
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.readiness import database_for_work


def run_worker(settings: Settings, runs: int) -> None:
    """Take runs, up to `runs` at once, until SIGTERM or SIGINT; those at work are finished first.

    Raises:
        ConfigurationError: Celery isn't installed, or there is no Redis or no database that
            several machines could share.
        SchemaVersionError, DatabaseUnavailableError: as `database_for_work` does.
        SystemExit: the worker has ended.
    """
    try:
        from trisignal_pipeline.orchestration.workers import (  # noqa: PLC0415
            broker_url,
            workers_app,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"a worker needs what is in requirements-celery.lock ({error.name} is not installed); "
            "run: pip install --require-hashes -r requirements-celery.lock"
        ) from None
    if settings.database_url is None:
        raise ConfigurationError(
            "a worker shares its database with the daemon, and the embedded one is for a single "
            "machine: name a server of your own in TRISIGNAL_DATABASE_URL"
        )
    app = workers_app(broker_url())
    database_for_work(settings)
    os.environ.update(environment_of_services(settings, os.environ))
    # Celery shows what any library says at INFO.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    app.worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={runs}",
            # Never the name of one that was here before: who asks for that one must hear nothing.
            f"--hostname=trisignal-{uuid.uuid4().hex[:12]}@%h",
            "--loglevel=INFO",
            # What only matters to crowds of workers that watch each other.
            "--without-gossip",
            "--without-mingle",
        ]
    )
