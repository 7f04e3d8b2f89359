"""The views for analysts: what they hold, and that they are right whatever was kept."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.daily_summaries import keep_daily_summaries
from trisignal_pipeline.storage.migrations import downgrade, migrate
from trisignal_pipeline.storage.signal_computation import compute_signals
from trisignal_pipeline_tests.storage.stored_bars import (
    NQ,
    all_rows,
    by_hand,
    days_from,
    walk,
)
from trisignal_pipeline_tests.storage.stored_signals import store_days, stored_triangles

DATES = days_from(date(2023, 12, 28), 5)
ROWS = walk(DATES, seed=5, share=0.04)
MINUTE = timedelta(minutes=1)
SUMMARY = (
    "SELECT date, open, high, low, close, volume, bars, bull, bear, aligned, engulfing "
    "FROM daily_summary ORDER BY date"
)
PLAIN_SUMMARY = """
    SELECT (b.ts AT TIME ZONE 'UTC')::date AS date, (array_agg(b.open ORDER BY b.ts))[1],
           max(b.high), min(b.low), (array_agg(b.close ORDER BY b.ts DESC))[1], sum(b.volume),
           count(*), count(*) FILTER (WHERE t.direction = 'BULL'),
           count(*) FILTER (WHERE t.direction = 'BEAR'),
           count(*) FILTER (WHERE t.direction = 'BULL' AND t.htf_bullish
                               OR t.direction = 'BEAR' AND t.htf_bearish),
           count(*) FILTER (WHERE t.engulfing)
    FROM market_bars_ohlcv_1m_clean b
    LEFT JOIN triangle_events_v1 t ON t.symbol = b.symbol AND t.ts = b.ts
    GROUP BY 1 ORDER BY 1
