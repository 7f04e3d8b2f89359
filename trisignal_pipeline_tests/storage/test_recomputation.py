"""Making stored signals once more: the same result on another way, and from which state."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import recomputation, registry
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.recomputation import Recomputed, recompute
from trisignal_pipeline.storage.selection import selected_dates
from trisignal_pipeline.storage.signals import read_bias, read_triangles
from trisignal_pipeline.storage.stored_signal import bias_of_frame, triangles_of_frame
from trisignal_pipeline_tests.storage.signal_history import bars_of
from trisignal_pipeline_tests.storage.stored_bars import NQ, by_hand
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days

# Over the ends of two months, and longer than the span of daily states.
SPAN = DateRange(date(2023, 12, 18), date(2024, 2, 6))
LAST_WEEK = DateRange(date(2024, 1, 31), SPAN.end)


@pytest.fixture
def stored(database: Database, connection: Connection) -> Connection:
    """Legacy bars, some of which the hygiene rules lock out, and their signals."""
    rows = [row for day in SPAN for row in bars_of(day, seed=5)]
    store_days(database, rows, SPAN, LEGACY)
    connection.autocommit = True
    compute(connection, SPAN)
    return connection


def _again(connection: Connection, *ranges: DateRange) -> list[Recomputed]:
    market = registry.market(connection, NQ)
    return list(recompute(connection, market, selected_dates(connection, NQ), ranges))


def _require_stored(connection: Connection, again: Recomputed) -> None:
    market = registry.market(connection, NQ)
    bias = bias_of_frame(read_bias(connection, NQ, again.dates))
    events = triangles_of_frame(read_triangles(connection, NQ, again.dates), market.filters)
    np.testing.assert_array_equal(again.bias.ts, bias.ts)
    np.testing.assert_array_equal(again.bias.bias, bias.bias)
    for name in ("ts", "direction", "bias", "htf_bullish", "engulfing", "sweep_engulfing"):
        np.testing.assert_array_equal(getattr(again.triangles, name), getattr(events, name))


def test_every_cut_gives_what_is_stored(stored: Connection) -> None:
    found = [
        *_again(stored, SPAN),
        *_again(stored, DateRange(SPAN.start, date(2023, 12, 31)), LAST_WEEK),
        *_again(stored, *(DateRange(day, day) for day in LAST_WEEK)),
    ]

    assert sum(len(part.bias) for part in found[:1]) > 500
    for part in found:
        _require_stored(stored, part)


def test_nothing_is_stored(stored: Connection) -> None:
    before = stored.execute("SELECT * FROM signal_checkpoints ORDER BY date").fetchall()

    _again(stored, SPAN)

    after = stored.execute("SELECT * FROM signal_checkpoints ORDER BY date").fetchall()
    assert after == before


def test_it_starts_from_the_state_before_the_nearest_one(stored: Connection) -> None:
    [of_last] = _again(stored, DateRange(SPAN.end, SPAN.end))
    assert of_last.since == SPAN.end - timedelta(days=2)

    [of_middle] = _again(stored, DateRange(date(2024, 1, 10), date(2024, 1, 12)))
    assert of_middle.since is None, "the one before that of 2023-12-31 is the beginning"


def test_a_range_that_follows_goes_on_and_reads_no_state(stored: Connection) -> None:
    market = registry.market(stored, NQ)
    parts = recompute(
        stored,
        market,
        selected_dates(stored, NQ),
        [DateRange(day, day) for day in LAST_WEEK],
    )
    first = next(parts)
    stored.execute("DELETE FROM signal_checkpoints")

    rest = list(parts)

    assert {part.since for part in rest} == {first.since}
    assert first.since is not None
    for part in (first, *rest):
        _require_stored(stored, part)


def test_a_state_too_far_back_gives_way_to_the_nearest(
    stored: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recomputation, "MOST_BARS_BEFORE", 5)

    [part] = _again(stored, DateRange(SPAN.end, SPAN.end))

    assert part.since == SPAN.end - timedelta(days=1)
    _require_stored(stored, part)


def test_states_made_from_other_bars_are_passed_over(
    stored: Connection, database: Database
) -> None:
    by_hand(
        database.url,
        "UPDATE signal_checkpoints SET history_fingerprint = 1 WHERE date = %s",
        SPAN.end - timedelta(days=1),
    )

    [part] = _again(stored, DateRange(SPAN.end, SPAN.end))

    assert part.since == SPAN.end - timedelta(days=3)


def test_dates_without_bars_have_no_signal(stored: Connection) -> None:
    saturday = date(2024, 2, 3)

    [part] = _again(stored, DateRange(saturday, saturday))

    assert (len(part.bars), len(part.bias), len(part.triangles)) == (0, 0, 0)
    assert part.previous is not None
