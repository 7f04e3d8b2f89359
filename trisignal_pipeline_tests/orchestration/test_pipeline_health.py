"""The asset that measures the pipeline's health, its limits, and the schedules around it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.assets.pipeline_health import LIMITS, NAME, Limits
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.health_schedule import cron, health_every
from trisignal_pipeline.storage.years import partitions
from trisignal_pipeline_tests.pipeline import LEGACY, Pipeline
from trisignal_pipeline_tests.storage.stored_bars import all_rows, by_hand
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, write_days


def measure(pipeline: Pipeline, **limits: float) -> dg.ExecuteInProcessResult:
    with pipeline.instance() as instance:
        return defs.resolve_job_def("measure_health").execute_in_process(
            instance=instance,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {NAME: {"config": limits}},
            },
        )


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def plotted(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node(NAME)
    return {name: value.value for name, value in event.metadata.items()}


@pytest.fixture
def stored(pipeline: Pipeline) -> Pipeline:
    write_days(pipeline.raw, DateRange(MONDAY, TUESDAY))
    pipeline.materialize(MONDAY, TUESDAY)
    return pipeline


def test_figures_are_kept_shown_and_held_against_limits(stored: Pipeline) -> None:
    result = measure(stored, least_disk_free=0)

    found = verdicts(result)
    assert set(found) == {limit.check for limit in LIMITS}
    assert all(one.severity == dg.AssetCheckSeverity.WARN for one in found.values())
    # Bars of 2024 are not fresh; all else is as it should be.
    assert [name for name, one in found.items() if not one.passed] == ["bars_are_fresh"]
    assert f"{NQ}: " in str(found["bars_are_fresh"].description)
    assert "at most 2760 is healthy" in str(found["bars_are_fresh"].description)
    assert found["growth_is_bounded"].description == "there is nothing to measure"
    numbers = plotted(result)
    assert all(isinstance(value, (int, float)) for value in numbers.values())
    assert numbers[f"in_doubt_ratio {NQ}"] == 0
    assert numbers["ingest_success_ratio"] == 1
    assert numbers["table_bytes of all tables"] > 100_000
    assert (
        numbers["figures"]
        == all_rows(stored.database.url, "SELECT count(*) FROM health_figures")[0][0]
    )


def test_growth_is_measured_from_the_second_time_on(stored: Pipeline) -> None:
    measure(stored)
    by_hand(
        stored.database.url,
        "UPDATE health_figures SET measured_at = measured_at - interval '1 day', value = 0 "
        "WHERE figure IN ('table_bytes', 'index_bytes')",
    )

    result = measure(stored, most_growth_gigabytes_a_day=1e-6)

    assert not verdicts(result)["growth_is_bounded"].passed
    assert plotted(result)["growth_a_day_bytes of all tables"] == pytest.approx(
        plotted(result)["table_bytes of all tables"] + plotted(result)["index_bytes of all tables"],
        rel=0.01,
    )


@pytest.mark.parametrize(
    ("check", "limit", "value"),
    [
        ("disks_have_room", "least_disk_free", 1.0),
        ("connections_are_left", "most_connections", 0.0),
    ],
)
def test_limits_are_run_config(pipeline: Pipeline, check: str, limit: str, value: float) -> None:
    assert not verdicts(measure(pipeline, **{limit: value}))[check].passed


def test_failures_doubt_and_rejects_break_their_limits(stored: Pipeline) -> None:
    by_hand(
        stored.database.url,
        "UPDATE data_ingest_runs SET status = 'failed' WHERE id = 1; "
        "INSERT INTO data_ingest_runs (status) VALUES ('running'); "
        "UPDATE signal_dates SET logic_version = '0'; "
        "UPDATE bar_dates SET rejected_count = bar_count WHERE layer = 'clean'",
    )
    # The run that measures is a start, too, and a start closes what the last end left.
    found = verdicts(measure(stored))

    failed = {name for name, one in found.items() if not one.passed} - {"disks_have_room"}
    assert failed == {
        "bars_are_fresh", "ingestion_succeeds", "little_is_in_doubt", "little_is_quarantined",
    }  # fmt: skip
    assert found["little_is_quarantined"].description == (
        f"clean {NQ}: 0.5, where at most 0.01 is healthy"
    )
    assert found["no_run_is_stale"].passed


def test_the_coming_year_is_ready(pipeline: Pipeline) -> None:
    measure(pipeline)

    year = datetime.now(UTC).year
    with pipeline.database.reading().connect("test") as connection:
        found = [one for one in partitions(connection) if one.is_of(year + 1)]
    assert len(found) == 3


def test_every_limit_is_described_and_has_a_default() -> None:
    fields = Limits.model_fields
    assert all(field.description and field.default is not None for field in fields.values())
    assert len(fields) == len(LIMITS)
    with pytest.raises(ValueError, match="least_disk_free"):
        Limits(least_disk_free=1.5)


def test_the_asset_stands_apart_from_the_runs_over_dates(stored: Pipeline) -> None:
    asset = defs.resolve_asset_graph().get(dg.AssetKey(NAME))
    assert asset.partitions_def is None
    assert asset.group_name == "operations"
    assert asset.owners
    assert asset.kinds
    assert NAME not in {
        key.to_user_string()
        for job in ("daily_bars", "refresh_signals", "follow_lead_contract")
        for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys
    }
    assert set(stored.materializations(LEGACY)) == {f"2024-06-{day}|{NQ}" for day in (24, 25)}


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("15m", "*/15 * * * *"),
        ("60m", "7 */1 * * *"),
        ("1h", "7 */1 * * *"),
        ("6h", "7 */6 * * *"),
        ("24h", "7 0 * * *"),
    ],
)
def test_health_is_measured_as_often_as_is_said(every: str, expected: str) -> None:
    assert health_every({"TRISIGNAL_HEALTH_EVERY": every}) == every
    assert cron(every) == expected


@pytest.mark.parametrize("every", ["7m", "5h", "0m", "1d", "hourly", "90m", "1 h"])
def test_what_no_clock_can_do_evenly_is_refused(every: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TRISIGNAL_HEALTH_EVERY is .*such as 15m, 1h"):
        health_every({"TRISIGNAL_HEALTH_EVERY": every})
    assert health_every({"TRISIGNAL_HEALTH_EVERY": ""}) is None


STATES = (
    "from trisignal_pipeline.orchestration.definitions import defs; "
    "print([(s.name, s.default_status.value) for s in defs.schedules])"
)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("STOPPED", "STOPPED")),
        (
            {"TRISIGNAL_HEALTH_EVERY": "1h", "TRISIGNAL_KEEP_HEALTH_DAYS": "90"},
            ("RUNNING", "RUNNING"),
        ),
    ],
)
def test_schedules_run_where_settings_ask_for_them(
    environment: dict[str, str], expected: tuple[str, str]
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", STATES],
        env={"PATH": "/usr/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name, state in zip(("health_is_measured", "housekeeping_is_done"), expected, strict=True):
        assert f"('{name}', '{state}')" in said


def test_the_housekeeping_job_deletes_what_is_set_and_nothing_else(
    stored: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(stored)
    by_hand(stored.database.url, "UPDATE health_figures SET measured_at = '2020-01-01'")
    job = defs.resolve_job_def("housekeeping")

    def keep_house() -> dict[str, Any]:
        with stored.instance() as instance:
            result = job.execute_in_process(
                instance=instance,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        [output] = [event for event in result.all_events if event.is_successful_output]
        return {name: value.value for name, value in output.step_output_data.metadata.items()}

    assert keep_house() == {"partitions made": 0}
    monkeypatch.setenv("TRISIGNAL_KEEP_HEALTH_DAYS", "30")
    monkeypatch.setenv("TRISIGNAL_KEEP_EVENTS_DAYS", "30")
    done = keep_house()
    assert done["figures of health"] > 50
    assert done["events of Dagster's runs"] == 0
    assert all_rows(stored.database.url, "SELECT count(*) FROM health_figures") == [(0,)]
