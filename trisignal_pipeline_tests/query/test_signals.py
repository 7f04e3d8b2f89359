"""Queries of signals: what is stored of a symbol and a range of dates, no more and no less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query.counts import By, counts
from trisignal_pipeline.query.dataset import dataset
from trisignal_pipeline.query.series import Series
from trisignal_pipeline.query.signals import bias, triangles
from trisignal_pipeline.query.tables import read_table
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.storage.stored_bars import NQ, days_from, walk
from trisignal_pipeline_tests.storage.stored_signals import (
    compute,
    of_dates,
    store_days,
    stored_bias,
    stored_triangles,
)

ES = "GLBX.MDP3:ES"
WEEK = days_from(date(2023, 12, 29), 5)  # a Saturday in it, and the turn of a year
ROWS = walk(WEEK, seed=31, share=0.02)
EMPTY = date(2023, 12, 30)
MIDDLE = DateRange(date(2023, 12, 31), date(2024, 1, 1))


@pytest.fixture
def computed(database: Database) -> Database:
    """A database with a week of signals, one date of which has no bars."""
    rows = [row for row in ROWS if not _on(row.ts, EMPTY)]
    store_days(database, rows, WEEK)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, WEEK)
    return database


@pytest.fixture
def reading(computed: Database) -> Iterator[Connection]:
    """A connection in a transaction, as the commands read."""
    with computed.connect("test") as connection:
        yield connection


def _on(ts: int, day: date) -> bool:
    return DateRange(day, day).start_ns <= ts < DateRange(day, day).end_ns


def test_triangles_are_the_stored_ones_with_their_times_in_utc(
    computed: Database, reading: Connection
) -> None:
    table = triangles(NQ, WEEK).table(reading)

    assert table.columns[:13] == (
        "ts", "direction", "bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1",
        "htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing", "require_engulfing",
    )  # fmt: skip
    rows = list(table.rows)
    assert len(rows) > 10
    assert rows == stored_triangles(computed.url)
    assert all(row[0].utcoffset() == timedelta() for row in rows)


def test_bias_is_named_as_the_triangles_name_it(computed: Database, reading: Connection) -> None:
    table = bias(NQ, WEEK).table(reading)

    assert table.columns == (
        "ts", "bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1",
    )  # fmt: skip
    assert list(table.rows) == [row[:7] for row in stored_bias(computed.url)]


def test_a_range_holds_both_its_dates_and_no_other(computed: Database, reading: Connection) -> None:
    for query, stored in ((triangles, stored_triangles), (bias, stored_bias)):
        rows = list(query(NQ, MIDDLE).table(reading).rows)

        assert len(rows) > 5
        assert [row[0] for row in rows] == [
            row[0] for row in of_dates(stored(computed.url), MIDDLE)
        ]


def test_counts_are_those_of_the_triangles_and_zero_where_there_are_none(
    computed: Database, reading: Connection
) -> None:
    table = counts(reading, registry.market(reading, NQ), WEEK)

    found = Counter((row[0].date(), row[1]) for row in stored_triangles(computed.url))
    assert table.columns == ("date", "bull", "bear", "total")
    assert list(table.rows) == [
        (day, found[day, "BULL"], found[day, "BEAR"], found[day, "BULL"] + found[day, "BEAR"])
        for day in WEEK
        if day != EMPTY
    ]


def test_a_date_whose_triangles_are_all_filtered_out_counts_zero(computed: Database) -> None:
    with computed.connect("test", autocommit=True) as connection:
        registry.set_symbol(connection, NQ, {"require_sweep_engulfing": "true"})
        compute(connection, WEEK)
    with computed.connect("test") as connection:
        rows = list(counts(connection, registry.market(connection, NQ), WEEK).rows)

    assert len(rows) == 4
    assert 0 in {total for *_, total in rows}
    assert sum(total for *_, total in rows) == len(stored_triangles(computed.url))


@pytest.mark.parametrize("series", [triangles, bias, dataset])
def test_a_symbol_or_a_span_without_signals_has_no_rows(
    reading: Connection, series: Callable[[str, DateRange], Series]
) -> None:
    later = DateRange(date(2024, 2, 1), date(2024, 2, 2))

    assert list(series(ES, WEEK).table(reading).rows) == []
    assert list(series(NQ, later).table(reading).rows) == []


@pytest.mark.parametrize(("by", "rows"), [(By.DATE, 0), (By.HOUR, 24), (By.DIRECTION, 2)])
def test_counts_without_signals_are_none_or_zero(reading: Connection, by: By, rows: int) -> None:
    found = list(counts(reading, registry.market(reading, ES), WEEK, by).rows)

    assert len(found) == rows
    assert sum(row[-1] for row in found) == 0


def test_rows_come_in_portions_and_are_all_there(reading: Connection) -> None:
    table = read_table(reading, "SELECT i FROM generate_series(1, %(n)s) AS i", {"n": 12_345})

    assert [batch.num_rows for batch in table.batches] == [5_000, 5_000, 2_345]


def test_the_time_zone_of_the_database_does_not_matter(computed: Database) -> None:
    with Database(computed.url, role=None).connect("test", autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET TimeZone TO 'Pacific/Auckland'")
    with computed.connect("test") as connection:
        of = counts(connection, registry.market(connection, NQ), MIDDLE)
        days = [row[0] for row in of.rows]
        first = next(bias(NQ, MIDDLE).table(connection).rows)

    assert days == list(MIDDLE)
    assert first[0] >= datetime(2023, 12, 31, tzinfo=UTC)
    assert first[0].utcoffset() == timedelta()
