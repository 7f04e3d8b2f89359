"""The last days: which of them a look has made again, from what, and which it leaves alone."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, date, datetime

import dagster as dg
import psycopg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.dates_of_runs import failed_dates
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.orchestration.recent_dates_sensor import (
    keep_current_days,
    newest_due_date,
    recent_dates_are_there,
)
from trisignal_pipeline_tests.orchestration.ticks import Tick, start, tick
from trisignal_pipeline_tests.pipeline import BIAS, CLEAN, LEGACY, RAW, TRIANGLES, Pipeline
from trisignal_pipeline_tests.sources.databento_server import KEY, DatabentoServer
from trisignal_pipeline_tests.tiny_market import (
    MONDAY,
    NQ,
    SATURDAY,
    TUESDAY,
    WEDNESDAY,
    write_day,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)
DAILY = "daily_bars"


@pytest.fixture
def recent(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """One for which the last days go back to Monday, of one symbol."""
    days = (datetime.now(UTC).date() - MONDAY).days
    monkeypatch.setenv("TRISIGNAL_KEEP_CURRENT_DAYS", str(days))
    for other in ("ES", "YM", "RTY"):
        pipeline.set(f"GLBX.MDP3:{other}", is_active=False)
    return pipeline


def _look(instance: dg.DagsterInstance) -> Tick:
    return tick(recent_dates_are_there, instance)


def _about(first: date, last: date) -> list[tuple[str, str, str, str]]:
    return [(DAILY, NQ, str(first), str(last))]


def _nothing_to_do(look: Tick) -> bool:
    return not look.requests and "everything is made that can be made now" in look.skipped


def test_a_date_that_is_missing_is_made_as_soon_as_a_file_covers_it(recent: Pipeline) -> None:
    write_days(recent.raw, [MONDAY, WEDNESDAY])
    recent.materialize(MONDAY, WEDNESDAY)
    with recent.instance() as instance:
        assert _nothing_to_do(_look(instance)), "nothing covers Tuesday"
        write_day(recent.raw, TUESDAY)
        [read] = _look(instance).requests
        assert read.job_name == "read_new_files"
        assert start(instance, read).success

        found = _look(instance)

        assert found.about == _about(TUESDAY, TUESDAY)
        assert start(instance, found.requests[0]).success
        assert _nothing_to_do(_look(instance))
    assert [day for (day,) in recent.query("SELECT date FROM signal_dates ORDER BY 1")] == [*DATES]


def test_a_date_that_was_left_unfinished_is_made_again(recent: Pipeline) -> None:
    write_days(recent.raw, DATES)
    recent.materialize(MONDAY, WEDNESDAY)
    # What a run that is killed while it changes the date leaves.
    recent.query(
        "UPDATE bar_dates SET state = 'writing', completed_at = NULL "
        "WHERE layer = 'clean' AND date = %s",
        TUESDAY,
    )
    with recent.instance() as instance:
        found = _look(instance)
        assert found.about == _about(TUESDAY, TUESDAY)
        assert start(instance, found.requests[0]).success
        assert _nothing_to_do(_look(instance))


def test_a_date_without_its_signal_is_made_again(recent: Pipeline) -> None:
    write_days(recent.raw, DATES)
    recent.materialize(MONDAY, TUESDAY)
    recent.materialize(WEDNESDAY, WEDNESDAY, (RAW, LEGACY, CLEAN))
    with recent.instance() as instance:
        assert _look(instance).about == _about(WEDNESDAY, WEDNESDAY)


@pytest.mark.parametrize("in_the_grid", [True, False], ids=["one cell", "a range"])
def test_a_date_whose_last_run_failed_is_made_again_once(
    recent: Pipeline, in_the_grid: bool
) -> None:
    write_days(recent.raw, DATES)
    recent.materialize(MONDAY, WEDNESDAY)
    key = partition_key(NQ, TUESDAY)
    tags = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": key}
    with recent.instance() as instance:
        recent.query("ALTER TABLE data_ingest_runs ADD CONSTRAINT no CHECK (asset = '') NOT VALID")
        failed = recent.launch(
            instance,
            (LEGACY, CLEAN, BIAS, TRIANGLES),
            raise_on_error=False,
            **({"partition_key": key} if in_the_grid else {"tags": tags}),
        )
        assert not failed.success
        recent.query("ALTER TABLE data_ingest_runs DROP CONSTRAINT no")

        found = _look(instance)

        assert found.about == _about(TUESDAY, TUESDAY)
        assert start(instance, found.requests[0]).success
        assert _nothing_to_do(_look(instance))


def test_dates_that_anybody_is_working_on_are_left_alone(recent: Pipeline) -> None:
    write_days(recent.raw, [MONDAY])
    recent.materialize(MONDAY, MONDAY, [RAW])
    key = partition_key(NQ, MONDAY)
    with recent.instance() as instance:
        own = instance.add_run(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                status=dg.DagsterRunStatus.STARTED,
                tags={"dagster/partition": key},
            )
        )
        assert (
            f"{NQ} {MONDAY} has a run under way over some of the dates" in _look(instance).skipped
        )
        # It has failed, and Dagster is about to launch it again.
        instance.report_run_failed(own)
        assert instance.get_runs(dg.RunsFilter(tags={"dagster/will_retry": "true"}))
        assert not failed_dates(instance, DATES, datetime(2024, 1, 1, tzinfo=UTC))
        assert _look(instance).about == _about(MONDAY, MONDAY)


def test_what_a_run_could_not_make_waits_for_other_circumstances(recent: Pipeline) -> None:
    # The second contract by volume, where only one traded: the run ends well and makes nothing.
    recent.set(rank=1)
    write_days(recent.raw, [MONDAY])
    recent.materialize(MONDAY, MONDAY, [RAW])
    with recent.instance() as instance:
        found = _look(instance)
        assert found.about == _about(MONDAY, MONDAY)
        assert start(instance, found.requests[0]).success
        assert _nothing_to_do(_look(instance))

        recent.set(rank=0)
        assert _look(instance).about == _about(MONDAY, MONDAY)


def test_an_error_that_won_t_pass_waits_for_other_circumstances_or_a_day(recent: Pipeline) -> None:
    write_days(recent.raw, [MONDAY])
    recent.materialize(MONDAY, MONDAY, [RAW])
    recent.query("ALTER TABLE data_ingest_runs ADD CONSTRAINT no CHECK (asset = '') NOT VALID")
    with recent.instance() as instance:
        found = _look(instance)
        assert not start(instance, found.requests[0]).success
        told = _look(instance)
        assert told.requests == ()
        assert "failed with CheckViolation, which won't pass by itself" in told.skipped

        write_day(recent.raw, TUESDAY)
        assert DAILY in [request.job_name for request in _look(instance).requests]
        write_day(recent.raw, TUESDAY).unlink()
        assert _look(instance).requests == ()
        with psycopg.connect(os.environ[URL_VARIABLE]) as connection:
            connection.execute("UPDATE runs SET update_timestamp = now() - interval '25 hours'")
        assert _look(instance).about == _about(MONDAY, MONDAY)


def test_a_closed_day_is_not_missing(recent: Pipeline) -> None:
    write_days(recent.raw, [SATURDAY])
    recent.materialize(SATURDAY, SATURDAY, [RAW])
    with recent.instance() as instance:
        assert _nothing_to_do(_look(instance))


def test_days_further_back_are_left_alone(
    recent: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = (datetime.now(UTC).date() - TUESDAY).days
    monkeypatch.setenv("TRISIGNAL_KEEP_CURRENT_DAYS", str(days))
    write_days(recent.raw, [MONDAY])
    recent.materialize(MONDAY, MONDAY, [RAW])
    with recent.instance() as instance:
        assert _nothing_to_do(_look(instance))


@pytest.fixture
def buying(
    recent: Pipeline, databento: DatabentoServer, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """One whose new days come from the API."""
    monkeypatch.setenv("TRISIGNAL_DAILY_SOURCE", "databento_api")
    monkeypatch.setenv("TRISIGNAL_API_DIR", str(recent.raw.with_name("api")))
    # Open dates of one week, and no other.
    monkeypatch.setenv("TRISIGNAL_FIRST_DATE", str(MONDAY))
    settings = replace(
        recent.settings,
        api_dir=recent.raw.with_name("api"),
        api_gateway=databento.gateway,
        api_key=KEY,
    )
    return Pipeline(settings)


def test_a_date_that_the_api_did_not_have_yet_is_asked_for_again_and_made(
    buying: Pipeline, databento: DatabentoServer
) -> None:
    databento.available = DateRange(MONDAY, TUESDAY)
    with buying.instance() as instance:
        found = _look(instance)
        [request] = found.requests
        config = request.run_config["ops"][RAW]["config"]
        assert config == {"source": "databento_api", "budget_usd": 5.0}
        first, last = MONDAY, date(2024, 6, 28)
        assert found.about == _about(first, last)
        assert start(instance, request).success
        assert databento.bought == [DateRange(MONDAY, TUESDAY)]

        # Those that weren't to be had are left alone for a while, the old ones for a long one.
        assert str(WEDNESDAY) not in str(_look(instance).about)
        databento.available = DateRange(MONDAY, WEDNESDAY)
        buying.query("UPDATE data_quality_results SET checked_at = now() - interval '2 years'")
        found = _look(instance)
        assert found.about == _about(WEDNESDAY, last)
        assert start(instance, found.requests[0]).success

    assert databento.bought == [DateRange(MONDAY, TUESDAY), DateRange(WEDNESDAY, WEDNESDAY)]
    assert [day for (day,) in buying.query("SELECT date FROM signal_dates ORDER BY 1")] == [*DATES]


@pytest.mark.parametrize(
    ("at", "now", "newest"),
    [
        (None, "00:01", TUESDAY),
        ("06:30", "06:40", MONDAY),
        ("06:30", "06:45", TUESDAY),
        ("23:50", "23:59", MONDAY),
    ],
)
def test_the_schedule_has_the_newest_date_first(at: str | None, now: str, newest: date) -> None:
    moment = datetime.fromisoformat(f"{WEDNESDAY}T{now}+00:00")
    assert newest_due_date(moment, at) == newest


def test_it_runs_where_the_schedule_does() -> None:
    sensor = defs.resolve_sensor_def(recent_dates_are_there.name)
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


@pytest.mark.parametrize(("named", "days"), [("", 7), ("1", 1), ("30", 30)])
def test_how_many_days_is_a_setting(named: str, days: int) -> None:
    assert keep_current_days({"TRISIGNAL_KEEP_CURRENT_DAYS": named}) == days


@pytest.mark.parametrize("named", ["0", "-1", "a week", "1.5", "²"])
def test_a_number_of_days_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_KEEP_CURRENT_DAYS"):
        keep_current_days({"TRISIGNAL_KEEP_CURRENT_DAYS": named})
