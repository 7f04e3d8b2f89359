"""Replaying what is stored: any range is a slice of one pass, whatever was computed before."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline.storage.replay import ReplayedPart, replay
from trisignal_pipeline.storage.selection import selected_dates
from trisignal_pipeline_tests.storage.stored_bars import NQ, Bar, all_rows, by_hand, columns, walk
from trisignal_pipeline_tests.storage.stored_signals import (
    compute,
    described,
    store_days,
    stored_bias,
    stored_triangles,
)

# Longer than the span of daily states, over the end of a month and of a year.
SPAN = DateRange(date(2023, 12, 20), date(2024, 1, 8))
ROWS = walk(SPAN, seed=21, share=0.01)
DAYS = list(SPAN)
ranges = st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map(
    lambda pair: DateRange(min(pair), max(pair))
)
once_a_database = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _parts(connection: Connection, wanted: DateRange) -> list[ReplayedPart]:
    market = registry.market(connection, NQ)
    return list(replay(connection, market, selected_dates(connection, NQ), wanted))


def _require_slice_of_one_pass(parts: list[ReplayedPart], rows: list[Bar]) -> None:
    bars = columns(rows)
    _, series = advance(start(), bars)
    found = triangles(bars, series, parts[0].triangles.filters, previous=None)
    for part in parts:
        window = part.window
        inside = (series.ts >= window.start_ns) & (series.ts < window.end_ns)
        np.testing.assert_array_equal(part.bias.ts, series.ts[inside])
        np.testing.assert_array_equal(part.bias.bias, series.bias[inside])
        events = (found.ts >= window.start_ns) & (found.ts < window.end_ns)
        for name in ("ts", "direction", "bias", "htf_bullish", "engulfing", "sweep_engulfing"):
            np.testing.assert_array_equal(
                getattr(part.triangles, name), getattr(found, name)[events]
            )


def _everything(database: Database) -> tuple[Any, ...]:
    """All that the signal stored, but for ids and times."""
    return (
        stored_bias(database.url),
        stored_triangles(database.url),
        described(database.url),
    )


@once_a_database
@given(ranges, st.lists(ranges, max_size=3))
def test_a_range_is_a_slice_of_one_pass_whatever_was_kept_before(
    database: Database, connection: Connection, wanted: DateRange, kept: list[DateRange]
) -> None:
    if not selected_dates(connection, NQ):
        store_days(database, ROWS, SPAN)
    by_hand(database.url, "TRUNCATE signal_checkpoints, signal_dates")
    for dates in kept:
        compute(connection, dates)

    parts = _parts(connection, wanted)

    _require_slice_of_one_pass(parts, ROWS)
    covered = [day for part in parts for day in part.window]
    assert covered == sorted(set(covered))
    assert set(wanted) <= set(covered)
    assert parts[-1].window.end == wanted.end


@once_a_database
@given(ranges)
def test_parts_that_end_in_saved_states_start_after_the_nearest_one(
    database: Database, connection: Connection, wanted: DateRange
) -> None:
    if not selected_dates(connection, NQ):
        store_days(database, ROWS, SPAN)
        compute(connection, SPAN)
    saved = [day for (day,) in all_rows(database.url, "SELECT date FROM signal_checkpoints")]

    first = _parts(connection, wanted)[0].window.start

    usable = [day for day in saved if day < wanted.start]
    assert first == (max(usable) + timedelta(days=1) if usable else SPAN.start)


@pytest.mark.parametrize("seed", range(4))
def test_computing_pieces_in_any_order_gives_what_one_pass_gives(
    database: Database, connection: Connection, seed: int
) -> None:
    store_days(database, ROWS, SPAN)
    compute(connection, SPAN)
    expected = _everything(database)
    by_hand(
        database.url,
        "TRUNCATE bias_series_1m_v1, triangle_events_v1, signal_dates, signal_checkpoints",
    )
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, len(DAYS)), 4))
    pieces = [
        DateRange(DAYS[first], DAYS[after - 1])
        for first, after in zip([0, *cuts], [*cuts, len(DAYS)], strict=True)
    ]
    rng.shuffle(pieces)

    for piece in pieces:
        compute(connection, piece)

    assert _everything(database) == expected
    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.parametrize("seed", range(4))
def test_bars_that_come_in_any_order_end_in_the_same_signals(
    database: Database, connection: Connection, seed: int
) -> None:
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, len(DAYS)), 2))
    pieces = [
        DateRange(DAYS[first], DAYS[after - 1])
        for first, after in zip([0, *cuts], [*cuts, len(DAYS)], strict=True)
    ]
    rng.shuffle(pieces)

    for piece in pieces:
        store_days(database, ROWS, piece)
        compute(connection, piece)
        for doubtful in dates_in_doubt(connection, NQ):
            compute(connection, DateRange(doubtful, doubtful))

    assert dates_in_doubt(connection, NQ) == []
    after = _everything(database)
    by_hand(
        database.url,
        "TRUNCATE bias_series_1m_v1, triangle_events_v1, signal_dates, signal_checkpoints",
    )
    compute(connection, SPAN)
    assert after == _everything(database)


@pytest.mark.parametrize("seed", range(3))
def test_corrections_end_in_the_signals_of_the_corrected_bars(
    database: Database, connection: Connection, seed: int
) -> None:
    store_days(database, ROWS, SPAN)
    compute(connection, SPAN)
    rng = random.Random(seed)
    rows = list(ROWS)

    for _ in range(3):
        at = rng.randrange(len(rows))
        rows[at] = rows[at]._replace(close=rows[at].low, open=rows[at].high)
        day = date_of_ns(rows[at].ts)
        store_days(database, rows, DateRange(day, day))
        doubtful = dates_in_doubt(connection, NQ)
        assert doubtful == DAYS[DAYS.index(day) :]
        compute(connection, DateRange(doubtful[0], doubtful[-1]))

    corrected = _everything(database)
    by_hand(
        database.url,
        "TRUNCATE bias_series_1m_v1, triangle_events_v1, signal_dates, signal_checkpoints",
    )
    compute(connection, SPAN)
    assert corrected == _everything(database)


def test_a_symbol_without_bars_has_no_signals(connection: Connection) -> None:
    [part] = _parts(connection, SPAN)

    assert part.window == SPAN
    assert len(part.bars) == len(part.bias) == len(part.triangles) == 0


def test_dates_without_bars_are_in_the_parts_and_have_no_rows(
    database: Database, connection: Connection
) -> None:
    some = DateRange(DAYS[5], DAYS[8])
    store_days(database, ROWS, some)

    parts = _parts(connection, SPAN)

    assert [day for part in parts for day in part.window] == DAYS
    assert sorted(day for part in parts for day in part.selected) == list(some)
    for part in parts:
        rows, dates = part.of(part.window)
        assert len(rows.bias) == len(part.bias)
        assert [each.selected.date for each in dates] == list(part.selected)


def test_a_replay_goes_on_from_clean_bars_into_legacy_ones(
    database: Database, connection: Connection
) -> None:
    middle = DAYS[9]
    store_days(database, ROWS, DateRange(SPAN.start, middle), CLEAN)
    store_days(database, ROWS, DateRange(middle + timedelta(days=1), SPAN.end), LEGACY)

    parts = _parts(connection, SPAN)

    _require_slice_of_one_pass(parts, ROWS)
    tables = {day: chosen.table for part in parts for day, chosen in part.selected.items()}
    assert list(tables.values()) == [CLEAN.name] * 10 + [LEGACY.name] * 10
