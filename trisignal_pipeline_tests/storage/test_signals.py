"""Stored signals: replaced at once, never twice, never stale, and in doubt when they should be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from trisignal_pipeline.judging import judge
from trisignal_pipeline.market.dates import DateRange, date_of_ns, utc
from trisignal_pipeline.market.symbols import Anchor, TriangleFilters
from trisignal_pipeline.schemas import BIAS_ROW, TRIANGLE_EVENT
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES, LOGIC_VERSION
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline.storage.signals import read_bias, read_triangles
from trisignal_pipeline_tests.storage.stored_bars import (
    NQ,
    Bar,
    all_rows,
    by_hand,
    columns,
    days_from,
    walk,
)
from trisignal_pipeline_tests.storage.stored_signals import (
    compute,
    described,
    of_dates,
    store_days,
    stored_bias,
    stored_triangles,
)

WEEK = days_from(date(2023, 12, 29), 5)  # over a weekend and the turn of a year
ROWS = walk(WEEK, seed=11, share=0.03)
MIDDLE = WEEK.start + timedelta(days=2)
LATER = DateRange(MIDDLE, WEEK.end)


def _expected(
    rows: list[Bar], filters: TriangleFilters, anchor: Anchor = Anchor.SESSION
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What the signal room says of `rows`, as the tables hold it."""
    bars = columns(rows)
    _, series = advance(start(anchor), bars)
    found = triangles(bars, series, filters, previous=None)

    def words(codes: Any) -> list[str]:
        return [BIAS_NAMES[code] for code in codes]

    contracts = {row.ts: row.contract for row in rows}
    bias = [
        (utc(ts), *words(codes), CLEAN.name, LOGIC_VERSION)
        for ts, codes in zip(series.ts.tolist(), series.bias.tolist(), strict=True)
    ]
    events = [
        (
            utc(int(found.ts[row])),
            DIRECTION_NAMES[found.direction[row]],
            *words(found.bias[row].tolist()),
            bool(found.htf_bullish[row]),
            bool(found.htf_bearish[row]),
            bool(found.engulfing[row]),
            bool(found.sweep_engulfing[row]),
            filters.require_engulfing,
            filters.require_sweep_engulfing,
            filters.htf_aligned_only,
            contracts[int(found.ts[row])],
            CLEAN.name,
            LOGIC_VERSION,
        )
        for row in range(len(found))
    ]
    return bias, events


def test_stored_signals_are_those_of_the_bars(database: Database, connection: Connection) -> None:
    rows = [*ROWS[:90], *(row._replace(contract="NQU4") for row in ROWS[90:])]
    store_days(database, rows, WEEK)

    compute(connection, WEEK)

    bias, events = _expected(rows, TriangleFilters())
    assert len(events) > 20
    assert stored_bias(database.url) == bias
    assert stored_triangles(database.url) == events
    assert {row[-3] for row in events} == {"NQM4", "NQU4"}


@pytest.mark.parametrize(
    "settings",
    [
        {"require_engulfing": "true"},
        {"require_sweep_engulfing": "true"},
        {"htf_aligned_only": "true", "aligned_timeframes": ["5m"]},
        {"higher_timeframe_anchor": "utc"},
    ],
)
def test_the_registrys_settings_count_and_stand_on_every_triangle(
    database: Database, connection: Connection, settings: dict[str, object]
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)
    before = len(stored_triangles(database.url))

    registry.set_symbol(connection, NQ, settings)
    compute(connection, WEEK)

    market = registry.market(connection, NQ)
    bias, events = _expected(ROWS, market.filters, market.anchor)
    assert stored_bias(database.url) == bias
    assert stored_triangles(database.url) == events
    assert len(events) == before if market.anchor == Anchor.UTC else 0 < len(events) < before


def test_what_is_read_back_is_what_the_schemas_say(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)

    bias, events = read_bias(connection, NQ, LATER), read_triangles(connection, NQ, LATER)

    stored = of_dates(stored_bias(database.url), LATER)
    assert [(utc(row[0]), *row[1:]) for row in bias.itertuples(index=False, name=None)] == [
        row[:7] for row in stored
    ]
    found = of_dates(stored_triangles(database.url), LATER)
    assert [(utc(row[0]), *row[1:]) for row in events.itertuples(index=False, name=None)] == [
        row[:12] for row in found
    ]
    for schema, frame in ((BIAS_ROW, bias), (TRIANGLE_EVENT, events)):
        assert all(verdict.passed for verdict in judge(schema, frame, LATER).values())


