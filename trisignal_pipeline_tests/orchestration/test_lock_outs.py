"""Legacy bars kept from the signal by hygiene rules for too long are an alarm, not silence."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.orchestration.range_run import RangeRun
from trisignal_pipeline_tests.pipeline import (
    BIAS,
    CHECKS,
    CLEAN,
    LEGACY,
    RAW,
    TRIANGLES,
    Pipeline,
)
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

FAR = flat(15_000 * PRICE_UNIT)
"""Five thousand points below where the market trades."""


def _write_far(
    pipeline: Pipeline, day: date, rows: slice, month: str = "U4", **prices: int
) -> None:
    """A day on which the market seems to trade elsewhere for some of its bars."""
    delivered = changed(bars(day), rows, **(prices or dict(FAR)))
    write_day(pipeline.raw, day, delivered=delivered, month=month)


def _compute(pipeline: Pipeline, first: date, last: date) -> RangeRun:
    """Signals from legacy bars."""
    return pipeline.materialize(first, last, [RAW, LEGACY, BIAS, TRIANGLES])


def _verdict(pipeline: Pipeline, day: date) -> dg.AssetCheckEvaluation:
    return pipeline.evaluations(BIAS)[partition_key(NQ, day)]


def _recorded(pipeline: Pipeline, day: date) -> tuple[Any, ...]:
    [row] = pipeline.query(
        "SELECT locked_out, longest_lock_out, locked_out_since::text, locked_out_by "
        "FROM signal_dates WHERE date = %s",
        day,
    )
    return row


def _alarms(pipeline: Pipeline, run: RangeRun) -> list[str]:
    return [line for line in pipeline.warnings(run.run_id) if "hygiene rules" in line]


def test_more_than_thirty_in_a_row_are_an_alarm_with_the_first_minute_and_the_rule(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, [MONDAY])
    _write_far(pipeline, TUESDAY, slice(100, 131))

    run = _compute(pipeline, MONDAY, TUESDAY)

    words = (
        f"the hygiene rules rejected 31 legacy bars in a row since {TUESDAY}T08:20:00Z, the first "
        "by DISCONTINUITY_500"
    )
    assert run.success
    verdict = _verdict(pipeline, TUESDAY)
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert verdict.description == words
    assert verdict.metadata["failed_by_rule"].value == {"LOCKED_OUT by DISCONTINUITY_500": 31}
    assert _alarms(pipeline, run) == [f"{NQ} {TUESDAY}: {words}"]
    assert _verdict(pipeline, MONDAY).passed
    every_bar = pipeline.evaluations(BIAS, "bias_on_every_bar")[partition_key(NQ, TUESDAY)]
    assert (every_bar.passed, every_bar.metadata["rows"].value) == (True, BARS - 31)
    [kept] = pipeline.query(
        "SELECT passed, severity, description FROM data_quality_results "
        "WHERE date = %s AND asset = %s AND check_name = %s",
        TUESDAY,
        BIAS,
        CHECKS[BIAS],
    )
    assert kept == (False, "WARN", words)
    # A warning keeps nothing from what follows.
    assert pipeline.value("SELECT count(*) FROM bias_series_1m_v1") == 2 * BARS - 31


def test_status_tells_how_many_bars_are_locked_out(pipeline: Pipeline) -> None:
    _write_far(pipeline, MONDAY, slice(50, 55))
    _compute(pipeline, MONDAY, MONDAY)

    shown = CliRunner().invoke(trisignal, ["status", "--format", "csv"]).output.splitlines()

    names = shown[0].split(",")
    [nq] = [line.split(",") for line in shown if line.startswith(NQ)]
    assert nq[names.index("locked_out_bars")] == "5"
    assert nq[names.index("legacy_bars")] == str(BARS)


def test_thirty_in_a_row_are_none_and_several_runs_do_not_add_up(pipeline: Pipeline) -> None:
    delivered = bars(MONDAY)
    for rows in (slice(20, 50), slice(51, 81), slice(100, 120)):
        delivered = changed(delivered, rows, **FAR)
    write_day(pipeline.raw, MONDAY, delivered=delivered)

    run = _compute(pipeline, MONDAY, MONDAY)

    assert _verdict(pipeline, MONDAY).passed
    assert _alarms(pipeline, run) == []
    assert _recorded(pipeline, MONDAY) == (
        80, 30, f"{MONDAY} 01:40:00+00", "DISCONTINUITY_500"
    )  # fmt: skip


@pytest.mark.parametrize(("minutes", "alarm"), [(4, True), (5, False)])
def test_how_many_are_an_alarm_is_in_the_registry(
    pipeline: Pipeline, minutes: int, alarm: bool
) -> None:
    pipeline.set(lockout_alarm_minutes=minutes)
    _write_far(pipeline, MONDAY, slice(50, 55))

    run = _compute(pipeline, MONDAY, MONDAY)

    assert _verdict(pipeline, MONDAY).passed is not alarm
    assert bool(_alarms(pipeline, run)) is alarm


@pytest.mark.parametrize(
    ("setting", "locked_out"),
    [
        ({}, (276 - 100, "SMALL_RANGE_BIG_GAP_150")),
        ({"big_gap_points": 250}, (276 - 100, "FLAT_DISCONTINUITY_50")),
        ({"big_gap_points": 250, "flat_discontinuity_points": 250}, (0, None)),
        ({"big_gap_points": None, "flat_discontinuity_points": None}, (0, None)),
        ({"price_floor": 1_000_000}, (276, "PRICE_LT_1000")),
    ],
)
def test_the_thresholds_are_in_the_registry(
    pipeline: Pipeline, setting: dict[str, Any], locked_out: tuple[int, str | None]
) -> None:
    made = bars(MONDAY)
    beyond = int(made["close"][99]) + 200 * PRICE_UNIT
    pipeline.set(**setting)
    _write_far(pipeline, MONDAY, slice(100, None), **flat(beyond))

    _compute(pipeline, MONDAY, MONDAY)

    out, longest, _, rule = _recorded(pipeline, MONDAY)
    assert (out, rule) == locked_out
    assert longest == out


def test_a_lock_out_counts_on_across_midnight(pipeline: Pipeline) -> None:
    _write_far(pipeline, MONDAY, slice(BARS - 20, None))
    _write_far(pipeline, TUESDAY, slice(0, 20))

    run = _compute(pipeline, MONDAY, TUESDAY)

    since = f"{MONDAY} 22:20:00+00"
    assert _verdict(pipeline, MONDAY).passed
    assert _recorded(pipeline, MONDAY) == (20, 20, since, "DISCONTINUITY_500")
    assert not _verdict(pipeline, TUESDAY).passed
    assert _recorded(pipeline, TUESDAY) == (20, 40, since, "DISCONTINUITY_500")
    [alarm] = _alarms(pipeline, run)
    assert alarm == (
        f"{NQ} {TUESDAY}: the hygiene rules rejected 40 legacy bars in a row since "
        f"{MONDAY}T22:20:00Z, the first by DISCONTINUITY_500"
    )


def test_a_lock_out_counts_on_in_a_later_run(pipeline: Pipeline) -> None:
    _write_far(pipeline, MONDAY, slice(BARS - 20, None))
    _write_far(pipeline, TUESDAY, slice(0, 20))

    _compute(pipeline, MONDAY, MONDAY)
    _compute(pipeline, TUESDAY, TUESDAY)

    assert _recorded(pipeline, TUESDAY)[:3] == (20, 40, f"{MONDAY} 22:20:00+00")


def test_a_market_that_stays_away_is_locked_out_until_its_contract_changes(
    pipeline: Pipeline,
) -> None:
    write_days(pipeline.raw, [MONDAY])
    _write_far(pipeline, TUESDAY, slice(None))
    _write_far(pipeline, WEDNESDAY, slice(None), month="Z4")

    run = _compute(pipeline, MONDAY, WEDNESDAY)

    assert _recorded(pipeline, TUESDAY)[:2] == (BARS, BARS)
    assert _recorded(pipeline, WEDNESDAY) == (0, 0, None, None)
    assert len(_alarms(pipeline, run)) == 1
    days = pipeline.query(
        "SELECT (ts AT TIME ZONE 'UTC')::date, count(*) FROM bias_series_1m_v1 GROUP BY 1 "
        "ORDER BY 1"
    )
    assert days == [(MONDAY, BARS), (WEDNESDAY, BARS)]


def test_clean_bars_lock_nothing_out(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, [MONDAY])
    _write_far(pipeline, TUESDAY, slice(100, None))
    run = pipeline.materialize(MONDAY, TUESDAY, [RAW, LEGACY, CLEAN, BIAS, TRIANGLES])

    assert _recorded(pipeline, TUESDAY) == (0, 0, None, None)
    assert _verdict(pipeline, TUESDAY).passed
    assert _alarms(pipeline, run) == []
