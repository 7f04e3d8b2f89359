"""Which database Dagster's own rows go to, and what happens where it can't be had."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from trisignal_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE, dagster_database_url
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.embedded import EmbeddedServer


def _settings(url: str | None, home: Path = Path("unused")) -> Settings:
    return Settings(home=home, raw_dir=Path("unused"), database_url=url)


@pytest.fixture
def beside(empty_database_url: str, server: EmbeddedServer) -> Iterator[str]:
    name = f"{make_url(empty_database_url).database}_dagster"
    yield name
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        connection.execute(drop.format(sql.Identifier(name)))


def _connects(url: str) -> bool:
    with psycopg.connect(url.replace("+psycopg2", "")) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_the_named_database_is_taken_through_psycopg2() -> None:
    environment = {URL_VARIABLE: "postgresql://dagster:pw@db.example:5433/events?sslmode=require"}
    assert dagster_database_url(_settings("postgresql://ignored/bars"), environment) == (
        "postgresql+psycopg2://dagster:pw@db.example:5433/events?sslmode=require"
    )


def test_a_server_of_ones_own_gets_a_database_beside_that_of_the_bars(
    empty_database_url: str, beside: str
) -> None:
    url = dagster_database_url(_settings(empty_database_url), {})

    assert make_url(url).database == beside
    assert make_url(url).drivername == "postgresql+psycopg2"
    assert _connects(url)
    assert dagster_database_url(_settings(empty_database_url), {}) == url


def test_processes_that_start_at_once_all_get_the_database(
    empty_database_url: str, beside: str
) -> None:
    with ThreadPoolExecutor(6) as pool:
        urls = list(
            pool.map(lambda _: dagster_database_url(_settings(empty_database_url), {}), range(6))
        )
    assert {make_url(url).database for url in urls} == {beside}
    assert _connects(urls[0])


def test_a_role_that_may_not_create_it_is_told_what_to_set(
    empty_database_url: str, beside: str, server: EmbeddedServer
) -> None:
    role = f"limited_{beside}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'not-for-your-eyes' NOCREATEDB")
        connection.execute(create.format(sql.Identifier(role)))
    limited = make_url(empty_database_url).set(username=role, password="not-for-your-eyes")
    try:
        with pytest.raises(ConfigurationError, match=URL_VARIABLE) as refusal:
            dagster_database_url(_settings(limited.render_as_string(hide_password=False)), {})
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert beside in str(refusal.value)
    assert "not-for-your-eyes" not in str(refusal.value)


@pytest.mark.parametrize("url", ["not a url", "mysql://user:secret@host/db", "postgresql://h:x/"])
def test_what_is_not_a_postgresql_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationError, match=URL_VARIABLE) as refusal:
        dagster_database_url(_settings(None), {URL_VARIABLE: url})
    assert "secret" not in str(refusal.value)


def test_a_url_without_a_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="names no database"):
        dagster_database_url(_settings("postgresql://host"), {})


def test_a_server_that_is_away_may_come_back() -> None:
    with pytest.raises(DatabaseUnavailableError):
        dagster_database_url(_settings("postgresql://user@/bars?host=/nonexistent"), {})


def test_without_any_setting_the_embedded_server_runs(tmp_path: Path) -> None:
    url = dagster_database_url(_settings(None, tmp_path), {})
    try:
        assert make_url(url).database == "dagster"
        assert _connects(url)
    finally:
        EmbeddedServer.for_home(tmp_path, {}).reset()
