"""Verdicts: the latest one of each check on each date, and which dates they close."""

from __future__ import annotations

from datetime import timedelta

from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.verdicts import DateVerdict, broken_dates, record_verdicts
from trisignal_pipeline_tests.storage.stored_bars import DAY, NQ, all_rows, days_from

NEXT = DAY + timedelta(days=1)
DATES = days_from(DAY, 2)
GOOD = Verdict(rows=100, failed=0)
BAD = Verdict(100, 2, {"OHLC_INTEGRITY": 2}, ({"ts": "2024-06-17T00:00:00Z", "high": "'1\"é"},))


def _verdict(
    verdict: Verdict = BAD,
    *,
    blocking: bool = True,
    check: str = "legacy_bar_schema",
    asset: str = "legacy_bars",
    symbol: str = NQ,
) -> DateVerdict:
    return DateVerdict(symbol, DAY, asset, check, "in words", verdict, blocking)


def test_a_verdict_is_kept_whole(connection: Connection, database: Database) -> None:
    record_verdicts(connection, [_verdict()], "run-1")

    assert all_rows(
        database.url,
        "SELECT symbol, date, asset, check_name, severity, passed, row_count, failed_count, "
        "description, failure_cases, dagster_run_id FROM data_quality_results",
    ) == [
        (
            NQ,
            DAY,
            "legacy_bars",
            "legacy_bar_schema",
            "ERROR",
            False,
            100,
            2,
            "in words",
            list(BAD.cases),
            "run-1",
        )
    ]


def test_the_latest_verdict_stands(connection: Connection, database: Database) -> None:
    record_verdicts(connection, [_verdict(), _verdict(check="another")], "run-1")
    record_verdicts(connection, [_verdict(GOOD, blocking=False)], None)

    assert all_rows(
        database.url,
        "SELECT check_name, severity, passed, dagster_run_id, failure_cases "
        "FROM data_quality_results ORDER BY check_name DESC",
    ) == [
        ("legacy_bar_schema", "WARN", True, None, []),
        ("another", "ERROR", False, "run-1", list(BAD.cases)),
    ]


def test_a_date_is_broken_by_a_blocking_failure_alone(connection: Connection) -> None:
    record_verdicts(connection, [_verdict(), _verdict(check="gaps")], None)
    assert broken_dates(connection, NQ, "legacy_bars", DATES) == {DAY: "gaps, legacy_bar_schema"}

    record_verdicts(connection, [_verdict(GOOD)], None)
    assert broken_dates(connection, NQ, "legacy_bars", DATES) == {DAY: "gaps"}

    record_verdicts(connection, [_verdict(blocking=False, check="gaps")], None)
    assert broken_dates(connection, NQ, "legacy_bars", DATES) == {}


def test_a_verdict_is_of_one_symbol_asset_and_date(connection: Connection) -> None:
    record_verdicts(connection, [_verdict()], None)

    assert broken_dates(connection, "GLBX.MDP3:ES", "legacy_bars", DATES) == {}
    assert broken_dates(connection, NQ, "clean_bars", DATES) == {}
    assert broken_dates(connection, NQ, "legacy_bars", DateRange(NEXT, NEXT)) == {}


def test_no_verdicts_are_recorded_without_a_word(connection: Connection) -> None:
    record_verdicts(connection, [], "run-1")
