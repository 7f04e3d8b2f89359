"""What every room's tests share: one PostgreSQL server, and databases that cost nothing to make."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.sources import databento_server
from trisignal_pipeline_tests.sources.databento_server import DatabentoServer
from trisignal_pipeline_tests.throwaway_server import throwaway_server

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A real server of the suite's own, gone when the suite ends."""
    with throwaway_server() as started:
        yield started


def _create_database(server: EmbeddedServer, template: str = "template0") -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return name


def _drop_database(server: EmbeddedServer, name: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database_url(server: EmbeddedServer) -> Iterator[str]:
    """The URL of a database without a single table."""
    name = _create_database(server)
    yield server.url(name)
    _drop_database(server, name)


@pytest.fixture(scope="session")
def migrated_template(server: EmbeddedServer) -> str:
    """The name of a migrated database that others are copied from."""
    name = _create_database(server)
    migrate(server.url(name))
    return name


@pytest.fixture
def database_url(server: EmbeddedServer, migrated_template: str) -> Iterator[str]:
    """The URL of a fresh database with the current schema and the registry's seeds."""
    name = _create_database(server, migrated_template)
    yield server.url(name)
    _drop_database(server, name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real vendor files, where this machine has them."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real input is not on this machine: {SHARED_DATA} is absent")
    return SHARED_DATA


@pytest.fixture
def databento(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabentoServer]:
    """A stand-in for Databento's API, which the environment names with a key that it takes."""
    with databento_server.running(tmp_path) as market:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(market.authority))
        monkeypatch.setenv("NO_PROXY", "localhost")
        monkeypatch.setenv("TRISIGNAL_DATABENTO_GATEWAY", market.gateway)
        monkeypatch.setenv("DATABENTO_API_KEY", databento_server.KEY)
        yield market