def test_nothing_stored_reads_as_empty_frames_of_the_right_shape(connection: Connection) -> None:
    bias, events = read_bias(connection, NQ, WEEK), read_triangles(connection, NQ, WEEK)

    assert len(bias) == len(events) == 0
    assert all(verdict.passed for verdict in judge(BIAS_ROW, bias, WEEK).values())
    assert all(verdict.passed for verdict in judge(TRIANGLE_EVENT, events, WEEK).values())


def _everything(database: Database) -> tuple[list[tuple[Any, ...]], ...]:
    return (
        stored_bias(database.url, "created_at"),
        stored_triangles(database.url, "id", "created_at"),
        all_rows(database.url, "SELECT * FROM signal_dates ORDER BY symbol, date"),
    )


def test_computing_again_keeps_every_id_and_time(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)
    before = _everything(database)

    compute(connection, WEEK)
    compute(connection, LATER)

    assert _everything(database) == before


def test_after_a_correction_only_what_differs_is_another_row(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)
    before = {row[:-1]: row[-1] for row in stored_triangles(database.url, "id")}
    corrected = [
        row._replace(close=row.low) if date_of_ns(row.ts) == MIDDLE else row for row in ROWS
    ]

    store_days(database, corrected, WEEK)
    compute(connection, WEEK)

    bias, events = _expected(corrected, TriangleFilters())
    assert stored_bias(database.url) == bias
    assert stored_triangles(database.url) == events
    after = {row[:-1]: row[-1] for row in stored_triangles(database.url, "id")}
    assert set(before) - set(after), "some triangles must have gone"
    kept = set(before) & set(after)
    assert kept
    assert all(after[row] == before[row] for row in kept)


def test_a_failure_in_the_middle_leaves_the_old_signals(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)
    before = _everything(database)
    store_days(database, [row._replace(close=row.low) for row in ROWS], WEEK)
    by_hand(
        database.url,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON triangle_events_v1
        FOR EACH ROW EXECUTE FUNCTION refuse();
        """,
    )

    with pytest.raises(psycopg.errors.RaiseException, match="not today"):
        compute(connection, WEEK)

    assert _everything(database) == before
    by_hand(database.url, "DROP TRIGGER refuse ON triangle_events_v1")
    compute(connection, WEEK)
    assert dates_in_doubt(connection, NQ) == []


def test_dates_that_lost_their_bars_lose_their_signals(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)
    by_hand(database.url, "DELETE FROM bar_dates WHERE date = %s", MIDDLE)

    compute(connection, WEEK)

    only = DateRange(MIDDLE, MIDDLE)
    assert of_dates(stored_bias(database.url), only) == []
    assert of_dates(stored_triangles(database.url), only) == []
    assert list(described(database.url)) == [day for day in WEEK if day != MIDDLE]


def test_another_symbols_signals_are_left_alone(database: Database, connection: Connection) -> None:
    es = "GLBX.MDP3:ES"
    for symbol in (NQ, es):
        store_days(database, ROWS, WEEK, symbol=symbol)
        compute(connection, WEEK, symbol)
    before = stored_triangles(database.url, "id", "created_at", symbol=es)

    store_days(database, [], WEEK)
    compute(connection, WEEK)

    assert stored_triangles(database.url) == stored_bias(database.url) == []
    assert stored_triangles(database.url, "id", "created_at", symbol=es) == before


def test_every_row_says_which_table_its_bar_was_read_from(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK, LEGACY)
    compute(connection, WEEK)
    assert {row[-2] for row in stored_bias(database.url)} == {LEGACY.name}

    store_days(database, ROWS, LATER, CLEAN)
    compute(connection, WEEK)

    for rows in (stored_bias(database.url), stored_triangles(database.url)):
        assert {row[-2] for row in of_dates(rows, LATER)} == {CLEAN.name}
        assert {row[-2] for row in rows if row[0].date() not in LATER} == {LEGACY.name}
    tables = [said[0] for said in described(database.url).values()]
    assert tables == [LEGACY.name] * 2 + [CLEAN.name] * 3


def test_each_date_says_what_it_was_computed_from(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)

    said = described(database.url)
    for day in WEEK:
        table, bars, events, _, rules, logic = said[day]
        assert table == CLEAN.name
        assert bars == sum(date_of_ns(row.ts) == day for row in ROWS)
        assert events == len(of_dates(stored_triangles(database.url), DateRange(day, day)))
        assert (rules, logic) == (registry.market(connection, NQ).rules, LOGIC_VERSION)


def test_a_signal_is_of_the_year_its_bar_opens_in(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)

    for year in (2023, 2024):
        rows = all_rows(database.url, f"SELECT min(ts), max(ts) FROM bias_series_1m_v1_y{year}")
        [(first, last)] = rows
        assert datetime(year, 1, 1, tzinfo=UTC) <= first <= last
        assert last < datetime(year + 1, 1, 1, tzinfo=UTC)
