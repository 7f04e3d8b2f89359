"""Quality: what is missing, what disagrees, and what computing again would change, date by date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.query.counts import By, counts
from trisignal_pipeline.query.fingerprint import fingerprint
from trisignal_pipeline.query.quality import alignment, coverage, determinism, verdicts
from trisignal_pipeline.query.tables import Table
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.query.stored_market import NQ, market
from trisignal_pipeline_tests.storage.stored_bars import all_rows, by_hand, days_from, walk
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days, stored_triangles

DATES = days_from(date(2023, 12, 28), 5)
AROUND = days_from(date(2023, 12, 27), 8)
ROWS = walk(DATES, seed=5, share=0.04)
DAY = DATES.start + timedelta(days=1)


@pytest.fixture
def stored(database: Database) -> Database:
    """A database with five days of bars and signals."""
    store_days(database, ROWS, DATES)
    with database.connect("test", autocommit=True) as connection:
        compute(connection, DATES)
    return database


@pytest.fixture
def reading(stored: Database) -> Iterator[Connection]:
    with stored.answering(60).connect("test") as connection:
        yield connection


def change(url: str, *statements: str) -> None:
    for statement in statements:
        by_hand(url, statement)


def by_date(table: Table) -> dict[date, dict[str, Any]]:
    return {row["date"]: row for row in table.whole().to_pylist()}


def test_coverage_has_every_date_that_trades_or_has_bars(
    stored: Database, reading: Connection
) -> None:
    change(
        stored.url,
        "UPDATE bar_dates SET expected_minutes = 100, found_minutes = 60, no_trade_minutes = 30, "
        f"rejected_minutes = 4, suspicious_minutes = 6 WHERE date = '{DAY}'",
        f"UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = '{DATES.start}'",
    )
    found = by_date(coverage(reading, market(stored), AROUND))

    minutes = expected_minutes("cme_equity", AROUND.start, AROUND.end).tolist()
    open_dates = {day for day, count in zip(AROUND, minutes, strict=True) if count}
    assert set(found) == open_dates | (set(DATES) - {DATES.start})
    assert [found[day]["expected"] for day in found] == [
        minutes[(day - AROUND.start).days] for day in found
    ]
    assert {day: row["state"] for day, row in found.items() if row["state"] != "complete"} == {
        DATES.start: "writing",
        **dict.fromkeys(open_dates - set(DATES), "absent"),
    }
    one = found[DAY]
    assert (one["found"], one["no_trade"], one["rejected"], one["suspicious"]) == (60, 30, 4, 6)
    assert one["covered"] == 0.9
    assert found[DATES.end]["covered"] is None


def test_what_was_computed_is_aligned(stored: Database, reading: Connection) -> None:
    found = by_date(alignment(reading, NQ, DATES))

    bars = Counter(row.ts // (86_400 * 10**9) for row in ROWS)
    triangles = Counter(row[0].date() for row in stored_triangles(stored.url))
    assert [row["bars"] for row in found.values()] == [bars[day] for day in sorted(bars)]
    for day, row in found.items():
        assert row["biases"] == row["bars"]
        assert row["triangles"] == triangles[day]
    assert not any(
        row[name]
        for row in found.values()
        for name in row
        if name not in {"date", "bars", "biases", "triangles"}
    )


def test_what_is_not_aligned_is_counted_on_its_date(stored: Database, reading: Connection) -> None:
    events = [row[0] for row in stored_triangles(stored.url) if row[0].date() == DAY]
    biases = [
        row[0]
        for row in all_rows(stored.url, "SELECT ts FROM bias_series_1m_v1 ORDER BY ts")
        if row[0].date() == DAY and row[0] not in events
    ]
    change(
        stored.url,
        f"DELETE FROM bias_series_1m_v1 WHERE ts IN ('{biases[0]}', '{events[0]}')",
        f"DELETE FROM market_bars_ohlcv_1m_clean WHERE ts = '{biases[1]}'",
        f"UPDATE triangle_events_v1 SET bias_h4 = CASE bias_h4 WHEN 'Bullish' THEN 'Bearish' "
        f"ELSE 'Bullish' END WHERE ts = '{events[1]}'",
    )

    found = by_date(alignment(reading, NQ, DATES))

    one = found.pop(DAY)
    assert one["bars_without_bias"] == 2
    assert one["biases_without_bar"] == 1
    assert one["triangles_without_bias"] == 1
    assert one["triangles_that_differ"] == 1
    assert not any(row["bars_without_bias"] for row in found.values())


def test_computing_again_gives_what_is_stored(stored: Database, reading: Connection) -> None:
    found = by_date(determinism(reading, market(stored), DATES))

    events = Counter(row[0].date() for row in stored_triangles(stored.url))
    assert list(found) == list(DATES)
    for day, row in found.items():
        assert row["source"] == "market_bars_ohlcv_1m_clean"
        assert row["triangles"] == events[day]
        assert row["minutes"] > 10
        assert (row["biases_that_differ"], row["triangles_that_differ"]) == (0, 0)
        assert row["in_doubt"] is False


def test_a_stored_signal_that_was_changed_by_hand_is_found(
    stored: Database, reading: Connection
) -> None:
    events = [row for row in stored_triangles(stored.url) if row[0].date() == DAY]
    change(
        stored.url,
        "UPDATE bias_series_1m_v1 SET bias_4h = CASE bias_4h WHEN 'Bearish' THEN 'Bullish' ELSE "
        f"'Bearish' END WHERE ts = '{events[0][0]}'",
        f"DELETE FROM bias_series_1m_v1 WHERE ts = '{events[1][0]}'",
        f"DELETE FROM triangle_events_v1 WHERE ts = '{events[2][0]}'",
        "UPDATE triangle_events_v1 SET direction = CASE direction WHEN 'BULL' THEN 'BEAR' ELSE "
        f"'BULL' END WHERE ts = '{events[3][0]}'",
    )

    found = by_date(determinism(reading, market(stored), DateRange(DAY, DATES.end)))

    assert next(iter(found)) == DAY
    assert (found[DAY]["biases_that_differ"], found[DAY]["triangles_that_differ"]) == (2, 3)
    assert not any(row["biases_that_differ"] for day, row in found.items() if day != DAY)


def test_verdicts_are_those_of_the_dates(stored: Database, reading: Connection) -> None:
    change(
        stored.url,
        "INSERT INTO data_quality_results (symbol, date, asset, check_name, passed, severity, "
        f"row_count, failed_count, description) SELECT '{NQ}', day, 'clean_bars', 'c', true, "
        f"'WARN', 5, 0, 'well' FROM unnest('{{2023-12-27,{DAY},2024-02-01}}'::date[]) AS day",
    )

    assert [row["date"] for row in verdicts(reading, NQ, DATES).whole().to_pylist()] == [DAY]


def test_counts_by_hour_and_direction_are_those_of_the_triangles(
    stored: Database, reading: Connection
) -> None:
    events = [row[:2] for row in stored_triangles(stored.url)]
    hours = Counter((ts.hour, direction) for ts, direction in events)

    by_hour = list(counts(reading, market(stored), DATES, By.HOUR).rows)
    by_direction = dict(counts(reading, market(stored), DATES, By.DIRECTION).rows)

    assert by_hour == [
        (hour, hours[hour, "BULL"], hours[hour, "BEAR"], hours[hour, "BULL"] + hours[hour, "BEAR"])
        for hour in range(24)
    ]
    assert by_direction == Counter(direction for _, direction in events)


def test_counts_by_session_are_by_trade_date(stored: Database, reading: Connection) -> None:
    found = list(counts(reading, market(stored), AROUND, By.SESSION).rows)

    events = [row[:2] for row in stored_triangles(stored.url)]
    for _, opens, closes, bull, bear, total in found:
        inside = [direction for ts, direction in events if opens <= ts < closes]
        assert (bull, bear, total) == (inside.count("BULL"), inside.count("BEAR"), len(inside))
    # Bars of 2024-01-01, a holiday, belong to the session of the 2nd.
    assert [row[0] for row in found] == [date(2023, 12, 28), date(2023, 12, 29), date(2024, 1, 2)]


CHANGES = {
    "bars": "UPDATE bar_dates SET completed_at = now() WHERE date = '2023-12-29'",
    "signals": "UPDATE signal_dates SET completed_at = now() WHERE date = '2023-12-29'",
    "the registry": f"UPDATE symbol_registry SET history_start = '2023-01-01' "
    f"WHERE internal_symbol = '{NQ}'",
    "a verdict": "INSERT INTO data_quality_results (symbol, date, asset, check_name, passed, "
    f"severity) VALUES ('{NQ}', '2023-12-29', 'clean_bars', 'c', true, 'WARN')",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_a_fingerprint_stays_until_something_changes(
    stored: Database, reading: Connection, statement: str
) -> None:
    before = fingerprint(reading, NQ, DATES)
    assert fingerprint(reading, NQ, DATES) == before
    assert len(before) == 32

    change(stored.url, statement)

    assert fingerprint(reading, NQ, DATES) != before


def test_what_is_written_changes_the_fingerprint_of_its_dates_alone(
    stored: Database, reading: Connection
) -> None:
    last_year = DateRange(date(2022, 1, 1), date(2022, 1, 31))
    before, elsewhere = (fingerprint(reading, NQ, span) for span in (DATES, last_year))

    store_days(stored, [row._replace(volume=row.volume + 1) for row in ROWS], DATES)

    assert fingerprint(reading, NQ, DATES) != before
    assert fingerprint(reading, NQ, last_year) == elsewhere


def test_a_symbol_has_its_own_fingerprint(reading: Connection) -> None:
    assert fingerprint(reading, NQ, DATES) != fingerprint(reading, "GLBX.MDP3:ES", DATES)
