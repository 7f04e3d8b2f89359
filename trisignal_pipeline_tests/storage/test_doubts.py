"""What is in doubt, and from which minute on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta

import psycopg
import pytest

from trisignal_pipeline.market.dates import DateRange, date_of_ns, midnight_ns
from trisignal_pipeline.query.operations import symbol_states
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.doubts import dates_in_doubt, doubts
from trisignal_pipeline_tests.storage.signal_history import (
    bars_of,
    compute,
    doubt_of,
    refresh,
    write,
)
from trisignal_pipeline_tests.storage.stored_bars import NQ, TICK, Bar, days_from, moment

HISTORY = days_from(date(2024, 1, 2), 9)
DAYS = [day for day in HISTORY if bars_of(day, 1)]
FIRST, DAY, LATER = DAYS[0], DAYS[2], DAYS[5]
ROWS = bars_of(DAY, 1)
NOT_CHANGED = "bars changed on this date or before it"


def _whole(day: date) -> DateRange:
    return DateRange(day, day)


def _with(row: int, **values: int) -> list[Bar]:
    """The day's bars, one of them with other values."""
    return [*ROWS[:row], ROWS[row]._replace(**values), *ROWS[row + 1 :]]


def _write_all(database: Database, table: BarsTable, symbol: str = NQ) -> None:
    write(database, [row for day in HISTORY for row in bars_of(day, 1)], HISTORY, table, symbol)


@pytest.fixture
def legacy(database: Database) -> Database:
    """Signals that were computed from legacy bars."""
    _write_all(database, LEGACY)
    compute(database, HISTORY)
    return database


@pytest.fixture
def clean(legacy: Database) -> Database:
    """The same, and then from clean bars."""
    _write_all(legacy, CLEAN)
    compute(legacy, HISTORY)
    return legacy


def _require_doubt(database: Database, from_ns: int, first: date = DAY) -> None:
    """Everything from `first` on is in doubt, from that minute on; and nothing after a refresh."""
    doubt = doubt_of(database)
    assert doubt is not None
    assert (doubt.from_ns, doubt.first, doubt.last) == (from_ns, first, HISTORY.end)
    with database.connect("test") as connection:
        assert dates_in_doubt(connection, NQ) == list(DateRange(first, HISTORY.end))
        table = symbol_states(connection)
        [row] = (row for row in table.rows if row[0] == NQ)
        shown = dict(zip(table.columns, row, strict=True))
    assert shown["dates_in_doubt"] == doubt.dates == len(DateRange(first, HISTORY.end))
    assert shown["in_doubt_from"] == moment(0, first) + timedelta(
        microseconds=(from_ns - midnight_ns(first)) // 1000
    )
    refresh(database)
    assert doubt_of(database) is None


def test_signals_just_computed_are_not_in_doubt(clean: Database) -> None:
    assert doubt_of(clean) is None
    with clean.connect("test") as connection:
        table = symbol_states(connection)
        [row] = (row for row in table.rows if row[0] == NQ)
    shown = dict(zip(table.columns, row, strict=True))
    assert (shown["dates_in_doubt"], shown["in_doubt_from"]) == (0, None)


def test_the_same_bars_again_put_nothing_in_doubt(clean: Database) -> None:
    for table in (LEGACY, CLEAN):
        _write_all(clean, table)
        write(clean, ROWS, _whole(DAY), table, batch_rows=3)
    assert doubt_of(clean) is None


def test_a_corrected_volume_puts_nothing_in_doubt(clean: Database) -> None:
    write(clean, _with(4, volume=12345), _whole(DAY), CLEAN)
    assert doubt_of(clean) is None


def test_legacy_bars_that_nothing_reads_put_nothing_in_doubt(clean: Database) -> None:
    write(clean, _with(4, close=ROWS[4].low), _whole(DAY), LEGACY)
    assert doubt_of(clean) is None


@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
def test_a_changed_bar_counts_from_its_minute(clean: Database, column: str) -> None:
    inside = {"high": ROWS[7].high + TICK, "low": ROWS[7].low - TICK}
    write(clean, _with(7, **{column: inside.get(column, ROWS[7].low)}), _whole(DAY), CLEAN)
    _require_doubt(clean, ROWS[7].ts)


def test_a_changed_bar_counts_from_its_open_though_legacy_bars_are_stamped_by_the_close(
    legacy: Database,
) -> None:
    write(legacy, _with(7, close=ROWS[7].low), _whole(DAY), LEGACY)
    _require_doubt(legacy, ROWS[7].ts)


def test_a_bar_of_another_contract_is_another_bar(clean: Database) -> None:
    changed = [*ROWS[:-3], *(row._replace(contract="NQM4") for row in ROWS[-3:])]
    write(clean, changed, _whole(DAY), CLEAN)
    _require_doubt(clean, ROWS[-3].ts)


