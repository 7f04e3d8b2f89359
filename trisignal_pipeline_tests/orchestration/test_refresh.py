"""What a changed bar puts in doubt is seen, and computed again: by the sensor's run, or by hand."""

from __future__ import annotations

import os
from datetime import date
from typing import LiteralString

import dagster as dg
import psycopg
import pytest
from click.testing import CliRunner, Result

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.definitions import build_defs, defs
from trisignal_pipeline.orchestration.doubt_sensor import signals_follow_the_bars
from trisignal_pipeline.orchestration.partitions import partition_key, sync_symbols
from trisignal_pipeline.orchestration.refresh import Refreshed, refresh_symbol
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.orchestration.unasked_runs import CIRCUMSTANCES_TAG, REFRESH_TAG
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline_tests.orchestration.ticks import start
from trisignal_pipeline_tests.pipeline import BIAS, CLEAN, LEGACY, RAW, TRIANGLES, Pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    ES,
    MONDAY,
    NQ,
    TICK,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    file_of,
    write_day,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)
HISTORY_CHECK = dg.AssetCheckKey(dg.AssetKey(BIAS), "history_is_current")


def _put_in_doubt(pipeline: Pipeline, symbol: str = NQ) -> None:
    """Signals of two days, and then bars of the day before."""
    write_days(pipeline.raw, DATES, (symbol.partition(":")[2],))
    pipeline.materialize(TUESDAY, WEDNESDAY, symbol=symbol)
    pipeline.materialize(MONDAY, MONDAY, [RAW, LEGACY, CLEAN], symbol=symbol)


def _doubted(pipeline: Pipeline) -> list[str]:
    with pipeline.database.connect("tests") as connection:
        return [doubt.symbol for doubt in doubts(connection)]


def _tick(
    instance: dg.DagsterInstance, cursor: str | None = None
) -> tuple[list[dg.RunRequest], str, str | None]:
    """Let the sensor look once, as the daemon does: requests, why there are none, cursor."""
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        definitions=defs,
        resources={"postgres": PostgresResource()},
    ) as context:
        seen = signals_follow_the_bars.evaluate_tick(context)
    return list(seen.run_requests or ()), seen.skip_message or "", seen.cursor


