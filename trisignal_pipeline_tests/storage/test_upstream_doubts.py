"""What of a date's history is in doubt, and which command mends it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.bar_dates import versions
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.upstream_doubts import (
    UpstreamDoubt,
    UpstreamKind,
    upstream_doubts,
)
from trisignal_pipeline_tests.storage.stored_bars import DAY, NQ, by_hand, days_from, store, walk
from trisignal_pipeline_tests.storage.stored_signals import compute

DATES = days_from(DAY, 4)
SECOND, LAST = DAY + timedelta(days=1), DATES.end
ONE_DAY = DateRange(LAST, LAST)


@pytest.fixture
def stored(database: Database, connection: Connection) -> Database:
    """Four dates of legacy bars, clean bars made from them, and signals."""
    rows = walk(DATES, seed=4)
    store(database, rows, DATES, table=LEGACY)
    store(database, rows, DATES, table=CLEAN)
    by_hand(
        database.url,
        "UPDATE bar_dates c SET made_from = l.completed_at FROM bar_dates l "
        "WHERE c.layer = 'clean' AND l.layer = 'legacy' AND c.date = l.date",
    )
    connection.autocommit = True
    compute(connection, DATES)
    assert versions(connection, NQ, "legacy", DATES).keys() == set(DATES)
    return database


def _found(connection: Connection, dates: DateRange = ONE_DAY) -> list[tuple[date, UpstreamKind]]:
    return [(doubt.day, doubt.kind) for doubt in upstream_doubts(connection, NQ, dates)]


def test_a_sound_history_has_no_doubts(stored: Database, connection: Connection) -> None:
    assert upstream_doubts(connection, NQ, DATES) == []


def test_a_date_that_is_being_written_is_a_doubt_of_all_later_ones(
    stored: Database, connection: Connection
) -> None:
    by_hand(
        stored.url,
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL "
        "WHERE date = %s AND layer = 'legacy'",
        SECOND,
    )

    assert upstream_doubts(connection, NQ, ONE_DAY) == [
        UpstreamDoubt(
            SECOND,
            UpstreamKind.UNFINISHED,
            "the writing of its legacy bars is not finished",
            f"trisignal backfill {NQ} --start {SECOND} --end {SECOND}",
        )
    ]
    assert _found(connection, DateRange(DAY, DAY)) == []


def test_clean_bars_of_the_api_that_are_unfinished_are_bought_again(
    stored: Database, connection: Connection
) -> None:
    by_hand(
        stored.url,
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL, source = 'databento_api' "
        "WHERE date = %s AND layer = 'clean'",
        LAST,
    )

    first, *own = upstream_doubts(connection, NQ, ONE_DAY)

    assert first.kind is UpstreamKind.SIGNAL_IN_DOUBT, "its bars are no longer the selected ones"
    assert [doubt.mended_by for doubt in own] == [
        f"trisignal reingest {NQ} --start {LAST} --end {LAST}"
    ]


def test_another_lead_contract_is_a_doubt(stored: Database, connection: Connection) -> None:
    by_hand(
        stored.url,
        "INSERT INTO lead_contract_doubts (symbol, date, stored_contract, lead_contract) "
        "VALUES (%s, %s, 'NQM4', 'NQU4')",
        NQ,
        DAY,
    )

    assert upstream_doubts(connection, NQ, ONE_DAY) == [
        UpstreamDoubt(
            DAY,
            UpstreamKind.ANOTHER_LEAD_CONTRACT,
            "its bars are of NQM4, but by the files NQU4 leads",
            f"trisignal refresh {NQ}",
        )
    ]


def test_clean_bars_of_an_older_legacy_version_are_a_doubt(
    stored: Database, connection: Connection
) -> None:
    by_hand(
        stored.url,
        "UPDATE bar_dates SET completed_at = now() + interval '1 s' "
        "WHERE date = %s AND layer = 'legacy'",
        DAY,
    )

    [doubt] = upstream_doubts(connection, NQ, ONE_DAY)

    assert (doubt.day, doubt.kind) == (DAY, UpstreamKind.OLDER_LEGACY_VERSION)
    assert doubt.mended_by == f"trisignal refresh {NQ}"


def test_legacy_bars_don_t_matter_where_clean_ones_of_the_api_stand(
    stored: Database, connection: Connection
) -> None:
    by_hand(
        stored.url,
        "UPDATE bar_dates SET source = 'databento_api', made_from = NULL WHERE layer = 'clean'",
    )
    by_hand(
        stored.url,
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE layer = 'legacy'",
    )
    by_hand(
        stored.url,
        "INSERT INTO lead_contract_doubts (symbol, date, stored_contract, lead_contract) "
        "VALUES (%s, %s, 'NQM4', 'NQU4')",
        NQ,
        DAY,
    )

    assert _found(connection) == []


def test_dates_before_the_history_start_don_t_matter(
    stored: Database, connection: Connection
) -> None:
    by_hand(
        stored.url,
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = %s",
        DAY,
    )
    assert [kind for _, kind in _found(connection)].count(UpstreamKind.UNFINISHED) == 2

    by_hand(stored.url, "UPDATE symbol_registry SET history_start = %s", SECOND)

    assert UpstreamKind.UNFINISHED not in {kind for _, kind in _found(connection)}


def test_a_stored_signal_in_doubt_is_told_of_its_own_date_alone(
    stored: Database, connection: Connection
) -> None:
    by_hand(stored.url, "UPDATE signal_dates SET rules = '{}' WHERE date = %s", SECOND)
    assert _found(connection) == []
    by_hand(stored.url, "UPDATE signal_dates SET logic_version = 'old' WHERE date = %s", LAST)

    [doubt] = upstream_doubts(connection, NQ, ONE_DAY)

    assert (doubt.day, doubt.kind) == (LAST, UpstreamKind.SIGNAL_IN_DOUBT)
    assert doubt.mended_by == f"trisignal refresh {NQ}"
    assert not doubt.of_history
    assert _found(connection, DateRange(SECOND, SECOND)) == [(SECOND, UpstreamKind.SIGNAL_IN_DOUBT)]
