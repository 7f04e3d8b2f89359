"""What checks say of each partition, and what a bad verdict keeps from everything downstream."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import numpy as np
import pytest

from trisignal_pipeline.judging import MOST_FAILURE_CASES
from trisignal_pipeline.market.bars import PRICE_UNIT, UNDEFINED_PRICE
from trisignal_pipeline.market.dates import NS_PER_SECOND, DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.pipeline import (
    ASSETS,
    BIAS,
    CHECKS,
    CHECKS_OF,
    CLEAN,
    LEGACY,
    RAW,
    TRIANGLES,
    Pipeline,
    open_pipeline,
)
from trisignal_pipeline_tests.sources.dbn_encoder import RecordArray
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    flat,
    write_day,
    write_days,
)

FRIDAY = MONDAY + timedelta(days=4)
DATES = DateRange(MONDAY, WEDNESDAY)
MANY_BAD = 30

MID_WEEK = {
    "OHLC_INTEGRITY": TUESDAY,
    "UNDEFINED_PRICE": WEDNESDAY,
    "NEGATIVE_PRICE": MONDAY + timedelta(days=3),
    "DUPLICATE_MINUTE": FRIDAY,
}
"""The day of the week on which deliveries break each rule."""

each_rule = pytest.mark.parametrize(("rule", "day"), MID_WEEK.items())


def _verdict(pipeline: Pipeline, asset: str, day: date) -> dg.AssetCheckEvaluation:
    return pipeline.evaluations(asset)[partition_key(NQ, day)]


def _bars_stored(pipeline: Pipeline, table: str = "market_bars_ohlcv_1m") -> dict[date, int]:
    stamp = "1 minute" if table == "market_bars_ohlcv_1m" else "0"
    with pipeline.database.connect("tests") as connection:
        found = connection.execute(
            f"SELECT ((ts - interval '{stamp}') AT TIME ZONE 'UTC')::date, count(*) "
            f"FROM {table} GROUP BY 1"
        )
        return dict(found.fetchall())


def _spoilt(rule: str, good: RecordArray) -> RecordArray:
    """`good` with bars from row ten on that break `rule`."""
    if rule == "OHLC_INTEGRITY":
        return changed(good, 10, high=good["low"][10] - 1)
    if rule == "UNDEFINED_PRICE":
        return changed(good, 10, **flat(UNDEFINED_PRICE))
    if rule == "NEGATIVE_PRICE":
        return changed(good, slice(10, 10 + MANY_BAD), **flat(-5 * PRICE_UNIT))
    return np.concatenate((good, good[10:11]))


@pytest.fixture(scope="module")
def after_a_bad_week(
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pipeline]:
    """Monday is good; each other day has bars that break one rule. Tests only read."""
    folder = tmp_path_factory.mktemp("week")
    with open_pipeline(server, migrated_template, dagster_template, folder) as pipeline:
        write_days(pipeline.raw, DateRange(MONDAY, FRIDAY))
        for rule, day in MID_WEEK.items():
            write_day(pipeline.raw, day, delivered=_spoilt(rule, bars(day)))
        pipeline.materialize(MONDAY, FRIDAY)
        yield pipeline


@each_rule
def test_rejected_bars_are_a_warning_with_counts_and_cases(
    after_a_bad_week: Pipeline, rule: str, day: date
) -> None:
    rejected = MANY_BAD if rule == "NEGATIVE_PRICE" else 1
    delivered = BARS + (rule == "DUPLICATE_MINUTE")

    verdict = _verdict(after_a_bad_week, LEGACY, day)

    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.WARN
    assert verdict.description == (
        f"{rejected} of {delivered} delivered bars were rejected; the others stand"
    )
    assert verdict.metadata["rows"].value == delivered
    assert verdict.metadata["failed"].value == rejected
    assert verdict.metadata["failed_by_rule"].value == {rule: rejected}
    shown = verdict.metadata["failure_cases"]
    assert isinstance(shown, dg.TableMetadataValue)
    cases = shown.records
    assert len(cases) == min(rejected, MOST_FAILURE_CASES)
    assert cases[0].data["ts"] == f"{day}T00:50:00Z"
    assert cases[0].data["broken"] == rule


@each_rule
def test_the_other_bars_of_a_date_with_rejects_are_stored_and_used(
    after_a_bad_week: Pipeline, rule: str, day: date
) -> None:
    kept = BARS - {"NEGATIVE_PRICE": MANY_BAD, "DUPLICATE_MINUTE": 0}.get(rule, 1)
    for table in ("market_bars_ohlcv_1m", "market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert _bars_stored(after_a_bad_week, table)[day] == kept
    for asset in (CLEAN, BIAS, TRIANGLES):
        assert _verdict(after_a_bad_week, asset, day).passed


@pytest.mark.parametrize("asset", ASSETS)
def test_a_good_date_passes_beside_bad_ones(after_a_bad_week: Pipeline, asset: str) -> None:
    assert set(after_a_bad_week.evaluations(asset)) == {
        partition_key(NQ, day) for day in DateRange(MONDAY, FRIDAY)
    }
    assert _verdict(after_a_bad_week, asset, MONDAY).passed


def test_the_audit_counts_rejects_by_rule(after_a_bad_week: Pipeline) -> None:
    legacy, clean = after_a_bad_week.query(
        """
        SELECT row_count, inserted_count, rejected_count, rejected_by_rule
        FROM data_ingest_runs ORDER BY id
        """
    )
    rejected = MANY_BAD + 3
    assert legacy == (
        5 * BARS + 1,
        5 * BARS + 1 - rejected,
        rejected,
        dict.fromkeys(MID_WEEK, 1) | {"NEGATIVE_PRICE": MANY_BAD},
    )
    assert clean == (5 * BARS + 1 - rejected, 5 * BARS + 1 - rejected, 0, {})


def test_verdicts_outlive_the_event_log(after_a_bad_week: Pipeline) -> None:
    kept = after_a_bad_week.query(
        """
        SELECT date, severity, passed, failed_count, jsonb_array_length(failure_cases)
        FROM data_quality_results WHERE asset = %s AND check_name = %s ORDER BY date
        """,
        LEGACY,
        CHECKS[LEGACY],
    )
    assert kept == [
        (MONDAY, "WARN", True, 0, 0),
        (TUESDAY, "WARN", False, 1, 1),
        (WEDNESDAY, "WARN", False, 1, 1),
        (MONDAY + timedelta(days=3), "WARN", False, MANY_BAD, MOST_FAILURE_CASES),
        (FRIDAY, "WARN", False, 1, 1),
    ]
    kept_checks = after_a_bad_week.value("SELECT count(*) FROM data_quality_results")
    assert kept_checks == 5 * sum(len(checks) for checks in CHECKS_OF.values())


def test_of_two_bars_for_one_minute_the_last_delivered_stands(pipeline: Pipeline) -> None:
    good = bars(MONDAY)
    first, last = good[10:11], changed(good[10:11], 0, volume=77)
    write_day(pipeline.raw, MONDAY, delivered=np.concatenate((good[:10], first, last, good[11:])))

    pipeline.materialize(MONDAY, MONDAY)

    minute = f"{MONDAY} 00:50Z"
    assert (
        pipeline.value("SELECT volume FROM market_bars_ohlcv_1m_clean WHERE ts = %s", minute) == 77
    )


def test_a_price_below_the_floor_is_delivered_but_not_believed(pipeline: Pipeline) -> None:
    write_day(pipeline.raw, MONDAY, delivered=changed(bars(MONDAY), 10, **flat(999 * PRICE_UNIT)))
    pipeline.materialize(MONDAY, MONDAY)

    assert _verdict(pipeline, LEGACY, MONDAY).passed
    verdict = _verdict(pipeline, CLEAN, MONDAY)
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert verdict.metadata["failed_by_rule"].value == {"PRICE_LT_1000": 1}
    compared = pipeline.evaluations(CLEAN, "agrees_with_legacy")[partition_key(NQ, MONDAY)]
    assert (compared.passed, compared.metadata["rows"].value) == (True, BARS - 1)
    assert _bars_stored(pipeline) == {MONDAY: BARS}
    assert _bars_stored(pipeline, "market_bars_ohlcv_1m_clean") == {MONDAY: BARS - 1}


def test_an_unaligned_minute_refuses_the_file_and_leaves_the_other_dates_alone(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    good = bars(TUESDAY)
    late = changed(good, 10, ts_event=good["ts_event"][10] + 30 * NS_PER_SECOND)
    write_day(pipeline.raw, TUESDAY, delivered=late)

    done = pipeline.backfill(MONDAY, WEDNESDAY)

    assert not done.succeeded
    assert done.failures == ()
    [problem] = done.problems
    assert (problem.dates, problem.refused) == (DateRange(TUESDAY, TUESDAY), True)
    assert f"nq-{TUESDAY:%Y%m%d}.ohlcv-1m.dbn.zst was refused: record 11 opens" in problem.reason
    assert "1-minute bars open on the minute" in problem.reason
    verdict = _verdict(pipeline, RAW, TUESDAY)
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.ERROR)
    for table in ("market_bars_ohlcv_1m", "market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert _bars_stored(pipeline, table) == {MONDAY: BARS, WEDNESDAY: BARS}


SPOIL = """
    CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.open = 9223372036.854775807; NEW.high = NEW.open;
        NEW.low = NEW.open; NEW.close = NEW.open;
        RETURN NEW;
    END $$;
