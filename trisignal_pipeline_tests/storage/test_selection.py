"""Which bars the signal reads, date by date, and which the locked rules keep from it."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.market.bars import PRICE_UNIT, Bars
from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.market.hygiene import INDEX_FUTURE, Guard, LastGood, Rule
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bar_dates import describe_dates, mark_complete, mark_writing
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable, replace_bars
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.selection import (
    LockedOut,
    SelectedDate,
    read_selected,
    selected_dates,
)
from trisignal_pipeline.storage.verdicts import DateVerdict, record_verdicts
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    bar,
    columns,
    days_from,
    moment,
)

DATES = days_from(DAY, 4)
numbered = count()


def put(
    connection: Connection,
    table: BarsTable,
    day: date,
    rows: list[Bar],
    *,
    symbol: str = NQ,
    complete: bool = True,
) -> None:
    """Store `rows` as all there is of `day`, finished or not."""
    dates = DateRange(day, day)
    with connection.transaction():
        replace_bars(
            connection,
            table,
            symbol,
            columns(rows),
            dates.start_ns,
            dates.end_ns,
            run_id=1,
            source="legacy",
        )
        described = describe_dates(table.layer, dates, columns(rows), Bars.empty())
        mark_complete(connection, symbol, table.layer, described, 1, "dbn_files")
        if not complete:
            mark_writing(connection, symbol, table.layer, [day], moment(0, day))


def verdict(
    connection: Connection, table: BarsTable, day: date, *, broken: bool, check: str = "schema"
) -> None:
    """Record what a blocking check says of a date of one table's asset."""
    found = Verdict(10, int(broken), {"UNIQUE": 1} if broken else {})
    record_verdicts(
        connection,
        [DateVerdict(NQ, day, f"{table.layer}_bars", check, "", found, blocking=broken)],
        None,
    )


def _layers(connection: Connection) -> dict[date, str]:
    return {selected.date: selected.layer for selected in selected_dates(connection, NQ)}


def test_clean_bars_are_read_where_they_are_finished_else_legacy_bars(
    connection: Connection,
) -> None:
    both, legacy_only, clean_only, unfinished = DATES
    put(connection, LEGACY, both, [bar(0, day=both)])
    put(connection, CLEAN, both, [bar(0, day=both)])
    put(connection, LEGACY, legacy_only, [bar(0, day=legacy_only)])
    put(connection, CLEAN, clean_only, [bar(0, day=clean_only)])
    put(connection, LEGACY, unfinished, [bar(0, day=unfinished)])
    put(connection, CLEAN, unfinished, [bar(0, day=unfinished)], complete=False)

    assert _layers(connection) == {
        both: "clean",
        legacy_only: "legacy",
        clean_only: "clean",
        unfinished: "legacy",
    }


def test_a_date_that_is_being_written_is_not_read(connection: Connection) -> None:
    put(connection, LEGACY, DAY, [bar(0)], complete=False)

    assert selected_dates(connection, NQ) == []


def test_a_date_that_was_never_written_is_not_read(connection: Connection) -> None:
    assert selected_dates(connection, NQ) == []


def test_a_closed_day_is_read_and_holds_nothing(connection: Connection) -> None:
    put(connection, LEGACY, DAY, [])

    [selected] = selected_dates(connection, NQ)

    assert (selected.bar_count, selected.history, selected.table) == (0, 0, LEGACY.name)
    assert len(read_selected(connection, NQ, [selected], INDEX_FUTURE, Guard()).bars) == 0


def test_a_broken_date_is_not_read_until_a_check_finds_it_whole(connection: Connection) -> None:
    put(connection, LEGACY, DAY, [bar(0)])
    put(connection, CLEAN, DAY, [bar(0)])

    verdict(connection, CLEAN, DAY, broken=True)
    assert _layers(connection) == {DAY: "legacy"}
    verdict(connection, LEGACY, DAY, broken=True)
    assert _layers(connection) == {}
    verdict(connection, CLEAN, DAY, broken=False)
    assert _layers(connection) == {}, "clean bars made of broken ones are broken"
    verdict(connection, LEGACY, DAY, broken=False)
    assert _layers(connection) == {DAY: "clean"}


def test_history_starts_where_the_registry_says(connection: Connection) -> None:
    for day in DATES:
        put(connection, LEGACY, day, [bar(0, day=day)])
    second = DAY + timedelta(days=1)

    registry.set_symbol(connection, NQ, {"history_start": second})

    assert list(_layers(connection)) == list(DATES)[1:]


def test_history_is_asked_for_up_to_a_date(connection: Connection) -> None:
    for day in DATES:
        put(connection, LEGACY, day, [bar(0, day=day)])

    assert [d.date for d in selected_dates(connection, NQ, upto=DATES.start)] == [DATES.start]
    assert len(selected_dates(connection, NQ)) == 4


def test_a_history_stands_for_every_bar_up_to_its_date(connection: Connection) -> None:
    def histories() -> list[int]:
        return [selected.history for selected in selected_dates(connection, NQ)]

    for day in DATES:
        put(connection, LEGACY, day, [bar(0, day=day)])
    before = histories()

    second = DAY + timedelta(days=1)
    put(connection, LEGACY, second, [bar(0, day=second, close=20_001 * PRICE_UNIT)])
    corrected = histories()
    put(connection, LEGACY, second, [bar(0, day=second)])

    assert [old == new for old, new in zip(before, corrected, strict=True)] == [True] + [False] * 3
    assert histories() == before


def test_a_date_knows_its_table() -> None:
    assert SelectedDate(DAY, "legacy", 1, 0).table == LEGACY.name
    assert SelectedDate(DAY, "clean", 1, 0).table == CLEAN.name


