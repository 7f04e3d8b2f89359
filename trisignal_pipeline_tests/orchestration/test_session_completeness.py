"""What is said of how complete a date is: by the check, with the partition, on the command line."""

from __future__ import annotations

from datetime import date

import dagster as dg
import numpy as np

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.orchestration.session_completeness import CHECK
from trisignal_pipeline_tests.pipeline import ASSETS, CLEAN, Pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    SATURDAY,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    flat,
    write_day,
)

BARS_ASSETS = ASSETS[:3]


def _verdict(pipeline: Pipeline, day: date, check: str = CHECK) -> dg.AssetCheckEvaluation:
    return pipeline.evaluations(CLEAN, check)[partition_key(NQ, day)]


def test_a_gap_that_nothing_explains_is_a_warning_and_the_bars_stand(pipeline: Pipeline) -> None:
    whole = bars(MONDAY)
    write_day(pipeline.raw, MONDAY, delivered=np.concatenate((whole[:100], whole[160:])))
    write_day(pipeline.raw, TUESDAY)

    pipeline.materialize(MONDAY, TUESDAY, BARS_ASSETS)

    verdict = _verdict(pipeline, MONDAY)
    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.WARN
    assert verdict.metadata["failed_by_rule"].value == {"SUSPICIOUS_GAP": 304}
    assert verdict.description == (
        f"{BARS - 60} of 1380 minutes on which the market was open have a bar; 304 minutes are "
        f"missing without a lull that explains it, the first {MONDAY}T08:16:00Z"
    )
    assert _verdict(pipeline, TUESDAY).passed
    metadata = pipeline.materializations(CLEAN)[partition_key(NQ, MONDAY)].metadata
    assert metadata["suspicious_minutes"].value == metadata["longest_gap"].value == 304
    assert metadata["no_trade_minutes"].value == 1380 - (BARS - 60) - 304
    assert pipeline.value("SELECT count(*) FROM market_bars_ohlcv_1m_clean") == 2 * BARS - 60


def test_a_rejected_bar_is_told_from_a_missing_one(pipeline: Pipeline) -> None:
    spoilt = changed(bars(MONDAY), slice(10, 12), **flat(5 * PRICE_UNIT))
    write_day(pipeline.raw, MONDAY, delivered=changed(spoilt, 20, high=0))

    pipeline.materialize(MONDAY, MONDAY, BARS_ASSETS)

    gaps = pipeline.query(
        "SELECT to_char(ts AT TIME ZONE 'UTC', 'HH24:MI'), minutes FROM session_gaps "
        "WHERE kind = 'rejected' ORDER BY ts"
    )
    # Two below the floor, kept from the clean table, and one that was never a bar.
    assert gaps == [("00:50", 1), ("00:55", 1), ("01:40", 1)]
    assert "3 minutes have rejected bars only" in str(_verdict(pipeline, MONDAY).description)


def test_prices_off_the_tick_are_flagged_and_stand(pipeline: Pipeline) -> None:
    good = bars(MONDAY)
    off = changed(good, 10, high=good["high"][10] + PRICE_UNIT // 10)
    write_day(pipeline.raw, MONDAY, delivered=off)

    pipeline.materialize(MONDAY, MONDAY, BARS_ASSETS)

    verdict = _verdict(pipeline, MONDAY, "clean_bar_schema")
    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity.WARN
    assert verdict.description == (
        f"all {BARS} bars are what they must be; 1 of them are off the tick and stand"
    )
    assert verdict.metadata["failed_by_rule"].value == {"OFF_TICK": 1}
    cases = verdict.metadata["failure_cases"]
    assert isinstance(cases, dg.TableMetadataValue)
    [case] = cases.records
    assert case.data["ts"] == f"{MONDAY}T00:50:00Z"
    assert case.data["nearest_ticks"] == f"high {good['high'][10] / PRICE_UNIT:.9g}"
    assert pipeline.value("SELECT off_tick_count FROM bar_dates WHERE layer = 'clean'") == 1
    assert pipeline.value("SELECT count(*) FROM market_bars_ohlcv_1m_clean") == BARS


def test_without_a_tick_nothing_is_flagged_and_the_partition_says_so(pipeline: Pipeline) -> None:
    pipeline.set(tick_size=None)
    good = bars(MONDAY)
    write_day(pipeline.raw, MONDAY, delivered=changed(good, 10, high=good["high"][10] + 1))

    pipeline.materialize(MONDAY, MONDAY, BARS_ASSETS)

    assert _verdict(pipeline, MONDAY, "clean_bar_schema").passed
    said = pipeline.materializations(CLEAN)[partition_key(NQ, MONDAY)].metadata["off_tick"].value
    assert said == "not checked: the registry has no tick_size"


def test_a_trading_day_without_bars_is_a_warning_and_a_closed_one_is_not(
    pipeline: Pipeline,
) -> None:
    write_day(pipeline.raw, MONDAY)
    write_day(pipeline.raw, WEDNESDAY, delivered=bars(WEDNESDAY)[:0])
    write_day(pipeline.raw, SATURDAY, delivered=bars(SATURDAY)[:0])

    pipeline.materialize(MONDAY, SATURDAY, BARS_ASSETS)

    empty = _verdict(pipeline, WEDNESDAY)
    assert not empty.passed
    assert empty.metadata["failed_by_rule"].value == {"EMPTY_ON_A_TRADING_DAY": 1380}
    assert not _verdict(pipeline, TUESDAY).passed, "no file covers it"
    assert _verdict(pipeline, SATURDAY).passed


def test_bars_outside_of_any_session_are_flagged(pipeline: Pipeline) -> None:
    write_day(pipeline.raw, SATURDAY)

    pipeline.materialize(SATURDAY, SATURDAY, BARS_ASSETS)

    verdict = _verdict(pipeline, SATURDAY)
    assert verdict.metadata["failed_by_rule"].value == {"OUTSIDE_OF_SESSIONS": BARS}
    assert verdict.description == (
        f"the market was closed all day; {BARS} bars lie outside of the sessions"
    )


def test_a_market_whose_hours_were_not_checked_is_not_blamed_for_its_edges(
    pipeline: Pipeline,
) -> None:
    pipeline.query("UPDATE symbol_registry SET asset_class = 'metal_future'")
    day = bars(MONDAY)
    write_day(pipeline.raw, MONDAY, delivered=day[24:])
    write_day(pipeline.raw, SATURDAY)
    inside = bars(TUESDAY)
    write_day(pipeline.raw, TUESDAY, delivered=np.concatenate((inside[:100], inside[160:])))
    late = bars(WEDNESDAY)
    write_day(pipeline.raw, WEDNESDAY, delivered=late[: len(late) - 60])

    pipeline.materialize(MONDAY, SATURDAY, BARS_ASSETS)

    assert _verdict(pipeline, SATURDAY).passed
    assert _verdict(pipeline, WEDNESDAY).passed
    assert not _verdict(pipeline, TUESDAY).passed, "in mid-session no other hours explain it"
    assert "were not checked for this market" in str(_verdict(pipeline, WEDNESDAY).description)
