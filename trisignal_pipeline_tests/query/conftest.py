"""What the tests of the query room share beside the server: databases as the product sees them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.query.plain_chart import Row, minute_of, plain_export
from trisignal_pipeline_tests.query.stored_market import (
    HOLIDAY_WEEK,
    StoredMarket,
    chicago_ns,
    generated,
    store_clean,
    store_signals,
    with_roll,
)
from trisignal_pipeline_tests.signal.generated_bars import rows_of, session_rows


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


@pytest.fixture(scope="session")
def charts(holiday_market: StoredMarket) -> Callable[[str], list[Row]]:
    """The true export of that market in any timeframe, whole bars only: a copy of its rows."""
    minutes, of = rows_of(holiday_market.bars), session_rows(holiday_market.sessions)
    # The last session runs on beyond the stored dates.
    last_close = chicago_ns("2024-12-03 16:00")

    @cache
    def made(timeframe: str) -> list[Row]:
        rows = plain_export(minutes, timeframe, of)
        first = chicago_ns("2024-11-26 17:00")
        return [row for row in rows if first <= minute_of(row) < last_close]

    return lambda timeframe: [dict(row) for row in made(timeframe)]