def test_a_bar_that_disappears_counts_from_its_minute(clean: Database) -> None:
    write(clean, [*ROWS[:5], *ROWS[6:]], _whole(DAY), CLEAN)
    _require_doubt(clean, ROWS[5].ts)


def test_a_late_bar_counts_from_its_minute(clean: Database) -> None:
    late = ROWS[5]._replace(ts=ROWS[5].ts + 60 * 10**9)
    assert late.ts < ROWS[6].ts
    write(clean, [*ROWS[:6], late, *ROWS[6:]], _whole(DAY), CLEAN)
    _require_doubt(clean, late.ts)


@pytest.mark.parametrize("batch_rows", [2, 500])
def test_of_several_changes_the_first_counts(clean: Database, batch_rows: int) -> None:
    changed = _with(3, open=ROWS[3].low)
    del changed[-2]
    write(clean, changed, _whole(DAY), CLEAN, batch_rows=batch_rows)
    _require_doubt(clean, ROWS[3].ts)


@pytest.mark.parametrize("order", [(3, 9), (9, 3)])
def test_of_changes_made_one_after_the_other_the_first_minute_counts(
    clean: Database, order: tuple[int, int]
) -> None:
    rows = list(ROWS)
    for row in order:
        rows[row] = rows[row]._replace(open=rows[row].low)
        write(clean, rows, _whole(DAY), CLEAN)
    _require_doubt(clean, ROWS[3].ts)


@pytest.mark.parametrize("order", [(DAY, LATER), (LATER, DAY)])
def test_of_changes_on_several_dates_the_first_counts(
    clean: Database, order: tuple[date, date]
) -> None:
    for day in order:
        rows = bars_of(day, 1)
        rows[7] = rows[7]._replace(open=rows[7].low)
        write(clean, rows, _whole(day), CLEAN)
    _require_doubt(clean, ROWS[7].ts)


def test_a_change_that_was_seen_to_counts_no_more(clean: Database) -> None:
    write(clean, _with(3, open=ROWS[3].low), _whole(DAY), CLEAN)
    refresh(clean)

    changed = _with(3, open=ROWS[3].low)
    changed[9] = changed[9]._replace(open=changed[9].low)
    write(clean, changed, _whole(DAY), CLEAN)

    _require_doubt(clean, ROWS[9].ts)


def test_a_late_file_for_a_whole_date_counts_from_its_first_bar(database: Database) -> None:
    for days in (DateRange(FIRST, DAYS[1]), DateRange(DAYS[3], HISTORY.end)):
        write(database, [row for day in days for row in bars_of(day, 1)], days, CLEAN)
    compute(database, HISTORY)

    write(database, ROWS, _whole(DAY), CLEAN)

    _require_doubt(database, ROWS[0].ts, first=DAYS[3])


def test_a_changed_date_without_a_signal_of_its_own_counts(database: Database) -> None:
    _write_all(database, CLEAN)
    compute(database, DateRange(DAYS[3], HISTORY.end))
    for row in (3, 9):
        changed = _with(row, open=ROWS[row].low)
        write(database, changed, _whole(DAY), CLEAN)
    # Correcting the third bar back is a change too.
    _require_doubt(database, ROWS[3].ts, first=DAYS[3])


def test_clean_bars_where_legacy_ones_were_read_count_from_the_first_bar_of_either(
    legacy: Database,
) -> None:
    write(legacy, ROWS[2:], _whole(DAY), CLEAN)
    _require_doubt(legacy, ROWS[0].ts)


def test_clean_bars_without_a_difference_count_as_well(legacy: Database) -> None:
    write(legacy, ROWS, _whole(DAY), CLEAN)
    _require_doubt(legacy, ROWS[0].ts)


def test_an_empty_date_that_is_read_from_another_table_is_in_doubt_alone(legacy: Database) -> None:
    saturday = date(2024, 1, 6)
    write(legacy, [], _whole(saturday), CLEAN)

    doubt = doubt_of(legacy)

    assert doubt is not None
    assert (doubt.first, doubt.last) == (saturday, saturday)
    assert (doubt.from_ns, doubt.reasons) == (
        midnight_ns(saturday),
        "bars are read from another table",
    )


def _break_off(database: Database, rows: list[Bar], table: BarsTable) -> None:
    """Write, as far as a run gets that is killed before it calls the date complete."""
    with psycopg.connect(database.url) as connection:
        connection.execute(
            """
            CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'broken off'; END $$;
            CREATE TRIGGER break_off BEFORE UPDATE ON bar_dates FOR EACH ROW
            WHEN (NEW.state = 'complete') EXECUTE FUNCTION break_off()
            """
        )
    with suppress(psycopg.errors.RaiseException):
        write(database, rows, _whole(DAY), table)
    with psycopg.connect(database.url) as connection:
        connection.execute("DROP FUNCTION break_off CASCADE")


