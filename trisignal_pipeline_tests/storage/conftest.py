"""What the tests of the storage room share beside the server: a database as the product sees it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trisignal_pipeline.storage.connection import Connection, Database


@pytest.fixture
def database(database_url: str) -> Database:
    """A migrated database."""
    return Database(database_url)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection to it, each statement a transaction of its own."""
    with database.connect("test", autocommit=True) as connection:
        yield connection
