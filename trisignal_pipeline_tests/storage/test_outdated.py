"""What settings say is kept no longer: that goes, and nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from trisignal_pipeline.errors import ConfigurationError, NotPermittedError, RangeError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import outdated as module
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, read_bars
from trisignal_pipeline.storage.checkpoints import DAILY_STATES, nearest
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.outdated import delete_outdated, outdated
from trisignal_pipeline.storage.retention import Due, Retention
from trisignal_pipeline.storage.selection import selected_dates
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    all_rows,
    bar,
    by_hand,
    days_from,
    one_row,
    store,
    walk,
)
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days
from trisignal_pipeline_tests.storage.test_roles import user_of

NOW = datetime.now(UTC)
DATES = days_from(DAY, 1)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)


def due(database: Database, settings: Retention) -> list[Due]:
    with database.reading().connect("test") as connection:
        return outdated(connection, settings, NOW)


def deleted(database: Database, settings: Retention) -> dict[str, int]:
    return {one.variable: one.rows for one in delete_outdated(database, settings, NOW)}


def test_nothing_is_kept_for_a_time_unless_a_setting_says_so(database: Database) -> None:
    settings = Retention.from_environment({"TRISIGNAL_KEEP_RUNS_DAYS": ""})

    assert settings == Retention()
    assert not settings.asks_for_anything()
    assert due(database, settings) == []
    assert deleted(database, settings) == {}


@pytest.mark.parametrize("value", ["0", "-1", "ten", "1.5", "99999999", "٣"])
def test_a_setting_that_is_no_number_of_days_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TRISIGNAL_KEEP_EVENTS_DAYS is .*number of days"):
        Retention.from_environment({"TRISIGNAL_KEEP_EVENTS_DAYS": value})


@pytest.fixture
def quarantined(database: Database) -> Database:
    """Rejected bars: five released a hundred days ago, one released now, one not at all."""
    broken = [bar(minute, high=1) for minute in range(7)]
    store(database, broken, DATES)
    store(database, [bar(0), *broken[6:]], DATES)
    by_hand(
        database.url,
        "UPDATE quarantined_bars SET released_at = released_at - interval '100 days' "
        f"WHERE ts <> '{DAY}' AND released_at IS NOT NULL; "
        "UPDATE quarantined_bars SET quarantined_at = quarantined_at - interval '200 days'",
    )
    return database


@pytest.mark.usefixtures("small_batches")
def test_released_bars_go_and_rejected_ones_stay(quarantined: Database) -> None:
    settings = Retention(quarantine=90)
    [told] = due(quarantined, settings)
    assert (told.rows, told.variable, told.days) == (5, "TRISIGNAL_KEEP_QUARANTINE_DAYS", 90)
    assert told.size_bytes > 5 * 50

    assert deleted(quarantined, settings) == {told.variable: 5}

    assert all_rows(
        quarantined.url, "SELECT released_at IS NULL FROM quarantined_bars ORDER BY ts"
    ) == [(False,), (True,)]
    # A batch, a row that says so.
    assert all_rows(
        quarantined.url,
        "SELECT what, row_count, upper_bound FROM deletions ORDER BY id",
    ) == [("quarantine", count, NOW - timedelta(days=90)) for count in (2, 2, 1)]
    assert deleted(quarantined, settings) == {told.variable: 0}


def test_a_mere_writer_may_look_and_not_delete(quarantined: Database) -> None:
    settings = Retention(quarantine=90, health=90)
    with user_of(quarantined.url, "trisignal_writer") as url:
        assert [one.rows for one in due(Database(url), settings)] == [5, 0]
        with pytest.raises(NotPermittedError, match=r"may not do this.*docs/SECURITY\.md"):
            deleted(Database(url), settings)
        assert deleted(Database(url), Retention(health=90)) == {"TRISIGNAL_KEEP_HEALTH_DAYS": 0}
    assert one_row(quarantined.url, "SELECT count(*) FROM quarantined_bars") == (7,)


@pytest.fixture
def revised(database: Database) -> Database:
    """A bar of three versions: the first stood until 100 days ago, the second until 10 days ago."""
    for close in (1, 2, 3):
        store(database, [bar(0, close * 10**12)], DATES, table=CLEAN)
    by_hand(
        database.url,
        "ALTER TABLE market_bars_ohlcv_1m_clean DISABLE TRIGGER ALL; "
        "UPDATE market_bars_ohlcv_1m_clean SET created_at = now() - interval '200 days'; "
        "UPDATE market_bars_revisions SET valid_from = now() - interval '200 days', "
        "valid_to = now() - interval '100 days' WHERE close = 1000; "
        "UPDATE market_bars_revisions SET valid_from = now() - interval '100 days', "
        "valid_to = now() - interval '10 days' WHERE close = 2000",
    )
    return database


def closes(database: Database, days_ago: int) -> list[int]:
    with database.reading().connect("test") as connection:
        found = read_bars(
            connection, CLEAN, NQ, DATES.start_ns, DATES.end_ns,
            as_of=NOW - timedelta(days=days_ago),
        )  # fmt: skip
    return [close // 10**12 for close in found.close.tolist()]


def test_what_was_stored_is_told_as_before_or_refused(revised: Database) -> None:
    assert [closes(revised, days) for days in (150, 50, 5)] == [[1], [2], [3]]

    assert deleted(revised, Retention(revisions=90)) == {"TRISIGNAL_KEEP_REVISIONS_DAYS": 1}

    assert [closes(revised, days) for days in (89, 50, 5)] == [[2], [2], [3]]
    with pytest.raises(RangeError, match=r"versions of bars that stood before .* were deleted"):
        closes(revised, 150)


LONG = DateRange(date(2024, 5, 1), date(2024, 6, 28))


@pytest.fixture
def computed(database: Database) -> Database:
    """Two months of signals, with a state for each of the newest dates and each month."""
    store_days(database, walk(LONG, 5, share=0.002), LONG, LEGACY)
    with database.connect("test", autocommit=True) as connection:
        for day in LONG:
            compute(connection, DateRange(day, day))
    return database


def test_the_newest_usable_states_stay_however_old(computed: Database) -> None:
    with computed.connect("test", autocommit=True) as connection:
        market, dates = registry.market(connection, NQ), selected_dates(connection, NQ)
        before = nearest(connection, market, dates, LONG.end + timedelta(days=1))
        states = all_rows(computed.url, "SELECT date FROM signal_checkpoints ORDER BY date")
        assert len(states) > DAILY_STATES

        gone = deleted(computed, Retention(checkpoints=1))

        assert gone == {"TRISIGNAL_KEEP_CHECKPOINTS_DAYS": len(states) - DAILY_STATES}
        assert (
            all_rows(computed.url, "SELECT date FROM signal_checkpoints ORDER BY date")
            == states[-DAILY_STATES:]
        )
        assert nearest(connection, market, dates, LONG.end + timedelta(days=1)) == before


def test_states_that_fit_no_bars_take_no_place(computed: Database) -> None:
    by_hand(computed.url, "UPDATE signal_checkpoints SET rules = 'x' WHERE date > '2024-06-24'")
    usable = "SELECT count(*) FROM signal_checkpoints WHERE rules <> 'x'"
    before = one_row(computed.url, usable)

    deleted(computed, Retention(checkpoints=1))

    assert one_row(computed.url, usable) == before
    assert one_row(computed.url, "SELECT count(*) FROM signal_checkpoints") == before


@pytest.mark.usefixtures("small_batches")
def test_old_figures_go_and_new_ones_stay(database: Database) -> None:
    by_hand(
        database.url,
        "INSERT INTO health_figures SELECT now() - n * interval '25 hours', 'connections', '', n "
        "FROM generate_series(0, 9) AS n",
    )

    assert [one.rows for one in due(database, Retention(health=5))] == [5]
    assert deleted(database, Retention(health=5)) == {"TRISIGNAL_KEEP_HEALTH_DAYS": 5}
    assert one_row(database.url, "SELECT max(value), count(*) FROM health_figures") == (4.0, 5)
