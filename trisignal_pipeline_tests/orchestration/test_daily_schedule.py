"""The schedule: which runs it asks for, and that such a run does a day's work."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone

import dagster as dg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.daily_schedule import (
    daily_at,
    newest_complete_date,
    newest_date_of_every_symbol,
)
from trisignal_pipeline.orchestration.daily_source import daily_budget_usd, daily_source
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.partitions import partition_key, sync_symbols
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage import registry
from trisignal_pipeline_tests.orchestration.ticks import start
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.sources.databento_server import KEY, DatabentoServer
from trisignal_pipeline_tests.tiny_market import ES, MONDAY, NQ, TUESDAY, WEDNESDAY, write_days


def _requests(instance: dg.DagsterInstance, at: datetime) -> list[dg.RunRequest]:
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=defs.get_repository_def(),
        resources={"postgres": PostgresResource()},
    ) as context:
        return list(newest_date_of_every_symbol.evaluate_tick(context).run_requests or ())


def _range(request: dg.RunRequest) -> tuple[str, str]:
    tags = request.tags
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def test_every_active_symbol_gets_a_run_of_the_date_that_is_over(pipeline: Pipeline) -> None:
    with pipeline.database.connect("tests") as connection:
        registry.set_symbol(connection, "GLBX.MDP3:YM", {"is_active": False})
    with pipeline.instance() as instance:
        sync_symbols(instance, {NQ, ES, "GLBX.MDP3:YM"})
        requests = _requests(instance, datetime(2024, 6, 18, 1, 30, tzinfo=UTC))

    monday = date(2024, 6, 17)
    assert [_range(request) for request in requests] == [
        (partition_key(symbol, monday),) * 2 for symbol in (ES, NQ)
    ]
    assert len({request.run_key for request in requests}) == 2


def test_a_requested_run_does_the_whole_day_of_one_symbol(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DateRange(MONDAY, TUESDAY))
    with pipeline.instance() as instance:
        sync_symbols(instance, {NQ})
        [request] = _requests(instance, datetime.combine(WEDNESDAY, time(1), UTC))
        assert _range(request) == (partition_key(NQ, TUESDAY),) * 2
        job = defs.resolve_job_def("daily_bars")
        assert job.execute_in_process(instance=instance, tags=dict(request.tags)).success

    with pipeline.database.connect("tests") as connection:
        stored = connection.execute(
            "SELECT DISTINCT symbol, date FROM signal_dates WHERE bar_count > 0"
        ).fetchall()
    assert stored == [(NQ, TUESDAY)]


def test_files_are_the_source_unless_the_environment_names_the_api(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime.combine(WEDNESDAY, time(1), UTC)
    with pipeline.instance() as instance:
        assert {str(request.run_config) for request in _requests(instance, at)} == {"{}"}

        monkeypatch.setenv("TRISIGNAL_DAILY_SOURCE", "databento_api")
        monkeypatch.setenv("TRISIGNAL_DAILY_BUDGET_USD", "0.75")
        for request in _requests(instance, at):
            assert request.run_config == {
                "ops": {
                    "raw_dbn_files": {"config": {"source": "databento_api", "budget_usd": 0.75}}
                }
            }


def test_a_requested_run_buys_the_day_where_the_api_is_the_source(
    pipeline: Pipeline, databento: DatabentoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISIGNAL_DAILY_SOURCE", "databento_api")
    monkeypatch.setenv("TRISIGNAL_API_DIR", str(pipeline.raw.with_name("api")))
    settings = replace(
        pipeline.settings,
        api_dir=pipeline.raw.with_name("api"),
        api_gateway=databento.gateway,
        api_key=KEY,
    )
    with Pipeline(settings).instance() as instance:
        sync_symbols(instance, {NQ})
        [request] = _requests(instance, datetime.combine(WEDNESDAY, time(1), UTC))
        assert start(instance, request).success

    assert databento.bought == [DateRange(TUESDAY, TUESDAY)]
    assert pipeline.query("SELECT date, bar_count > 0 FROM signal_dates") == [(TUESDAY, True)]


@pytest.mark.parametrize("named", ["api", "DATABENTO_API", "file"])
def test_a_source_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_DAILY_SOURCE"):
        daily_source({"TRISIGNAL_DAILY_SOURCE": named})


@pytest.mark.parametrize(("named", "usd"), [("", 5.0), ("0", 0.0), ("2.50", 2.5)])
def test_the_budget_is_a_setting(named: str, usd: float) -> None:
    assert daily_budget_usd({"TRISIGNAL_DAILY_BUDGET_USD": named}) == usd


@pytest.mark.parametrize("named", ["-1", "nan", "inf", "five", "2,50"])
def test_a_budget_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_DAILY_BUDGET_USD"):
        daily_budget_usd({"TRISIGNAL_DAILY_BUDGET_USD": named})


def test_the_newest_date_is_told_by_utc() -> None:
    new_york = timezone(timedelta(hours=-5))
    assert newest_complete_date(datetime(2024, 6, 17, 20, tzinfo=new_york)) == date(2024, 6, 17)


@pytest.mark.parametrize(
    ("named", "at"), [("", None), ("00:00", "00:00"), ("23:59", "23:59"), ("07:05", "07:05")]
)
def test_the_time_of_day_is_a_setting(named: str, at: str | None) -> None:
    assert daily_at({"TRISIGNAL_DAILY_AT": named}) == at


@pytest.mark.parametrize("named", ["24:00", "7:05", "07:60", "0705", "1am", "07:05\n"])
def test_a_time_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_DAILY_AT"):
        daily_at({"TRISIGNAL_DAILY_AT": named})
