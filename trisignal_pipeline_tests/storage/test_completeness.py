"""Gaps of stored dates: kept with the date, and told from halts by what other markets did."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, midnight_ns
from trisignal_pipeline.market.gaps import completeness
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.query.gaps import gaps
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bar_dates import BarDate, mark_complete, mark_writing
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.completeness import (
    rare_gaps,
    record_completeness,
    rejected_minutes,
)
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.stored_bars import DAY, bar, days_from, store

NQ, ES, YM, MGC = (f"GLBX.MDP3:{root}" for root in ("NQ", "ES", "YM", "MGC"))
DATES = DateRange(DAY, DAY)
NONE = np.empty(0, np.int64)


def _clock(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _day(*holes: tuple[str, int], day: date = DAY, every: int = 1) -> Int64s:
    """The minutes of a day on which every one trades, or one of so many, but for some holes."""
    of = sessions("cme_equity", day, day + timedelta(days=1))
    ts = midnight_ns(day) + np.arange(0, 1440, every) * NS_PER_MINUTE
    ts = ts[of.locate(ts) >= 0]
    for start, length in holes:
        first = midnight_ns(day) + _clock(start) * NS_PER_MINUTE
        ts = ts[(ts < first) | (ts >= first + length * NS_PER_MINUTE)]
    return ts


def _keep(database: Database, symbol: str, ts: Int64s, off_tick: int | None = 0) -> None:
    """What materialising the clean bars of the day leaves of their minutes."""
    of = sessions("cme_equity", DAY, DAY + timedelta(days=1))
    counts = None if off_tick is None else np.array([off_tick])
    stored = BarDate(DAY, len(ts), 0, "X", int(ts[0]), int(ts[-1]), 1)
    with database.connect("tests") as connection:
        mark_complete(connection, symbol, "clean", [stored], 1, "legacy")
        record_completeness(connection, symbol, completeness(ts, NONE, of, DATES), counts)


def _rare(database: Database, symbol: str) -> list[tuple[str, int, str]]:
    with database.connect("tests") as connection:
        return [
            (gap.ts.astimezone(UTC).strftime("%H:%M"), gap.minutes, gap.kind.value)
            for gap in rare_gaps(connection, symbol, DATES)
        ]


def _rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    with database.connect("tests") as connection:
        return connection.execute(f"SELECT xmin, * FROM {table} ORDER BY 2, 3".encode()).fetchall()


def test_a_date_keeps_its_minutes_by_kind(database: Database) -> None:
    _keep(database, NQ, _day(("03:00", 1), ("14:00", 45)), off_tick=3)

    with database.connect("tests") as connection:
        kept = connection.execute(
            "SELECT expected_minutes, found_minutes, no_trade_minutes, rejected_minutes, "
            "suspicious_minutes, longest_gap, outside_count, off_tick_count FROM bar_dates"
        ).fetchall()
    assert kept == [(1380, 1334, 1, 0, 45, 45, 0, 3)]


def test_an_unknown_tick_leaves_the_count_empty(database: Database) -> None:
    _keep(database, NQ, _day(), off_tick=None)

    with database.connect("tests") as connection:
        [(count,)] = connection.execute("SELECT off_tick_count FROM bar_dates").fetchall()
    assert count is None


def test_the_same_again_touches_no_row(database: Database) -> None:
    ts = _day(("14:00", 45), every=5)
    _keep(database, NQ, ts)
    before = _rows(database, "bar_gaps"), _rows(database, "bar_dates")

    _keep(database, NQ, ts)

    assert (_rows(database, "bar_gaps"), _rows(database, "bar_dates")) == before
    assert len(before[0]) > 200


def test_gaps_that_were_filled_go_and_new_ones_come(database: Database) -> None:
    _keep(database, NQ, _day(("14:00", 45)))
    _keep(database, NQ, _day(("15:00", 30)))

    assert _rare(database, NQ) == [("15:00", 30, "suspicious")]


def test_a_date_whose_bars_change_has_no_gaps_until_it_is_judged_again(database: Database) -> None:
    _keep(database, NQ, _day(("14:00", 45)))

    with database.connect("tests") as connection:
        mark_writing(connection, NQ, "clean", [DAY], datetime(2024, 6, 17, tzinfo=UTC))
    assert _rare(database, NQ) == []

    with database.connect("tests") as connection:
        mark_complete(
            connection, NQ, "clean", [BarDate(DAY, 9, 0, "X", None, None, 2)], 1, "legacy"
        )
    assert _rare(database, NQ) == []


HALT = ("14:00", 15)


@pytest.mark.parametrize("order", [(NQ, ES, YM), (YM, ES, NQ)])
def test_markets_that_fall_silent_together_are_halted_whichever_was_stored_first(
    database: Database, order: tuple[str, ...]
) -> None:
    minutes = {NQ: _day(HALT), ES: _day(("14:00", 14)), YM: _day(("13:59", 16))}
    for symbol in order:
        _keep(database, symbol, minutes[symbol])

    assert _rare(database, NQ) == [("14:00", 15, "halt")]
    assert _rare(database, ES) == [("14:00", 14, "halt")]
    with database.connect("tests") as connection:
        [(_, _, _, why)] = list(gaps(connection, NQ, DATES, ["halt"]).rows)
    assert why == f"silent as well: {ES}, {YM}"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_day(), id="it trades on"),
        pytest.param(_day(("14:05", 10)), id="it trades in the gap's first minutes"),
        pytest.param(_day(every=15), id="its silence is a lull"),
    ],
)
def test_a_gap_is_no_halt_if_the_other_market_does_not_bear_it_out(
    database: Database, other: Int64s
) -> None:
    _keep(database, NQ, _day(HALT))
    _keep(database, ES, other)

    assert _rare(database, NQ) == [("14:00", 15, "suspicious")]


def test_one_market_that_trades_on_outweighs_all_that_are_silent(database: Database) -> None:
    _keep(database, NQ, _day(HALT))
    _keep(database, ES, _day(HALT))
    _keep(database, YM, _day())

    assert _rare(database, NQ) == [("14:00", 15, "suspicious")]


def test_bars_that_are_missing_at_a_session_s_end_everywhere_are_no_halt(
    database: Database,
) -> None:
    for symbol in (NQ, ES):
        _keep(database, symbol, _day(("20:00", 60)))

    assert _rare(database, NQ) == [("20:00", 60, "suspicious")]


def test_a_market_of_another_class_bears_no_witness(database: Database) -> None:
    with database.connect("tests") as connection:
        registry.add_symbol(connection, MGC, {})
    _keep(database, NQ, _day(HALT))
    _keep(database, MGC, _day(HALT))

    assert _rare(database, NQ) == [("14:00", 15, "suspicious")]
    assert _rare(database, MGC) == [("14:00", 15, "suspicious")]


@pytest.mark.parametrize(("source", "minutes"), [("legacy", [1, 2]), ("databento_api", [2])])
def test_what_was_kept_out_of_legacy_bars_explains_gaps_of_bars_made_from_them_alone(
    database: Database, source: str, minutes: list[int]
) -> None:
    days = days_from(DAY, 1)
    store(database, [bar(0), bar(1, high=1)], days)
    store(database, [bar(0), bar(2, high=1)], days, table=CLEAN)
    with database.connect("tests") as connection:
        mark_complete(connection, NQ, "clean", [BarDate(DAY, 1, 1, "X", 1, 1, 1)], 1, source)

        found = rejected_minutes(connection, NQ, DATES)

    assert ((found - DATES.start_ns) // NS_PER_MINUTE).tolist() == minutes


def test_a_stretch_without_any_bar_says_so(database: Database) -> None:
    _keep(database, NQ, _day(("22:00", 120)))

    with database.connect("tests") as connection:
        [(_, minutes, kind, why)] = list(gaps(connection, NQ, DATES, []).rows)
    assert (minutes, kind) == (120, "suspicious")
    assert why == "no bar at all between a close, pause or midnight (UTC) and the next"


def test_gaps_are_listed_by_kind_in_order_of_time(database: Database) -> None:
    _keep(database, NQ, _day(("03:00", 1), ("14:00", 45), ("20:30", 30)))

    with database.connect("tests") as connection:
        listed = list(gaps(connection, NQ, DATES, []).rows)
        of_kind = list(gaps(connection, NQ, DATES, ["no_trade"]).rows)
        elsewhere = list(gaps(connection, ES, DATES, []).rows)

    assert [row[1:] for row in listed] == [
        (1, "no_trade", "120 of 120 open minutes within an hour of it traded"),
        (45, "suspicious", "120 of 120 open minutes within an hour of it traded"),
        (
            30,
            "suspicious",
            "60 of 60 open minutes within an hour of it traded; at the edge of a session",
        ),
    ]
    assert of_kind == listed[:1]
    assert elsewhere == []
