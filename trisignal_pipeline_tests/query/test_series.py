"""Series: pages that follow each other whatever is written between them, and streams of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query.bar_series import bar_series
from trisignal_pipeline.query.dataset import dataset
from trisignal_pipeline.query.series import Series, Span, TimeSpan
from trisignal_pipeline.query.signals import bias, triangles
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.query.stored_market import NQ, market
from trisignal_pipeline_tests.storage.stored_bars import Bar, days_from, walk
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days

DATES = days_from(date(2023, 12, 28), 5)  # a weekend in it, and the turn of a year
ROWS = walk(DATES, seed=5, share=0.04)
MADE: dict[str, Callable[[Database], Series]] = {
    "bars": lambda database: bar_series(market(database), "1m", DATES),
    "bars of 15m": lambda database: bar_series(market(database), "15m", DATES),
    "bias": lambda _: bias(NQ, DATES),
    "triangles": lambda _: triangles(NQ, DATES),
    "dataset": lambda _: dataset(NQ, DATES),
}
every_series = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


@pytest.fixture
def stored(database: Database) -> Database:
    """A database with five days of bars and signals."""
    write(database, ROWS)
    return database


def write(database: Database, rows: list[Bar]) -> None:
    store_days(database, rows, DATES)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)


def whole(connection: Connection, series: Series) -> pa.Table:
    return series.table(connection).whole()


def pages(connection: Connection, series: Series, limit: int) -> list[pa.Table]:
    found = [series.page(connection, limit)]
    while found[-1].next_cursor is not None:
        found.append(series.page(connection, limit, found[-1].next_cursor))
    return [page.rows for page in found]


@every_series
@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_pages_are_the_whole_in_order(
    stored: Database, make: Callable[[Database], Series], limit: int
) -> None:
    series = make(stored)
    with stored.connect("test") as connection:
        expected = whole(connection, series)
        found = pages(connection, series, limit)

    assert expected.num_rows > 15
    assert pa.concat_tables(found) == expected
    assert [page.num_rows for page in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1].num_rows


@every_series
def test_a_stream_is_the_whole_in_portions(
    stored: Database, make: Callable[[Database], Series]
) -> None:
    series = make(stored)
    with stored.connect("test") as connection:
        expected = whole(connection, series)
        batches = list(series.table(connection, portion=9).batches)

    assert max(batch.num_rows for batch in batches) <= 9
    assert len(batches) > 1
    assert pa.Table.from_batches(batches) == expected
    assert expected.schema == series.schema


@every_series
def test_what_is_written_between_two_pages_moves_no_row(
    stored: Database, make: Callable[[Database], Series]
) -> None:
    series = make(stored)
    with stored.connect("test") as connection:
        first = series.page(connection, 10)
    # Earlier minutes come and go, and so do later ones.
    write(stored, [row for row in ROWS if row.ts % 3] + walk(DATES, seed=6, share=0.04)[::2])
    with stored.connect("test") as connection:
        now = whole(connection, series)
        rest = []
        cursor = first.next_cursor
        while cursor is not None:
            page = series.page(connection, 10, cursor)
            rest.append(page.rows)
            cursor = page.next_cursor

    last = first.rows.column("ts")[-1]
    behind = now.filter(pc.greater(now.column("ts"), last))
    assert now.num_rows - behind.num_rows != 10
    assert pa.concat_tables(rest) == behind


def test_a_stream_at_one_instant_sees_nothing_of_what_is_written_meanwhile(
    stored: Database,
) -> None:
    series = dataset(NQ, DATES)
    with stored.connect("test") as connection:
        before = whole(connection, series)
    with stored.answering(60).connect("test", one_instant=True) as connection:
        batches = series.table(connection, portion=20).batches
        read = [next(batches)]
        write(stored, walk(DATES, seed=6, share=0.04))
        read += batches

    assert pa.Table.from_batches(read) == before


@pytest.mark.parametrize("series", [bias, triangles, dataset])
def test_a_span_may_begin_and_end_on_any_minute(
    stored: Database, series: Callable[[str, Span], Series]
) -> None:
    with stored.connect("test") as connection:
        all_of_it = whole(connection, series(NQ, DATES))
        starts = all_of_it.column("ts").cast(pa.int64()).to_numpy() * 1000

        within = whole(connection, series(NQ, TimeSpan(int(starts[3]), int(starts[9]))))

    assert within == all_of_it.slice(3, 6)


@pytest.mark.parametrize("timeframe", ["1m", "15m"])
def test_so_may_one_of_bars(stored: Database, timeframe: str) -> None:
    of = market(stored)
    with stored.connect("test") as connection:
        all_of_it = whole(connection, bar_series(of, timeframe, DATES))
        starts = all_of_it.column("ts").cast(pa.int64()).to_numpy() * 1000
        span = TimeSpan(int(starts[3]), int(starts[9]))

        within = whole(connection, bar_series(of, timeframe, span))

    assert within == all_of_it.slice(3, 6)


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!", "bnVsbA", "W10", "WyJhYmMiXQ", "eyJhIjoxfQ", "\u00e9", "A" * 400]
)
def test_what_is_no_cursor_is_refused(stored: Database, cursor: str) -> None:
    with stored.connect("test") as connection, pytest.raises(RangeError, match="cursor"):
        bias(NQ, DATES).page(connection, 5, cursor)


def test_the_cursor_of_another_question_is_refused(stored: Database) -> None:
    others = [
        bias(NQ, DateRange(DATES.start, DATES.start)),
        bias("GLBX.MDP3:ES", DATES),
        dataset(NQ, DATES),
        triangles(NQ, DATES, ["BULL"]),
        bar_series(market(stored), "5m", DATES),
    ]
    with stored.connect("test") as connection:
        cursor = bias(NQ, DATES).page(connection, 5).next_cursor
        for other in others:
            with pytest.raises(RangeError, match="cursor"):
                other.page(connection, 5, cursor)


def test_a_cursor_fits_into_an_address(stored: Database) -> None:
    with stored.connect("test") as connection:
        for make in MADE.values():
            cursor = make(stored).page(connection, 1).next_cursor
            assert cursor is not None
            assert cursor.replace("-", "").replace("_", "").isalnum()
            assert len(cursor) < 100


def test_triangles_can_be_those_of_one_direction(stored: Database) -> None:
    with stored.connect("test") as connection:
        both = whole(connection, triangles(NQ, DATES)).to_pylist()
        bulls = whole(connection, triangles(NQ, DATES, ["BULL"])).to_pylist()

    assert bulls == [row for row in both if row["direction"] == "BULL"]
    assert 0 < len(bulls) < len(both)
