"""What is said of each date: what it holds, whether it is finished, and a print of its bars."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.storage.bar_dates import (
    BarDate,
    complete_dates,
    dates_from,
    describe_dates,
    fingerprint,
    mark_complete,
    mark_writing,
)
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    all_rows,
    bar,
    columns,
    days_from,
    moment,
    whole_bars,
)

DATES = days_from(DAY, 3)
made = whole_bars(list(DATES), (0, 1, 1439))


@given(made, made)
def test_each_date_is_described_by_its_own_bars(accepted: list[Bar], rejected: list[Bar]) -> None:
    described = describe_dates("legacy", DATES, columns(accepted), columns(reversed(rejected)))

    for day, found in zip(DATES, described, strict=True):
        of_day = [row for row in accepted if date_of_ns(row.ts) == day]
        assert found == BarDate(
            date=day,
            bar_count=len(of_day),
            rejected_count=sum(date_of_ns(row.ts) == day for row in rejected),
            contract=", ".join(dict.fromkeys(row.contract for row in of_day)) or None,
            first_ns=of_day[0].ts if of_day else None,
            last_ns=of_day[-1].ts if of_day else None,
            fingerprint=fingerprint("legacy", columns(of_day)),
        )


@given(made, made)
def test_a_fingerprint_tells_bars_apart_but_not_their_volume(
    some: list[Bar], others: list[Bar]
) -> None:
    visible = [row._replace(volume=0) for row in some] == [row._replace(volume=0) for row in others]

    same = fingerprint("clean", columns(some)) == fingerprint("clean", columns(others))

    assert same == visible


@pytest.mark.parametrize("column", ["ts", "open", "high", "low", "close", "contract"])
def test_every_column_the_signal_sees_is_in_the_fingerprint(column: str) -> None:
    rows = [bar(0), bar(1), bar(2)]
    value: Any = "NQU4" if column == "contract" else getattr(rows[1], column) + 1

    changed = [rows[0], rows[1]._replace(**{column: value}), rows[2]]

    assert fingerprint("legacy", columns(rows)) != fingerprint("legacy", columns(changed))


def test_the_layer_is_in_the_fingerprint() -> None:
    rows = columns([bar(0)])

    assert fingerprint("legacy", rows) != fingerprint("clean", rows)


def test_no_bars_have_the_fingerprint_zero() -> None:
    assert fingerprint("legacy", Bars.empty()) == fingerprint("clean", Bars.empty()) == 0


def test_a_fingerprint_depends_on_names_and_not_on_their_codes() -> None:
    rows = columns([bar(0), bar(1, contract="NQU4")])
    recoded = Bars(
        rows.ts, rows.open, rows.high, rows.low, rows.close, rows.volume,
        np.array([2, 1], np.int32), ("NQZ4", "NQU4", "NQM4"),
    )  # fmt: skip

    assert fingerprint("legacy", rows) == fingerprint("legacy", recoded)


@settings(max_examples=20)
@given(made)
def test_a_fingerprint_fits_its_column(rows: list[Bar]) -> None:
    assert -(2**63) <= fingerprint("legacy", columns(rows)) < 2**63


def _described(rows: list[Bar]) -> list[BarDate]:
    return describe_dates("legacy", DATES, columns(rows), Bars.empty())


def test_a_date_is_there_once_it_is_complete(connection: Connection) -> None:
    described = _described([bar(0), bar(1), bar(0, day=DAY + timedelta(days=2))])

    mark_writing(connection, NQ, "legacy", list(DATES), moment(0))
    assert complete_dates(connection, NQ, "legacy", DATES) == {}
    mark_complete(connection, NQ, "legacy", described[:2], run_id=1, source="dbn_files")

    assert complete_dates(connection, NQ, "legacy", DATES) == {
        day.date: day for day in described[:2]
    }
    assert complete_dates(connection, NQ, "clean", DATES) == {}
    assert complete_dates(connection, "GLBX.MDP3:ES", "legacy", DATES) == {}
    assert complete_dates(connection, NQ, "legacy", DateRange(DAY, DAY)) == {DAY: described[0]}


def test_a_date_that_is_changed_again_is_not_there_meanwhile(connection: Connection) -> None:
    described = _described([bar(0)])
    mark_complete(connection, NQ, "legacy", described, run_id=1, source="dbn_files")

    mark_writing(connection, NQ, "legacy", [DAY], moment(0))

    assert list(complete_dates(connection, NQ, "legacy", DATES)) == list(DATES)[1:]


def _stored(database: Database) -> list[tuple[object, ...]]:
    return all_rows(
        database.url,
        "SELECT date, bar_count, ingestion_run_id, completed_at, fingerprint FROM bar_dates "
        "ORDER BY date",
    )


def test_only_dates_that_differ_get_a_new_time_and_run(
    connection: Connection, database: Database
) -> None:
    mark_complete(connection, NQ, "legacy", _described([bar(0)]), run_id=1, source="dbn_files")
    before = _stored(database)

    mark_complete(
        connection, NQ, "legacy", _described([bar(0), bar(1)]), run_id=2, source="dbn_files"
    )

    after = _stored(database)
    assert after[1:] == before[1:]
    assert after[0][:3] == (DAY, 2, 2)
    assert str(after[0][3]) > str(before[0][3])


def test_a_date_that_was_being_written_gets_the_new_run(
    connection: Connection, database: Database
) -> None:
    mark_complete(connection, NQ, "legacy", _described([bar(0)]), run_id=1, source="dbn_files")
    mark_writing(connection, NQ, "legacy", [date(2024, 6, 18)], moment(0))

    mark_complete(connection, NQ, "legacy", _described([bar(0)]), run_id=2, source="dbn_files")

    assert [row[2] for row in _stored(database)] == [1, 2, 1]


def test_a_date_keeps_its_source_until_it_is_completed_from_another(
    connection: Connection,
) -> None:
    def of_api() -> set[date]:
        return dates_from(connection, NQ, "clean", "databento_api", DATES)

    described = describe_dates("clean", DATES, columns([bar(0)]), Bars.empty())
    mark_complete(connection, NQ, "clean", described[:2], run_id=1, source="databento_api")
    mark_complete(connection, NQ, "clean", described[2:], run_id=1, source="legacy")
    assert of_api() == set(list(DATES)[:2])

    mark_writing(connection, NQ, "clean", [DAY], moment(0))
    assert of_api() == set(list(DATES)[:2])

    mark_complete(connection, NQ, "clean", described[:1], run_id=2, source="legacy")
    assert of_api() == {list(DATES)[1]}