"""


def _spoil_tuesday_afternoon(pipeline: Pipeline, table: str, stamp: str) -> None:
    """A fault of the database's own: what it keeps of thirteen bars is not what it was given."""
    pipeline.query(SPOIL)
    pipeline.query(
        f"CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW WHEN ("
        f"NEW.ts BETWEEN '{TUESDAY} 12:00Z'::timestamptz + interval '{stamp}' "
        f"AND '{TUESDAY} 13:00Z'::timestamptz + interval '{stamp}') EXECUTE FUNCTION spoil()"
    )


def _heal(pipeline: Pipeline) -> None:
    pipeline.query("DROP FUNCTION spoil CASCADE")


def _assert_stored_bars_are_called_broken(pipeline: Pipeline, asset: str) -> None:
    verdict = _verdict(pipeline, asset, TUESDAY)
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"13 of {BARS} stored bars are broken" in str(verdict.description)
    assert verdict.metadata["failed_by_rule"].value == {"UNDEFINED_PRICE": 13}
    for day in (MONDAY, WEDNESDAY):
        assert _verdict(pipeline, asset, day).passed


def test_a_date_whose_stored_legacy_bars_are_broken_is_kept_from_everything_downstream(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, DATES)
    _spoil_tuesday_afternoon(pipeline, "market_bars_ohlcv_1m", "1 minute")

    run = pipeline.materialize(MONDAY, WEDNESDAY)

    assert run.success, "one bad date must not stop the others"
    _assert_stored_bars_are_called_broken(pipeline, LEGACY)
    passed_over = _verdict(pipeline, CLEAN, TUESDAY)
    assert "its legacy bars are broken (legacy_bar_schema)" in str(passed_over.description)
    for downstream in (CLEAN, BIAS, TRIANGLES):
        of_date = _verdict(pipeline, downstream, TUESDAY)
        assert (of_date.passed, of_date.severity) == (False, dg.AssetCheckSeverity.WARN)
    for table in ("market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert _bars_stored(pipeline, table) == {MONDAY: BARS, WEDNESDAY: BARS}

    _heal(pipeline)
    pipeline.materialize(MONDAY, WEDNESDAY)

    for table in ("market_bars_ohlcv_1m_clean", "bias_series_1m_v1"):
        assert _bars_stored(pipeline, table) == dict.fromkeys(DATES, BARS)
    for asset in ASSETS:
        assert all(verdict.passed for verdict in pipeline.evaluations(asset).values())


def test_the_signal_reads_no_clean_bars_that_are_stored_broken(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    _spoil_tuesday_afternoon(pipeline, "market_bars_ohlcv_1m_clean", "0 minutes")

    run = pipeline.materialize(MONDAY, WEDNESDAY)

    assert run.success
    _assert_stored_bars_are_called_broken(pipeline, CLEAN)
    assert _bars_stored(pipeline, "bias_series_1m_v1") == dict.fromkeys(DATES, BARS)
    read_from = pipeline.query("SELECT date, source_table FROM signal_dates ORDER BY date")
    assert read_from == [
        (MONDAY, "market_bars_ohlcv_1m_clean"),
        (TUESDAY, "market_bars_ohlcv_1m"),
        (WEDNESDAY, "market_bars_ohlcv_1m_clean"),
    ]
    _heal(pipeline)
    pipeline.materialize(MONDAY, WEDNESDAY)
    assert pipeline.query("SELECT DISTINCT source_table FROM bias_series_1m_v1") == [
        ("market_bars_ohlcv_1m_clean",)
    ]
