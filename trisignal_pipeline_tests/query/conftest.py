"""What the tests of the query room share beside the server: a database as the product sees it."""

from __future__ import annotations

import pytest

from trisignal_pipeline.storage.connection import Database


@pytest.fixture
def database(database_url: str) -> Database:
    """A migrated database."""
    return Database(database_url)