@pytest.mark.parametrize(("left_over", "first"), [(ROWS, 0), (ROWS[5:], 2), ([], 2)])
def test_a_date_that_went_away_counts_from_the_first_bar_that_is_read_no_more(
    clean: Database, left_over: list[Bar], first: int
) -> None:
    write(clean, left_over, _whole(DAY), LEGACY)
    write(clean, ROWS[2:], _whole(DAY), CLEAN)
    refresh(clean)

    _break_off(clean, _with(9, open=ROWS[9].low), CLEAN)

    # Where legacy bars stand in, the first of them counts if it comes earlier.
    _require_doubt(clean, ROWS[first].ts)


def test_a_date_that_was_away_while_signals_were_computed_counts_from_its_first_bar(
    clean: Database,
) -> None:
    changed = _with(9, open=ROWS[9].low)
    _break_off(clean, changed, CLEAN)
    refresh(clean)

    write(clean, changed, _whole(DAY), CLEAN)

    _require_doubt(clean, ROWS[0].ts)


def test_a_date_without_a_signal_that_was_away_counts_from_its_first_bar_as_well(
    database: Database,
) -> None:
    _write_all(database, CLEAN)
    compute(database, DateRange(DAYS[3], HISTORY.end))
    changed = _with(9, open=ROWS[9].low)
    _break_off(database, changed, CLEAN)
    refresh(database)

    write(database, changed, _whole(DAY), CLEAN)

    _require_doubt(database, ROWS[0].ts, first=DAYS[3])


def test_a_broken_off_run_that_is_done_again_counts_from_the_changed_bar(clean: Database) -> None:
    changed = _with(9, open=ROWS[9].low)
    _break_off(clean, changed, CLEAN)

    write(clean, changed, _whole(DAY), CLEAN)

    _require_doubt(clean, ROWS[9].ts)


def test_a_date_whose_bars_are_found_broken_counts_from_its_first_bar(
    clean: Database, connection: Connection
) -> None:
    for asset in ("clean_bars", "legacy_bars"):
        connection.execute(
            "INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed) "
            "VALUES (%s, %s, %s, 'judged', 'ERROR', false)",
            (NQ, DAY, asset),
        )
        doubt = doubt_of(clean)
        assert doubt is not None
        assert (doubt.first, doubt.from_ns) == (DAY, ROWS[0].ts)
        refresh(clean)


def _other_rules(connection: Connection) -> None:
    registry.set_symbol(connection, NQ, {"higher_timeframe_anchor": "utc"})


def _other_code(connection: Connection) -> None:
    connection.execute("UPDATE signal_dates SET logic_version = '0'")


def _other_code_in_part(connection: Connection) -> None:
    connection.execute("UPDATE signal_dates SET logic_version = '0' WHERE date < %s", (LATER,))
    connection.execute("UPDATE bar_dates SET fingerprint = 7 WHERE date = %s", (LATER,))


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (_other_rules, "rules changed"),
        (_other_code, "the rules in the code changed"),
        (_other_code_in_part, f"{NOT_CHANGED}; the rules in the code changed"),
    ],
)
def test_other_rules_put_everything_in_doubt(
    clean: Database,
    connection: Connection,
    change: Callable[[Connection], None],
    reasons: str,
) -> None:
    change(connection)

    doubt = doubt_of(clean)

    assert doubt is not None
    assert doubt.reasons == reasons
    _require_doubt(clean, bars_of(FIRST, 1)[0].ts, first=FIRST)


def test_the_view_says_the_same_to_whoever_asks_the_database(
    clean: Database, connection: Connection
) -> None:
    write(clean, _with(7, open=ROWS[7].low), _whole(DAY), CLEAN)

    [(symbol, first, last, dates, reasons, from_ts)] = connection.execute(
        "SELECT * FROM signal_doubts"
    ).fetchall()

    [doubt] = doubts(connection)
    assert (symbol, first, last, dates, reasons) == (
        doubt.symbol, doubt.first, doubt.last, doubt.dates, doubt.reasons
    )  # fmt: skip
    assert date_of_ns(doubt.from_ns) == from_ts.date() == DAY


def test_another_symbol_is_not_in_doubt(clean: Database) -> None:
    other = "GLBX.MDP3:ES"
    _write_all(clean, CLEAN, other)
    compute(clean, HISTORY, other)

    write(clean, _with(7, open=ROWS[7].low), _whole(DAY), CLEAN)

    assert doubt_of(clean, other) is None
    assert doubt_of(clean) is not None
