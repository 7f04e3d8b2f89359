"""What the tests of the storage room share beside the server: a database as the product sees it."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.embedded import EmbeddedServer


@pytest.fixture
def home() -> Iterator[Path]:
    """Where an embedded server of the test's own lives: every account can get there."""
    folder = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    folder.chmod(0o755)
    yield folder / "home"
    if (folder / "home").is_dir():
        EmbeddedServer(folder / "home").reset()
    shutil.rmtree(folder)


@pytest.fixture
def embedded(home: Path) -> EmbeddedServer:
    """A server of the test's own that runs, with one row stored."""
    server = EmbeddedServer(home)
    server.ensure_running()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept (answer integer)")
        connection.execute("INSERT INTO kept VALUES (42)")
    return server


@pytest.fixture
def database(database_url: str) -> Database:
    """A migrated database."""
    return Database(database_url)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection to it, each statement a transaction of its own."""
    with database.connect("test", autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def shared_database(server: EmbeddedServer, migrated_template: str) -> Iterator[Database]:
    """A migrated database that the tests of a file share, and that none of them may change."""
    name = f"shared_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(migrated_template)
            )
        )
        yield Database(server.url(name))
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def undone(shared_database: Database) -> Iterator[Connection]:
    """A connection to the shared database, whose work is undone when the test ends."""
    with (
        shared_database.connect("test") as connection,
        connection.transaction(force_rollback=True),
    ):
        yield connection