"""


def compute(database: Database) -> None:
    with database.connect("test", autocommit=True) as connection:
        for _ in compute_signals(connection, registry.market(connection, NQ), DATES):
            pass


@pytest.fixture
def stored(database: Database) -> Database:
    """A database with five days of bars and signals."""
    store_days(database, ROWS, DATES)
    compute(database)
    return database


def kept(database: Database) -> list[tuple[Any, ...]]:
    return all_rows(database.url, "SELECT date, xmin::text FROM daily_summaries ORDER BY date")


def unfinish(database: Database, day: date) -> None:
    by_hand(
        database.url,
        f"UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = '{day}'",
    )


def test_continuous_bars_are_the_clean_ones_of_finished_dates(stored: Database) -> None:
    unfinish(stored, DATES.start)

    found = all_rows(stored.url, "SELECT * FROM continuous_bars_1m ORDER BY ts")

    plain = all_rows(
        stored.url,
        "SELECT symbol, ts, (ts AT TIME ZONE 'UTC')::date, open, high, low, close, volume, "
        "contract FROM market_bars_ohlcv_1m_clean ORDER BY ts",
    )
    assert found == [row for row in plain if row[2] != DATES.start]


def test_a_triangle_has_its_bar_and_what_came_before_it(stored: Database) -> None:
    events = stored_triangles(stored.url)
    bars = {
        row[0]: row[1:]
        for row in all_rows(
            stored.url, "SELECT ts, open, high, low, close, volume FROM market_bars_ohlcv_1m_clean"
        )
    }

    found = all_rows(
        stored.url,
        "SELECT ts, known_at, direction, open, high, low, close, volume, range, change, aligned, "
        "engulfing, previous_ts, previous_direction FROM triangles_in_context ORDER BY ts",
    )

    assert len(found) == len(events) > 10
    for row, event, before in zip(found, events, [(None, None), *events], strict=False):
        opened, high, low, close, volume = bars[event[0]]
        last = max((ts for ts in bars if ts < event[0]), default=None)
        assert row == (
            event[0],
            event[0] + MINUTE,
            event[1],
            opened,
            high,
            low,
            close,
            volume,
            high - low,
            None if last is None else close - bars[last][3],
            event[8] if event[1] == "BULL" else event[9],
            event[10],
            before[0],
            before[1],
        )


def test_a_triangle_s_context_does_not_change_with_what_comes_after(stored: Database) -> None:
    query = "SELECT * FROM triangles_in_context WHERE ts < '2023-12-30' ORDER BY ts"
    before = all_rows(stored.url, query)
    later = "ts >= '2023-12-30'"
    by_hand(stored.url, f"DELETE FROM triangle_events_v1 WHERE {later}")
    by_hand(stored.url, f"DELETE FROM market_bars_ohlcv_1m_clean WHERE {later}")

    assert len(before) > 3
    assert all_rows(stored.url, query) == before


def test_the_change_across_a_roll_is_empty(stored: Database) -> None:
    [ts, *_] = stored_triangles(stored.url)[5]
    by_hand(
        stored.url,
        f"UPDATE market_bars_ohlcv_1m_clean SET contract = 'NQH9' WHERE ts >= '{ts}'",
    )

    assert all_rows(
        stored.url, "SELECT change, close > 0 FROM triangles_in_context WHERE ts = %s", ts
    ) == [(None, True)]


def test_days_in_short_are_those_of_the_bars_and_triangles(stored: Database) -> None:
    plain = all_rows(stored.url, PLAIN_SUMMARY)

    assert len(plain) == len(DATES)
    assert len(kept(stored)) == len(DATES)
    assert all_rows(stored.url, SUMMARY) == plain
    by_hand(stored.url, "DELETE FROM daily_summaries")
    assert all_rows(stored.url, SUMMARY) == plain


def test_computing_signals_keeps_what_days_add_up_to_and_touches_no_other(
    stored: Database,
) -> None:
    before = kept(stored)
    corrected = DATES.start + timedelta(days=2)

    compute(stored)
    assert kept(stored) == before
    store_days(stored, walk(DATES, seed=6, share=0.04), type(DATES)(corrected, corrected))
    # The bars are right before anything is kept of them; their triangles are still the old ones.
    assert [row[:7] for row in all_rows(stored.url, SUMMARY)] == [
        row[:7] for row in all_rows(stored.url, PLAIN_SUMMARY)
    ]
    compute(stored)

    assert all_rows(stored.url, SUMMARY) == all_rows(stored.url, PLAIN_SUMMARY)
    assert {one for one, other in zip(before, kept(stored), strict=True) if one != other} == {
        row for row in before if row[0] == corrected
    }


def test_an_old_summary_of_a_date_counts_for_nothing(stored: Database) -> None:
    by_hand(stored.url, "UPDATE daily_summaries SET open = 1")
    assert {row[1] for row in all_rows(stored.url, SUMMARY)} == {1}
    by_hand(stored.url, "UPDATE daily_summaries SET bars_completed_at = '2000-01-01'")

    assert all_rows(stored.url, SUMMARY) == all_rows(stored.url, PLAIN_SUMMARY)


def test_a_date_that_is_not_finished_is_not_summed_up(stored: Database) -> None:
    unfinish(stored, DATES.end)
    with stored.connect("test") as connection:
        keep_daily_summaries(connection, NQ)

    assert [row[0] for row in all_rows(stored.url, SUMMARY)] == list(DATES)[:-1]
    assert [row[0] for row in kept(stored)] == list(DATES)[:-1]


def test_a_date_without_a_signal_has_no_counts(stored: Database) -> None:
    by_hand(stored.url, f"UPDATE signal_dates SET withdrawn = true WHERE date = '{DATES.start}'")

    counts = [row[7:] for row in all_rows(stored.url, SUMMARY)]

    assert counts[0] == (None, None, None, None)
    assert None not in counts[1]


def test_a_roll_is_marked_on_the_date_of_the_new_contract(stored: Database) -> None:
    day = DATES.start + timedelta(days=3)
    by_hand(stored.url, f"UPDATE bar_dates SET contract = 'NQH9' WHERE date >= '{day}'")

    rolled = all_rows(stored.url, "SELECT date, rolled FROM daily_summary ORDER BY date")

    assert rolled == [(one, one == day) for one in DATES]


def test_every_column_that_is_the_view_s_own_is_explained(stored: Database) -> None:
    silent = all_rows(
        stored.url,
        "SELECT c.relname || '.' || a.attname FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "WHERE c.relname IN ('continuous_bars_1m', 'triangles_in_context', 'daily_summary') "
        "AND col_description(c.oid, a.attnum) IS NULL",
    )

    own = {"known_at", "exchange_time", "range", "change", "aligned", "previous_ts", "rolled"}
    assert not own & {name.split(".")[1] for (name,) in silent}


def test_going_down_and_up_again_changes_no_answer(stored: Database) -> None:
    before = all_rows(stored.url, SUMMARY)
    granted = "SELECT pg_get_functiondef('grant_to_roles()'::regprocedure)"
    in_0010 = all_rows(stored.url, granted)

    downgrade(stored.url, "0009")
    assert "daily_summar" not in all_rows(stored.url, granted)[0][0]
    migrate(stored.url)

    assert all_rows(stored.url, SUMMARY) == before
    assert all_rows(stored.url, granted) == in_0010
