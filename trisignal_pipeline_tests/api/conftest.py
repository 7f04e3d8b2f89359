"""A week of a market in a database, and the application over it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.api.running_api import Api, running
from trisignal_pipeline_tests.query.stored_market import (
    HOLIDAY_WEEK,
    generated,
    store_clean,
    store_signals,
    with_roll,
)


@pytest.fixture(scope="session")
def week_template(server: EmbeddedServer, migrated_template: str) -> str:
    """The name of a database with a week in it: a holiday, a half day, a roll, silent minutes."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(server, name, migrated_template)
    database = Database(server.url(name))
    store_clean(database, with_roll(generated(HOLIDAY_WEEK, share=0.75)), HOLIDAY_WEEK)
    store_signals(database, HOLIDAY_WEEK)
    return name


@pytest.fixture(scope="session")
def week(server: EmbeddedServer, week_template: str) -> Database:
    """That database. To be read only."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(server, name, week_template)
    return Database(server.url(name))


@pytest.fixture(scope="session")
def api(week: Database) -> Iterator[Api]:
    """The application over the week."""
    with running(build_app(week)) as served:
        yield served


@pytest.fixture
def own_week(server: EmbeddedServer, week_template: str) -> Iterator[Database]:
    """The same week for one test, which may change it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(server, name, week_template)
    yield Database(server.url(name))
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def copy_database(server: EmbeddedServer, name: str, template: str) -> None:
    """A database of its own with the content of `template`."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
