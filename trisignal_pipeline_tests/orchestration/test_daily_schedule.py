"""The schedule: which runs it asks for, and that such a run does a day's work."""

from __future__ import annotations

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
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.partitions import partition_key, sync_symbols
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage import registry
from trisignal_pipeline_tests.pipeline import Pipeline
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
