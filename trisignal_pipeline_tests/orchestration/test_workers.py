"""What workers are configured by, and what they refuse; that they work is tested end to end."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._serdes import ConfigurableClassData

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.worker import run_worker
from trisignal_pipeline.orchestration.workers import (
    BROKER_VARIABLE,
    WorkersLauncher,
    broker_url,
    workers_app,
)
from trisignal_pipeline.settings import Settings

SECRET = "kestrel"


@pytest.mark.parametrize(
    "url", ["redis://queue:6379/0", "rediss://:secret@queue:6379/1", "redis://127.0.0.1:1"]
)
def test_the_environment_names_the_redis(url: str) -> None:
    assert broker_url({BROKER_VARIABLE: url}) == url


@pytest.mark.parametrize("url", ["", f"amqp://guest:{SECRET}@queue", f"redis://:{SECRET} @queue"])
def test_what_is_no_redis_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{BROKER_VARIABLE}.*redis://") as refusal:
        broker_url({BROKER_VARIABLE: url})
    assert SECRET not in str(refusal.value)


def test_worker_and_launcher_are_configured_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BROKER_VARIABLE, f"redis://:{SECRET}@127.0.0.1:1/0")
    named = ConfigurableClassData("trisignal_pipeline.orchestration.workers", "WorkersLauncher", "")
    launcher = WorkersLauncher.from_config_value(named, {})
    worker = workers_app(broker_url())
    for setting in ("broker_url", "result_backend", "task_default_queue", "result_expires"):
        assert launcher.celery.conf[setting] == worker.conf[setting]
    assert worker.conf.worker_disable_prefetch
    assert launcher.inst_data == named, "what is stored with a run holds no password"


def test_a_run_that_no_worker_was_given_is_not_taken_for_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(BROKER_VARIABLE, "redis://127.0.0.1:1/0")
    launcher = WorkersLauncher.from_config_value(ConfigurableClassData("m", "c", ""), {})
    run = dg.DagsterRun(job_name="by_hand", status=dg.DagsterRunStatus.STARTED)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_a_worker_without_a_database_to_share_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", raw_dir=tmp_path / "raw")
    with pytest.raises(ConfigurationError, match="TRISIGNAL_DATABASE_URL"):
        run_worker(settings, runs=1)
    assert not settings.home.exists(), "no embedded server was started for it"


def test_a_worker_without_a_redis_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BROKER_VARIABLE, raising=False)
    settings = Settings(tmp_path / "home", tmp_path / "raw", "postgresql://nowhere/market")
    with pytest.raises(ConfigurationError, match=BROKER_VARIABLE):
        run_worker(settings, runs=1)