def _verdicts(instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    """All verdicts on the history, the latest first."""
    records = instance.event_log_storage.get_asset_check_execution_history(HISTORY_CHECK, limit=99)
    found = [record.evaluation for record in records]
    assert all(found)
    return [evaluation for evaluation in found if evaluation is not None]


def _add_run(instance: dg.DagsterInstance, symbol: str = NQ) -> None:
    """A refresh of `symbol` that the daemon has taken note of."""
    instance.add_run(dg.DagsterRun(job_name="refresh_signals", tags={REFRESH_TAG: symbol}))


def _fail_for_good(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """The run that is asked for, ended by rows that nobody may write."""
    pipeline.query("ALTER TABLE signal_checkpoints ADD CONSTRAINT no CHECK (layout < 0) NOT VALID")
    [request], _, _ = _tick(instance)
    assert not start(instance, request).success


def _set_runs(statement: LiteralString, *parameters: object) -> None:
    with psycopg.connect(os.environ[URL_VARIABLE]) as connection:
        connection.execute(statement, parameters)


def test_the_sensor_runs_by_default() -> None:
    assert signals_follow_the_bars.default_status == dg.DefaultSensorStatus.RUNNING
    assert signals_follow_the_bars in (defs.sensors or ())


def test_it_requests_one_range_run_for_each_symbol_in_doubt(pipeline: Pipeline) -> None:
    for symbol in (NQ, ES):
        _put_in_doubt(pipeline, symbol)
    with pipeline.instance() as instance:
        requests, skipped, _ = _tick(instance)

    assert skipped == ""
    assert [request.tags.get(REFRESH_TAG) for request in requests] == [ES, NQ]
    for request, symbol in zip(requests, (ES, NQ), strict=True):
        tags = {name: value for name, value in request.tags.items() if "sensor" not in name}
        assert tags.pop(CIRCUMSTANCES_TAG)
        assert tags == {
            REFRESH_TAG: symbol,
            "dagster/asset_partition_range_start": partition_key(symbol, TUESDAY),
            "dagster/asset_partition_range_end": partition_key(symbol, WEDNESDAY),
        }
        assert request.run_config == {"ops": {"signals": {"config": {"only_in_doubt": True}}}}
        assert request.partition_key is None


def test_it_requests_nothing_where_every_signal_is_current(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, [MONDAY])
    pipeline.materialize(MONDAY, MONDAY)
    with pipeline.instance() as instance:
        before = len(_verdicts(instance))
        requests, skipped, cursor = _tick(instance)
        assert (requests, skipped) == ([], "every stored signal is current")
        assert _tick(instance, cursor)[0] == []
        assert len(_verdicts(instance)) == before, "nothing new is to be said"


def test_it_requests_no_second_run_while_one_is_under_way(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        _add_run(instance)
        for status in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"):
            _set_runs("UPDATE runs SET status = %s", status)
            assert _tick(instance)[:2] == ([], f"{NQ} has a run under way"), status

        _set_runs("UPDATE runs SET status = 'SUCCESS'")
        assert len(_tick(instance)[0]) == 1


def test_another_symbol_s_run_keeps_nobody_waiting(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        _add_run(instance, ES)
        assert len(_tick(instance)[0]) == 1


def test_after_a_run_that_failed_it_waits_before_the_next(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        _add_run(instance)
        for status in ("FAILURE", "CANCELED"):
            _set_runs("UPDATE runs SET status = %s, update_timestamp = now()", status)
            assert _tick(instance)[:2] == ([], f"{NQ} failed less than 0:15:00 ago")

            _set_runs("UPDATE runs SET update_timestamp = now() - interval '16 minutes'")
            assert len(_tick(instance)[0]) == 1


def test_the_wait_doubles_with_each_failure_in_a_row_up_to_a_day(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        for wait in ("0:15:00", "0:30:00", "1:00:00"):
            _add_run(instance)
            _set_runs("UPDATE runs SET status = 'FAILURE', update_timestamp = now()")
            assert _tick(instance)[:2] == ([], f"{NQ} failed less than {wait} ago")
        for _ in range(7):
            _add_run(instance)
        _set_runs("UPDATE runs SET status = 'FAILURE', update_timestamp = now()")
        assert _tick(instance)[:2] == ([], f"{NQ} failed less than 1 day, 0:00:00 ago")

        _set_runs("UPDATE runs SET status = 'SUCCESS' WHERE id = (SELECT max(id) FROM runs)")
        assert len(_tick(instance)[0]) == 1


def test_an_error_that_won_t_pass_waits_for_a_change_or_a_day(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        _fail_for_good(pipeline, instance)
        _set_runs("UPDATE runs SET update_timestamp = now() - interval '23 hours'")
        _, skipped, _ = _tick(instance)
        assert f"{NQ} failed with CheckViolation, which won't pass by itself" in skipped

        with monkeypatch.context() as settings:
            settings.setenv("DATABENTO_API_KEY", "db-another-one-of-thirty-two-signs")
            assert len(_tick(instance)[0]) == 1
        pipeline.set(ES, lockout_alarm_minutes=77)
        assert len(_tick(instance)[0]) == 1
        assert not start(instance, _tick(instance)[0][0]).success
        assert _tick(instance)[0] == []
        write_days(pipeline.raw, [date(2024, 6, 27)])
        assert len(_tick(instance)[0]) == 1
        file_of(pipeline.raw, date(2024, 6, 27)).unlink()
        _set_runs("UPDATE runs SET update_timestamp = now() - interval '25 hours'")
        assert len(_tick(instance)[0]) == 1


def test_clean_bars_of_older_legacy_ones_are_made_again(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, WEDNESDAY)
    corrected = changed(bars(TUESDAY), 77, high=90_000 * TICK)
    write_day(pipeline.raw, TUESDAY, delivered=corrected)
    pipeline.materialize(TUESDAY, TUESDAY, [RAW, LEGACY])
    with pipeline.instance() as instance:
        [request], _, _ = _tick(instance)
        assert request.job_name == "follow_legacy_bars"
        assert request.tags["dagster/asset_partition_range_start"] == partition_key(NQ, TUESDAY)
        assert start(instance, request).success
        while requests := _tick(instance)[0]:
            assert [one.job_name for one in requests] == ["refresh_signals"]
            assert start(instance, requests[0]).success
    by_sensor = pipeline.results()

    pipeline.materialize(MONDAY, WEDNESDAY)
    assert pipeline.results() == by_sensor


def test_a_refresh_by_hand_makes_clean_bars_of_older_legacy_ones_again(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, WEDNESDAY)
    corrected = changed(bars(TUESDAY), 77, high=90_000 * TICK)
    write_day(pipeline.raw, TUESDAY, delivered=corrected)
    pipeline.materialize(TUESDAY, TUESDAY, [RAW, LEGACY])

    done = _trisignal("refresh", NQ)

    assert done.exit_code == 0, done.output
    assert f"{NQ} {TUESDAY}: clean bars made again, of the legacy ones" in done.output
    assert _trisignal("refresh").output == "nothing is in doubt\n"


def test_a_symbol_that_is_not_active_is_left_alone(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        sync_symbols(instance, [ES])
        assert _tick(instance)[:2] == ([], f"{NQ} is in doubt, but not active")


def test_the_check_says_what_is_in_doubt_and_since_which_minute(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        before = len(_verdicts(instance))
        _, _, cursor = _tick(instance)
        verdict, *others = _verdicts(instance)
        assert len(others) == before
        assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert verdict.metadata["dates_in_doubt"].value == 2
        assert verdict.description == (
            f"{NQ}: 2 dates are in doubt from {MONDAY}T00:00:00Z on (bars changed on this date or "
            f"before it); compute them again with: trisignal refresh {NQ}"
        )

        _, _, same = _tick(instance, cursor)
        assert same == cursor
        assert len(_verdicts(instance)) == before + 1, "it is said once"


def test_the_requested_run_computes_what_is_in_doubt(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    with pipeline.instance() as instance:
        [request], _, cursor = _tick(instance)
        run = (
            build_defs()
            .resolve_job_def("refresh_signals")
            .execute_in_process(
                instance=instance,
                tags=dict(request.tags),
                run_config={
                    **request.run_config,
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
        )

        assert run.success
        assert _doubted(pipeline) == []
        verdict, *_ = _verdicts(instance)
        assert (verdict.passed, verdict.description) == (True, "every stored signal is current")
        assert _tick(instance, cursor)[:2] == ([], "every stored signal is current")
        logged = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert any(f"the signal of {2 * BARS} written" in line for line in logged)
    refreshed = pipeline.results()

    pipeline.materialize(TUESDAY, WEDNESDAY, [BIAS, TRIANGLES])
    assert pipeline.results() == refreshed
    pipeline.query("TRUNCATE signal_checkpoints, signal_dates, bias_series_1m_v1")
    pipeline.query("TRUNCATE triangle_events_v1")
    pipeline.materialize(TUESDAY, WEDNESDAY, [BIAS, TRIANGLES])
    assert pipeline.results() == refreshed


def _refresh(pipeline: Pipeline, symbol: str = NQ) -> Refreshed:
    with pipeline.instance() as instance:
        return refresh_symbol(build_defs(), instance, pipeline.database, symbol)


def test_a_refresh_by_hand_clears_the_doubt_of_its_symbol(pipeline: Pipeline) -> None:
    for symbol in (NQ, ES):
        _put_in_doubt(pipeline, symbol)

    done = _refresh(pipeline)

    assert done.ranges == (DateRange(TUESDAY, WEDNESDAY),)
    assert [run.success for run in done.runs] == [True]
    assert _doubted(pipeline) == [ES]
    assert _refresh(pipeline) == Refreshed()


def test_dates_of_a_refresh_without_a_signal_are_no_failure(pipeline: Pipeline) -> None:
    write_days(pipeline.raw, DATES)
    pipeline.materialize(MONDAY, MONDAY)
    pipeline.materialize(WEDNESDAY, WEDNESDAY)
    pipeline.set(htf_aligned_only=True)

    done = _refresh(pipeline)

    assert done.ranges == (DATES,)
    verdict = pipeline.evaluations(BIAS)[partition_key(NQ, TUESDAY)]
    assert verdict.passed
    assert verdict.description == "no signal of this date is stored"


LAST_YEAR, NEXT_YEAR = [date(2024, 12, 30), date(2024, 12, 31)], [date(2025, 1, 2)]


@pytest.mark.parametrize(("leaves_a_trace", "years"), [(False, [2024]), (True, [2024, 2025])])
def test_a_refresh_goes_on_into_the_next_year_only_if_that_is_in_doubt(
    pipeline: Pipeline, leaves_a_trace: bool, years: list[int]
) -> None:
    days = [*LAST_YEAR, *NEXT_YEAR]
    write_days(pipeline.raw, days)
    pipeline.materialize(days[0], days[-1])
    made = bars(days[0])
    # No bias looks at an open.
    change = {"high": 90_000 * TICK} if leaves_a_trace else {"open": made["close"][77]}
    write_day(pipeline.raw, days[0], delivered=changed(made, 77, **change))
    pipeline.materialize(days[0], days[0], [RAW, LEGACY, CLEAN])

    done = _refresh(pipeline)

    assert [dates.start.year for dates in done.ranges] == years
    assert _doubted(pipeline) == []


def _trisignal(*arguments: str) -> Result:
    return CliRunner().invoke(trisignal, arguments)


def test_the_command_computes_again_what_is_in_doubt(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    assert f"{MONDAY}T00:00:00Z" in _trisignal("status", "--format", "csv").output

    done = _trisignal("refresh", NQ)

    assert done.exit_code == 0
    assert done.output == f"{NQ} {TUESDAY} to {WEDNESDAY}: what was in doubt is computed again\n"
    again = _trisignal("refresh")
    assert (again.exit_code, again.output) == (0, "nothing is in doubt\n")
    assert f"{MONDAY}T00:00:00Z" not in _trisignal("status", "--format", "csv").output


def test_the_command_fails_while_anything_is_still_in_doubt(pipeline: Pipeline) -> None:
    _put_in_doubt(pipeline)
    # Rows that nobody may write.
    pipeline.query("ALTER TABLE signal_checkpoints ADD CHECK (layout < 0) NOT VALID")

    done = _trisignal("refresh")

    assert done.exit_code == 1
    assert "error: GLBX.MDP3:NQ signals: CheckViolation" in done.output
    assert f"{NQ} {TUESDAY} to {WEDNESDAY}: still in doubt" in done.output
