"""Where a correction leaves no trace, what comes after it stands and is not computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.signal.replay import EngineState, advance, start
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.storage.signal_history import (
    bars_of,
    compute,
    doubt_of,
    one_pass,
    refresh,
    stored_signals,
    write,
)
from trisignal_pipeline_tests.storage.stored_bars import NQ, TICK, Bar, by_hand, columns, days_from

HISTORY = days_from(date(2023, 12, 20), 70)
DAY = DateRange(date(2023, 12, 22), date(2023, 12, 22))
MONTH_ENDS = (date(2023, 12, 31), date(2024, 1, 31))
ROWS = [row for day in HISTORY for row in bars_of(day, 1)]


@pytest.fixture
def computed(database: Database) -> Database:
    """Ten weeks of clean bars and their signals."""
    write(database, ROWS, HISTORY, CLEAN)
    compute(database, HISTORY)
    return database


def _states(rows: list[Bar]) -> list[EngineState]:
    """The states at the ends of the months."""
    states, state, after = [], start(), 0
    for end in MONTH_ENDS:
        upto = sum(row.ts < DateRange(end, end).end_ns for row in rows)
        state = advance(state, columns(rows[after:upto]))[0]
        states.append(state)
        after = upto
    return states


def _biases(rows: list[Bar]) -> Any:
    return advance(start(), columns(rows))[1].bias


def _corrected(row: int, shifts: dict[str, int]) -> list[Bar]:
    old = ROWS[row]
    new = old._replace(**{name: getattr(old, name) + step for name, step in shifts.items()})
    return [*ROWS[:row], new, *ROWS[row + 1 :]]


def _corrections() -> Iterator[list[Bar]]:
    """The history with one bar of the day changed in its high, its low, or moved as a whole."""
    for row in (row for row, bar in enumerate(ROWS) if DAY.start_ns <= bar.ts < DAY.end_ns):
        for ticks in (400, 90, 30):
            yield _corrected(row, {"high": ticks * TICK})
            yield _corrected(row, {"low": -ticks * TICK})
            yield _corrected(row, dict.fromkeys(("open", "high", "low", "close"), ticks * TICK))


def _first(is_wanted: Callable[[list[bool], bool], bool]) -> list[Bar]:
    """The first correction of its kind: at which month ends is the state as it was, and is any
    bias another?
    """
    states, biases = _states(ROWS), _biases(ROWS)
    for rows in _corrections():
        same = [now == was for now, was in zip(_states(rows), states, strict=True)]
        if is_wanted(same, bool((_biases(rows) != biases).any())):
            return rows
    pytest.fail("no such correction among those tried")


def _written(connection: Connection, after: date) -> list[Any]:
    """Ids and times of everything stored of later dates, but for when dates were completed."""
    return [
        connection.execute(query.encode(), (after,)).fetchall()
        for query in (
            "SELECT ts, created_at FROM bias_series_1m_v1 WHERE ts >= %s + 1 ORDER BY ts",
            "SELECT ts, id, created_at FROM triangle_events_v1 WHERE ts >= %s + 1 ORDER BY ts",
            "SELECT date, state, created_at FROM signal_checkpoints WHERE date > %s ORDER BY date",
        )
    ]


def _require_one_pass(connection: Connection) -> None:
    stored = stored_signals(connection)
    assert set(stored[2]) == set(HISTORY)
    assert stored == one_pass(connection, NQ, HISTORY)


def _correct(database: Database, rows: list[Bar]) -> None:
    write(database, [row for row in rows if DAY.start_ns <= row.ts < DAY.end_ns], DAY, CLEAN)


@pytest.mark.parametrize("kind", ["open alone", "biases of the day"])
def test_a_correction_without_a_trace_is_computed_to_the_end_of_its_month(
    computed: Database, connection: Connection, kind: str
) -> None:
    if kind == "open alone":
        rows = _corrected(60, {"open": TICK})
        assert DAY.start_ns <= rows[60].ts < DAY.end_ns
        assert _states(rows) == _states(ROWS)
    else:
        rows = _first(lambda same, other: same[0] and other)
    before = _written(connection, MONTH_ENDS[0])
    assert all(before)
    _correct(computed, rows)
    doubt = doubt_of(computed)
    assert doubt is not None
    assert (doubt.first, doubt.last) == (DAY.start, HISTORY.end)

    [part] = refresh(computed)

    assert part.window.end == MONTH_ENDS[0]
    assert part.vouched_for == (HISTORY.end - MONTH_ENDS[0]).days
    assert _written(connection, MONTH_ENDS[0]) == before
    _require_one_pass(connection)


def test_a_correction_is_computed_until_its_trace_is_gone(
    computed: Database, connection: Connection
) -> None:
    rows = _first(lambda same, other: same == [False, True] and other)
    before = _written(connection, MONTH_ENDS[1])
    _correct(computed, rows)

    parts = refresh(computed)

    assert [part.window.end for part in parts] == list(MONTH_ENDS)
    assert [part.vouched_for for part in parts] == [0, (HISTORY.end - MONTH_ENDS[1]).days]
    assert _written(connection, MONTH_ENDS[1]) == before
    _require_one_pass(connection)


def test_a_correction_that_leaves_a_trace_is_never_vouched_for(
    computed: Database, connection: Connection
) -> None:
    highest = max(range(len(ROWS)), key=lambda row: ROWS[row].high)
    rows = _corrected(60, {"high": ROWS[highest].high + 9 * TICK - ROWS[60].high})
    _correct(computed, rows)

    parts = refresh(computed)

    assert parts[-1].window.end == HISTORY.end
    assert not any(part.vouched_for for part in parts)
    _require_one_pass(connection)


def test_what_was_vouched_for_serves_as_if_it_had_been_computed(
    computed: Database, connection: Connection
) -> None:
    for open_ in (1, 2, 0):
        _correct(computed, _corrected(60, {"open": open_ * TICK}))
        assert [part.window.end for part in refresh(computed)] == [MONTH_ENDS[0]]

    next_day = days_from(date(2024, 2, 28), 1)
    write(computed, bars_of(next_day.start, 1), next_day, CLEAN)
    [part] = compute(computed, next_day)

    assert part.window == next_day
    stored = stored_signals(connection)
    assert stored == one_pass(connection, NQ, stored[2])


def test_a_later_date_that_changed_too_is_not_vouched_for(
    computed: Database, connection: Connection
) -> None:
    later = DateRange(date(2024, 2, 6), date(2024, 2, 6))
    _correct(computed, _corrected(60, {"open": TICK}))
    write(computed, bars_of(later.start, 1, version=1), later, CLEAN)

    parts = refresh(computed)

    assert parts[0].window.end == MONTH_ENDS[0]
    assert parts[0].vouched_for == (later.start - MONTH_ENDS[0]).days - 1
    assert parts[1].window.start == date(2024, 2, 1)
    _require_one_pass(connection)


def test_a_state_under_other_rules_vouches_for_nothing(
    computed: Database, connection: Connection
) -> None:
    connection.execute(
        "UPDATE signal_checkpoints SET rules = 'others' WHERE date = %s", (MONTH_ENDS[0],)
    )
    _correct(computed, _corrected(60, {"open": TICK}))

    parts = refresh(computed)

    assert [part.window.end for part in parts] == list(MONTH_ENDS)
    assert [part.vouched_for for part in parts] == [0, (HISTORY.end - MONTH_ENDS[1]).days]
    _require_one_pass(connection)


def test_signals_under_other_rules_are_not_vouched_for(
    computed: Database, connection: Connection
) -> None:
    registry.set_symbol(connection, NQ, {"require_engulfing": True})
    _correct(computed, _corrected(60, {"open": TICK}))

    parts = refresh(computed)

    assert not any(part.vouched_for for part in parts)
    _require_one_pass(connection)


def test_dates_without_a_signal_do_not_cut_a_refresh(
    computed: Database, connection: Connection
) -> None:
    for table in ("bar_dates", "signal_dates"):
        by_hand(computed.url, f"DELETE FROM {table} WHERE date_part('isodow', date) = 6")
    registry.set_symbol(connection, NQ, {"higher_timeframe_anchor": "utc"})
    begun: list[DateRange] = []

    compute(computed, HISTORY, only_in_doubt=True, on_span=begun.append)

    assert begun == [DateRange(HISTORY.start, HISTORY.end)]
    assert doubt_of(computed) is None


def test_a_date_that_was_not_asked_for_is_not_computed_by_a_refresh(
    computed: Database, connection: Connection
) -> None:
    never = date(2024, 1, 10)
    for table in ("bias_series_1m_v1", "triangle_events_v1"):
        connection.execute(
            f"DELETE FROM {table} WHERE ts >= %s AND ts < %s + 1".encode(), (never, never)
        )
    by_hand(computed.url, "DELETE FROM signal_dates WHERE date = %s", never)
    registry.set_symbol(connection, NQ, {"higher_timeframe_anchor": "utc"})

    refresh(computed)

    stored = stored_signals(connection)
    assert never not in stored[2]
    assert stored == one_pass(connection, NQ, set(HISTORY) - {never})


def test_a_signal_goes_with_its_bars_and_comes_back_with_them(
    computed: Database, connection: Connection
) -> None:
    before = stored_signals(connection)
    connection.execute(
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = %s", (DAY.start,)
    )
    refresh(computed)
    away = stored_signals(connection)
    assert set(before[2]) - set(away[2]) == {DAY.start}
    assert not [ts for ts in away[0] if ts.date() == DAY.start]

    write(computed, bars_of(DAY.start, 1), DAY, CLEAN)
    doubt = doubt_of(computed)
    assert doubt is not None
    assert doubt.first == DAY.start
    assert "bars are selected again" in doubt.reasons
    refresh(computed)

    assert stored_signals(connection) == before
