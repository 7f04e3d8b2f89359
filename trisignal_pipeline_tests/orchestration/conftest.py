"""A Dagster instance as the product opens it, on a database and in a home of the test's own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE, dagster_database_url
from trisignal_pipeline.orchestration.dagster_storage import PooledStorage
from trisignal_pipeline.orchestration.instance import open_instance
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.pipeline import Pipeline, open_pipeline


@pytest.fixture(scope="session")
def dagster_template(server: EmbeddedServer) -> str:
    """The name of a database with Dagster's tables, that others are copied from."""
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    nowhere = Settings(home=Path("unused"), raw_dir=Path("unused"))
    url = dagster_database_url(nowhere, {URL_VARIABLE: server.url(name)})
    batch_size = os.environ.get("DAGSTER_EVENT_BATCH_SIZE")
    PooledStorage(url).event_log_storage.dispose()
    if batch_size is None:
        del os.environ["DAGSTER_EVENT_BATCH_SIZE"]
    return name


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", raw_dir=tmp_path / "raw")


@pytest.fixture
def no_dagster_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set before it is deleted, so that what a test leaves behind is undone as well.
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def empty_dagster_database(
    empty_database_url: str, no_dagster_environment: None, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of a database that is Dagster's and has no tables yet."""
    monkeypatch.setenv(URL_VARIABLE, empty_database_url)
    return empty_database_url


@pytest.fixture
def dagster_database(
    server: EmbeddedServer,
    dagster_template: str,
    no_dagster_environment: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The URL of a database that is Dagster's and has its tables."""
    name = sql.Identifier(f"dagster_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(name, sql.Identifier(dagster_template)))
        url = server.url(name.as_string().strip('"'))
        monkeypatch.setenv(URL_VARIABLE, url)
        yield url
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def instance(own_settings: Settings, dagster_database: str) -> Iterator[dg.DagsterInstance]:
    with open_instance(own_settings) as opened:
        yield opened


@pytest.fixture
def pipeline(
    server: EmbeddedServer, migrated_template: str, dagster_template: str, tmp_path: Path
) -> Iterator[Pipeline]:
    """The whole product, with nothing in it yet."""
    with open_pipeline(server, migrated_template, dagster_template, tmp_path) as opened:
        yield opened
