"""The instance for runs in this process, and what a deployment may set."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.run_coordinator import QueuedRunCoordinator

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.dagster_storage import PooledEventLogStorage
from trisignal_pipeline.orchestration.deployment import (
    CONCURRENT_RUNS_VARIABLE,
    RunQueue,
    concurrent_runs,
)
from trisignal_pipeline.orchestration.instance import dagster_home, open_instance
from trisignal_pipeline.settings import Settings, project_file


def test_the_instance_keeps_everything_below_the_home(
    own_settings: Settings, instance: dg.DagsterInstance
) -> None:
    assert Path(instance.storage_directory()).is_relative_to(own_settings.home)
    assert os.environ["DAGSTER_HOME"] == str(own_settings.home / "dagster")


def test_the_environment_agrees_with_the_settings_only_while_it_is_open(
    own_settings: Settings, dagster_database: str
) -> None:
    before = dict(os.environ)
    with open_instance(own_settings):
        assert Settings.from_environment() == own_settings
    assert os.environ.pop("DAGSTER_EVENT_BATCH_SIZE") == "200"
    assert dict(os.environ) == before


def test_a_batch_size_of_ones_own_is_kept(
    own_settings: Settings, dagster_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")
    with open_instance(own_settings):
        assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "7"


def test_a_deployments_own_configuration_counts(
    own_settings: Settings,
    dagster_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_home = tmp_path / "deployment"
    own_home.mkdir()
    configuration = project_file("dagster.yaml").read_text()
    (own_home / "dagster.yaml").write_text(
        configuration.replace("cancel_timeout_seconds: 120", "cancel_timeout_seconds: 77")
    )
    monkeypatch.setenv("DAGSTER_HOME", str(own_home))
    with open_instance(own_settings) as opened:
        assert opened.run_monitoring_cancel_timeout_seconds == 77


def test_a_copy_of_our_configuration_never_counts_for_the_product_itself(
    own_settings: Settings,
) -> None:
    home, configuration = dagster_home(own_settings, {})
    (home / "dagster.yaml").write_text("outdated: true")

    assert dagster_home(own_settings, {"DAGSTER_HOME": str(home)}) == (home, configuration)
    assert configuration == project_file("dagster.yaml")


def test_runs_of_one_instance_are_seen_by_the_next(
    own_settings: Settings, dagster_database: str
) -> None:
    with open_instance(own_settings) as opened:
        opened.add_dynamic_partitions("symbol", ["GLBX.MDP3:NQ"])
    with open_instance(own_settings) as opened:
        assert opened.get_dynamic_partitions("symbol") == ["GLBX.MDP3:NQ"]


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(home=tmp_path / "file" / "home", raw_dir=tmp_path)
    with pytest.raises(ConfigurationError, match=r"TRISIGNAL_HOME.*can be written"):
        dagster_home(settings, {})


def test_the_configuration_says_what_it_means(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert instance.run_coordinator.get_run_queue_config().max_concurrent_runs == 2
    assert instance.run_monitoring_enabled
    assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, 2)
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert not instance.telemetry_enabled
    assert isinstance(instance.event_log_storage, PooledEventLogStorage)


@pytest.mark.parametrize(("named", "runs"), [("", 2), ("1", 1), ("16", 16)])
def test_the_environment_says_how_many_runs_work_at_once(
    named: str, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONCURRENT_RUNS_VARIABLE, named)
    assert RunQueue.from_config_value(None, {}).get_run_queue_config().max_concurrent_runs == runs


@pytest.mark.parametrize("named", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_runs_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match=CONCURRENT_RUNS_VARIABLE):
        concurrent_runs({CONCURRENT_RUNS_VARIABLE: named})