class _PlainDate(NamedTuple):
    """A date as it is stored: its layer and its bars."""

    layer: str
    rows: list[Bar]


def _broken_rules(row: Bar, last: LastGood | None) -> list[Rule]:
    """The locked rules, as they are written down."""
    broken = []
    prices = row[1:5]
    if min(prices) < 1000 * PRICE_UNIT:
        return [Rule.PRICE_FLOOR]
    if last is not None and row.contract == last.contract:
        gap = abs(row.close - last.close)
        if gap > 500 * PRICE_UNIT:
            broken.append(Rule.DISCONTINUITY)
        if row.high - row.low <= 10 * PRICE_UNIT and gap >= 150 * PRICE_UNIT:
            broken.append(Rule.SMALL_RANGE_BIG_GAP)
        if len(set(prices)) == 1 and gap > 50 * PRICE_UNIT:
            broken.append(Rule.FLAT_DISCONTINUITY)
    return broken


def _plainly(dates: list[_PlainDate]) -> tuple[list[Bar], list[LockedOut], Guard]:
    """One bar after the other."""
    accepted: list[Bar] = []
    locked_out: dict[date, LockedOut] = {}
    guard = Guard()
    for layer, rows in dates:
        for row in rows:
            broken = _broken_rules(row, guard.last_good) if layer == "legacy" else []
            if not broken:
                accepted.append(row)
                guard = Guard(LastGood(row.close, row.contract))
                continue
            first = guard.locked_for == 0
            guard = Guard(
                guard.last_good,
                guard.locked_for + 1,
                row.ts if first else guard.locked_since_ns,
                broken[0] if first else guard.locked_by,
            )
            day = date_of_ns(row.ts)
            before = locked_out.get(day, LockedOut(day, 0, {}, 0, 0, ""))
            longest = (before.longest, before.longest_since_ns, before.longest_by)
            if guard.locked_for > before.longest:
                assert guard.locked_since_ns is not None
                assert guard.locked_by is not None
                longest = (guard.locked_for, guard.locked_since_ns, guard.locked_by.value)
            by_rule = {
                rule.value: before.by_rule.get(rule.value, 0) + (rule in broken)
                for rule in Rule
                if rule in broken or rule.value in before.by_rule
            }
            locked_out[day] = LockedOut(day, before.rejected + 1, by_rule, *longest)
    return accepted, list(locked_out.values()), guard


def _bar_of(minute: int, points: int, width: int, contract: str) -> Bar:
    close = points * PRICE_UNIT
    return bar(minute, close, high=close + width * PRICE_UNIT, low=close, contract=contract)


some_bars = st.lists(
    st.builds(
        _bar_of,
        st.integers(0, 9),
        st.sampled_from((20_000, 20_000, 20_040, 20_060, 20_150, 20_151, 20_500, 20_501, 999)),
        st.sampled_from((0, 10, 11)),
        st.sampled_from(("NQM4", "NQM4", "NQM4", "NQU4")),
    ),
    unique_by=lambda row: row.ts,
    max_size=10,
).map(sorted)
some_dates = st.lists(
    st.tuples(st.sampled_from(("legacy", "legacy", "legacy", "clean")), some_bars),
    min_size=4,
    max_size=4,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(some_dates, st.integers(0, 4))
def test_the_locked_rules_go_on_over_dates_tables_and_calls(
    connection: Connection, made: list[tuple[str, list[Bar]]], cut: int
) -> None:
    symbol = f"TEST.LOCKED:{next(numbered)}"
    stored = []
    for day, (layer, rows) in zip(DATES, made, strict=True):
        shift = (day - DAY).days * 86_400 * 10**9
        moved = [row._replace(ts=row.ts + shift) for row in rows]
        stored.append(_PlainDate(layer, moved))
        table = LEGACY if layer == "legacy" else CLEAN
        put(connection, table, day, moved, symbol=symbol)
    dates = selected_dates(connection, symbol)

    first = read_selected(connection, symbol, dates[:cut], INDEX_FUTURE, Guard())
    second = read_selected(connection, symbol, dates[cut:], INDEX_FUTURE, first.guard)

    accepted, locked_out, guard = _plainly(stored)
    ts = [*first.bars.ts.tolist(), *second.bars.ts.tolist()]
    assert ts == [row.ts for row in accepted]
    names = [part.bars.contracts[code] for part in (first, second) for code in part.bars.contract]
    assert names == [row.contract for row in accepted]
    assert [*first.locked_out, *second.locked_out] == locked_out
    assert second.guard == guard


@pytest.mark.parametrize("between", [[], [_bar_of(0, 20_600, 0, "NQM4")]])
def test_the_last_good_close_carries_over_from_clean_bars_to_legacy_ones(
    connection: Connection, between: list[Bar]
) -> None:
    first, second, third = list(DATES)[:3]
    put(connection, LEGACY, first, [_bar_of(0, 20_000, 0, "NQM4")])
    put(connection, CLEAN, second, [row._replace(ts=bar(0, day=second).ts) for row in between])
    put(
        connection,
        LEGACY,
        third,
        [bar(minute, 20_600 * PRICE_UNIT, third, high=20_700 * PRICE_UNIT) for minute in (0, 1)],
    )

    read = read_selected(connection, NQ, selected_dates(connection, NQ), INDEX_FUTURE, Guard())

    if between:
        assert read.locked_out == ()
        assert len(read.bars) == 4
    else:
        since = bar(0, day=third).ts
        rule = "DISCONTINUITY_500"
        assert read.locked_out == (LockedOut(third, 2, {rule: 2}, 2, since, rule),)
        assert len(read.bars) == 1
