"""Saved states: kept whole, found when they fit, and never used when they don't."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from trisignal_pipeline.errors import SchemaVersionError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.hygiene import Guard, LastGood, Rule
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.replay import start
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.checkpoints import (
    DAILY_STATES,
    Standpoint,
    beginning,
    nearest,
    save,
    saved_on,
)
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.selection import SelectedDate, selected_dates
from trisignal_pipeline.storage.signal_computation import compute_signals
from trisignal_pipeline_tests.storage.signal_history import (
    bars_of,
    compute,
    one_pass,
    stored_signals,
    write,
)
from trisignal_pipeline_tests.storage.signal_steps import THRESHOLDS
from trisignal_pipeline_tests.storage.stored_bars import NQ, Bar, days_from

HISTORY = days_from(date(2023, 12, 20), 63)
DAYS = list(HISTORY)
LAST, NEW = DAYS[-1], days_from(DAYS[-1] + timedelta(days=1), 1)


def _rows(dates: DateRange, version: int = 0) -> list[Bar]:
    return [row for day in dates for row in bars_of(day, 1, version)]


@pytest.fixture
def market(connection: Connection) -> Market:
    """One whose hygiene rules reject some of the generated bars."""
    registry.set_symbol(connection, NQ, THRESHOLDS)
    return registry.market(connection, NQ)


@pytest.fixture
def computed(database: Database, market: Market) -> Database:
    """Two months of legacy bars and their signals."""
    write(database, _rows(HISTORY), HISTORY, LEGACY)
    compute(database, HISTORY)
    return database


def _dates_with_states(connection: Connection) -> list[date]:
    found = connection.execute("SELECT date FROM signal_checkpoints ORDER BY date")
    return [day for (day,) in found]


def _require_one_pass(connection: Connection) -> None:
    stored = stored_signals(connection)
    assert stored == one_pass(connection, NQ, stored[2])


@pytest.mark.parametrize(
    "guard",
    [
        Guard(),
        Guard(LastGood(20_000 * 10**9, "NQH4")),
        Guard(LastGood(1, "#77"), 31, 1_700_000_040 * 10**9, Rule.FLAT_DISCONTINUITY),
        Guard(None, 2, 60 * 10**9, Rule.PRICE_FLOOR),
    ],
)
def test_a_state_comes_back_as_it_was_saved(
    connection: Connection, market: Market, guard: Guard
) -> None:
    point = Standpoint(LAST, start(), guard)

    save(connection, market, SelectedDate(LAST, "legacy", 1, -(2**70)), point)

    found = saved_on(connection, NQ, LAST)
    assert found is not None
    assert found.standpoint == point
    assert (found.history, found.rules) == (-(2**70), market.rules)
    assert saved_on(connection, "GLBX.MDP3:ES", LAST) is None


def test_states_of_a_history_come_back_as_the_replay_stood(
    computed: Database, connection: Connection, market: Market
) -> None:
    dates = selected_dates(connection, NQ)
    lock_outs = 0
    for day in _dates_with_states(connection):
        found = saved_on(connection, NQ, day)
        assert found is not None
        connection.execute("DELETE FROM signal_checkpoints WHERE date < %s", (day,))
        assert nearest(connection, market, dates, day + timedelta(days=1)) == found.standpoint
        lock_outs += found.standpoint.guard.locked_for > 0
    assert lock_outs, "a lock-out must be carried over by one of them"


def test_one_state_a_month_is_kept_and_one_for_each_of_the_newest_dates(
    computed: Database, connection: Connection
) -> None:
    newest = DAYS[-DAILY_STATES:]

    assert _dates_with_states(connection) == [date(2023, 12, 31), date(2024, 1, 31), *newest]

    write(computed, _rows(NEW), NEW, LEGACY)
    compute(computed, NEW)
    compute(computed, [date(2024, 1, 9)])

    kept = [date(2023, 12, 31), date(2024, 1, 31), *newest[1:], NEW.start]
    assert _dates_with_states(connection) == kept


def test_a_new_day_reads_no_bar_of_the_days_before(computed: Database) -> None:
    write(computed, _rows(NEW), NEW, CLEAN)

    parts = compute(computed, NEW)

    assert sum(part.replayed for part in parts) == len(bars_of(NEW.start, 1)) > 0


def test_an_old_day_is_replayed_from_the_end_of_the_month_before(computed: Database) -> None:
    [part] = compute(computed, [date(2024, 2, 5)])

    assert part.window == DateRange(date(2024, 2, 1), date(2024, 2, 5))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("layout = 0", None),
        ("logic_version = '0'", None),
        ("rules = '{}'", None),
        ("history_fingerprint = history_fingerprint + 1", None),
        ("state = set_byte(state, 8, 0)", "layout 0, this version reads layout 1"),
        ("state = set_byte(state, 60, 255 - get_byte(state, 60))", "damaged"),
        ("state = substring(state FOR 50)", "damaged"),
        ("state = ''", "not an engine state"),
        ("locked_by = 'MEDIAN_RULE'", "MEDIAN_RULE, which this version doesn't have"),
    ],
)
def test_a_state_that_does_not_fit_is_passed_over_and_made_good(
    computed: Database, connection: Connection, market: Market, damage: str, reason: str | None
) -> None:
    before = connection.execute("SELECT * FROM signal_checkpoints ORDER BY date").fetchall()
    connection.execute(f"UPDATE signal_checkpoints SET {damage}".encode())
    dates = selected_dates(connection, NQ)

    if reason is not None:
        with pytest.raises(SchemaVersionError, match=reason):
            saved_on(connection, NQ, LAST)
    assert nearest(connection, market, dates, NEW.start) == beginning(market)
    write(computed, _rows(NEW), NEW, CLEAN)
    parts = compute(computed, NEW)

    assert parts[0].window.start == HISTORY.start
    _require_one_pass(connection)
    made_good = connection.execute(
        "SELECT * FROM signal_checkpoints WHERE date <= %s ORDER BY date", (LAST,)
    ).fetchall()
    assert [row[:-1] for row in made_good] == [
        row[:-1] for row in before if row[1] in _dates_with_states(connection)
    ]


def test_an_older_state_that_fits_is_used_where_the_newest_does_not(
    computed: Database, connection: Connection
) -> None:
    connection.execute("UPDATE signal_checkpoints SET state = '' WHERE date > %s", (DAYS[-3],))
    write(computed, _rows(NEW), NEW, LEGACY)

    parts = compute(computed, NEW)

    assert parts[0].window.start == DAYS[-3] + timedelta(days=1)
    _require_one_pass(connection)


@pytest.mark.parametrize(
    "change",
    [
        {"higher_timeframe_anchor": "utc"},
        {"discontinuity_points": "77"},
        {"price_floor": None},
        {"history_start": date(2024, 1, 4)},
        {"htf_aligned_only": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_state_made_under_other_rules_is_not_used(
    computed: Database, connection: Connection, change: dict[str, Any]
) -> None:
    registry.set_symbol(connection, NQ, change)

    [*_, part] = parts = compute(computed, [LAST])

    assert parts[0].window.start <= date(2024, 1, 4)
    assert part.written == len(stored_on(connection, LAST)) > 0
    stored = stored_signals(connection)
    expected = one_pass(connection, NQ, [LAST])
    assert {ts: row for ts, row in stored[0].items() if ts.date() == LAST} == expected[0]
    assert {key: row for key, row in stored[1].items() if key[0].date() == LAST} == expected[1]
    assert stored[2][LAST] == expected[2][LAST]


def stored_on(connection: Connection, day: date) -> list[Any]:
    return [ts for ts in stored_signals(connection)[0] if ts.date() == day]


@pytest.mark.parametrize("kind", ["corrected", "removed", "added", "clean for legacy"])
def test_a_state_made_from_other_bars_is_not_used(
    computed: Database, connection: Connection, market: Market, kind: str
) -> None:
    day = date(2024, 1, 10)
    rows = bars_of(day, 1)
    changed = {
        "corrected": [*rows[:5], rows[5]._replace(close=rows[5].low), *rows[6:]],
        "removed": rows[:-1],
        "added": [*rows, rows[-1]._replace(ts=rows[-1].ts + 60 * 10**9)],
        "clean for legacy": rows,
    }[kind]
    table = CLEAN if kind == "clean for legacy" else LEGACY

    write(computed, changed, DateRange(day, day), table)

    dates = selected_dates(connection, NQ)
    assert nearest(connection, market, dates, LAST).date == date(2023, 12, 31)
    compute(computed, HISTORY)
    _require_one_pass(connection)


def test_rules_that_change_in_mid_run_are_not_put_on_what_was_made_by_the_old_ones(
    computed: Database, connection: Connection, market: Market
) -> None:
    registry.set_symbol(connection, NQ, {"higher_timeframe_anchor": "utc"})
    old = registry.market(connection, NQ)
    registry.set_symbol(connection, NQ, {"higher_timeframe_anchor": "session"})

    assert sum(part.written for part in compute_signals(connection, old, HISTORY)) > 0

    in_doubt = connection.execute("SELECT DISTINCT reason FROM signal_dates_in_doubt").fetchall()
    assert in_doubt == [("rules changed",)]
    dates = selected_dates(connection, NQ)
    assert nearest(connection, market, dates, NEW.start) == beginning(market)
