"""A Dagster instance as the product opens it, on a database and in a home of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.instance import open_instance
from trisignal_pipeline.settings import Settings


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", raw_dir=tmp_path / "raw")


@pytest.fixture
def dagster_database(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    return empty_database_url


@pytest.fixture
def instance(own_settings: Settings, dagster_database: str) -> Iterator[dg.DagsterInstance]:
    with open_instance(own_settings) as opened:
        yield opened
