"""What the tests of the query room share beside the server: databases as the product sees them."""

from __future__ import annotations

import uuid
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.query.stored_market import (
    HOLIDAY_WEEK,
    StoredMarket,
    generated,
    store_clean,
    store_signals,
    with_roll,
)


@pytest.fixture
def database(database_url: str) -> Database:
    """A migrated database."""
    return Database(database_url)


@pytest.fixture(scope="session")
def holiday_market(server: EmbeddedServer, migrated_template: str) -> StoredMarket:
    """A week with a holiday, a half day and a roll, its bars and signals stored. To be read only.

    A quarter of the minutes did not trade, so that many higher bars lack their last one.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(migrated_template)
            )
        )
    database = Database(server.url(name))
    bars = with_roll(generated(HOLIDAY_WEEK, share=0.75))
    store_clean(database, bars, HOLIDAY_WEEK)
    store_signals(database, HOLIDAY_WEEK)
    of = sessions("cme_equity", HOLIDAY_WEEK.start, HOLIDAY_WEEK.end + timedelta(days=1))
    return StoredMarket(database, bars, of)
