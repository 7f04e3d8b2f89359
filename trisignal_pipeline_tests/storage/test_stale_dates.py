"""Clean dates that were made from legacy bars which are others by now."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.bar_dates import (
    BarDate,
    describe_dates,
    mark_complete,
    mark_writing,
    versions,
)
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.stale_dates import stale_clean_dates
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    all_rows,
    bar,
    by_hand,
    columns,
    days_from,
    moment,
)

DATES = days_from(DAY, 3)
TUESDAY = DAY + timedelta(days=1)


def _described(layer: str, *minutes: int, day: date = DAY) -> list[BarDate]:
    rows = [bar(minute, day=day) for minute in minutes]
    return describe_dates(layer, DateRange(day, day), columns(rows), Bars.empty())


def _legacy(connection: Connection, *minutes: int, day: date = DAY) -> None:
    described = _described("legacy", *minutes, day=day)
    mark_complete(connection, NQ, "legacy", described, 1, "dbn_files")
    connection.commit()


def _clean(connection: Connection, *minutes: int, day: date = DAY) -> None:
    read = versions(connection, NQ, "legacy", DATES)
    described = _described("clean", *minutes, day=day)
    mark_complete(connection, NQ, "clean", described, 2, "legacy", read)
    connection.commit()


def test_clean_dates_are_stale_once_their_legacy_bars_are_others(connection: Connection) -> None:
    for day in DATES:
        _legacy(connection, 0, day=day)
        _clean(connection, 0, day=day)
    assert stale_clean_dates(connection) == {}

    for day in (DAY, TUESDAY):
        _legacy(connection, 0, 1, day=day)
    assert stale_clean_dates(connection) == {NQ: [DateRange(DAY, TUESDAY)]}

    _clean(connection, 0, 1)
    assert stale_clean_dates(connection) == {NQ: [DateRange(TUESDAY, TUESDAY)]}


def test_legacy_bars_that_were_written_again_without_a_change_make_nothing_stale(
    connection: Connection,
) -> None:
    _legacy(connection, 0)
    _clean(connection, 0)

    _legacy(connection, 0)

    assert stale_clean_dates(connection) == {}


def _kept(database: Database) -> list[tuple[datetime, ...]]:
    return all_rows(
        database.url,
        "SELECT completed_at, changed_at, changed_from, ingestion_run_id FROM bar_dates "
        "WHERE layer = 'clean'",
    )


def test_a_clean_date_that_stays_the_same_keeps_its_times_and_follows_the_version(
    connection: Connection, database: Database
) -> None:
    _legacy(connection, 0)
    _clean(connection, 0)
    before = _kept(database)
    _legacy(connection, 0, 1)

    _clean(connection, 0)

    assert _kept(database) == before
    assert stale_clean_dates(connection) == {}


def test_bars_of_the_api_are_made_from_no_legacy_version(connection: Connection) -> None:
    _legacy(connection, 0)
    _clean(connection, 0)
    mark_complete(connection, NQ, "clean", _described("clean", 0), 3, "databento_api")

    _legacy(connection, 0, 1)

    assert stale_clean_dates(connection) == {}


def test_a_date_that_is_being_written_is_not_stale_yet(connection: Connection) -> None:
    _legacy(connection, 0)
    _clean(connection, 0)

    mark_writing(connection, NQ, "legacy", [DAY], moment(0))

    assert stale_clean_dates(connection) == {}


def test_a_date_whose_legacy_bars_are_broken_is_not_named(
    connection: Connection, database: Database
) -> None:
    _legacy(connection, 0)
    _clean(connection, 0)
    _legacy(connection, 0, 1)
    by_hand(
        database.url,
        "INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed) "
        "VALUES (%s, %s, 'legacy_bars', 'legacy_bar_schema', 'ERROR', false)",
        NQ,
        DAY,
    )

    assert stale_clean_dates(connection) == {}
