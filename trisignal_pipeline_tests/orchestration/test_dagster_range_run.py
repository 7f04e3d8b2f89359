"""One run over a range of dates: what is recorded of each partition, and what of a failure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.tags import WILL_RETRY_TAG

from trisignal_pipeline.errors import (
    RangeError,
    RefusedFileError,
    UnknownSymbolError,
    WrongRunError,
)
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.lost_runs import (
    PROCESS_TAG,
    WORKER_TAG,
    fail_lost_runs,
    in_place_of,
    lost_runs_end,
    process_tag,
    tell_worker,
)
from trisignal_pipeline.orchestration.partitions import BAR_DATES, partition_key, sync_symbols
from trisignal_pipeline.orchestration.range_run import RangeRun, StepFailure, materialize_range
from trisignal_pipeline_tests.orchestration.toy_assets import (
    CHECK,
    FAILING_VARIABLE,
    INTERRUPTED_VARIABLE,
    KEYS,
    KILLED_VARIABLE,
    defs,
)

NQ, ES = "GLBX.MDP3:NQ", "GLBX.MDP3:ES"
DATES = DateRange(date(2024, 1, 30), date(2024, 2, 3))


@pytest.fixture
def instance_with_symbols(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    sync_symbols(instance, [NQ, ES])
    return instance


def _run(
    instance: dg.DagsterInstance,
    selection: Sequence[dg.AssetKey] = KEYS,
    dates: DateRange = DATES,
    symbol: str = NQ,
    raise_on_error: bool = True,
) -> RangeRun:
    return materialize_range(
        defs, instance, selection, symbol, dates, raise_on_error=raise_on_error
    )


def _materializations(
    instance: dg.DagsterInstance, asset: dg.AssetKey
) -> dict[str | None, dg.AssetMaterialization]:
    records = instance.fetch_materializations(asset, limit=100).records
    found = [record.asset_materialization for record in records]
    return {one.partition: one for one in found if one is not None}


def test_a_range_is_one_run_that_records_every_asset_and_date(
    instance_with_symbols: dg.DagsterInstance,
) -> None:
    run = _run(instance_with_symbols)

    assert run == RangeRun(run.run_id, success=True, failures=())
    assert [found.run_id for found in instance_with_symbols.get_runs()] == [run.run_id]
    for asset in KEYS:
        materializations = _materializations(instance_with_symbols, asset)
        assert set(materializations) == {partition_key(NQ, day) for day in DATES}


def test_each_partition_has_metadata_of_its_own(instance_with_symbols: dg.DagsterInstance) -> None:
    _run(instance_with_symbols, KEYS[:1])

    for key, materialization in _materializations(instance_with_symbols, KEYS[0]).items():
        assert materialization.metadata["of"].value == key


def test_each_partition_has_a_verdict_of_its_own(instance_with_symbols: dg.DagsterInstance) -> None:
    _run(instance_with_symbols, KEYS[:1])

    records = instance_with_symbols.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEYS[0], CHECK), limit=100
    )
    by_partition = {record.partition: record for record in records}
    assert set(by_partition) == {partition_key(NQ, day) for day in DATES}
    assert len(records) == len(DATES)
    failed = AssetCheckExecutionRecordStatus.FAILED
    assert [key for key, record in by_partition.items() if record.status == failed] == [
        partition_key(NQ, date(2024, 2, 2))
    ]
    for key, record in by_partition.items():
        assert record.evaluation is not None
        assert record.evaluation.metadata["of"].value == key


def test_a_verdict_that_never_came_shows_as_failed_not_as_passed(
    instance_with_symbols: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILING_VARIABLE, KEYS[0].to_user_string())
    run = _run(instance_with_symbols, KEYS[:1], raise_on_error=False)

    records = instance_with_symbols.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEYS[0], CHECK), limit=100
    )
    assert {record.run_id for record in records} == {run.run_id}
    assert {record.status for record in records} == {AssetCheckExecutionRecordStatus.PLANNED}
    assert {record.partition for record in records} == {partition_key(NQ, day) for day in DATES}


def test_partitions_of_a_failed_run_show_as_failed(
    instance_with_symbols: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILING_VARIABLE, KEYS[0].to_user_string())
    run = _run(instance_with_symbols, raise_on_error=False)

    storage = instance_with_symbols.event_log_storage
    attempted = (
        storage.get_latest_asset_partition_materialization_attempts_without_materializations(
            KEYS[0]
        )
    )
    assert set(attempted) == {partition_key(NQ, day) for day in DATES}
    assert {run_id for run_id, _event in attempted.values()} == {run.run_id}


def test_a_failed_step_is_named_with_its_own_error(
    instance_with_symbols: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILING_VARIABLE, "toy_2")

    run = _run(instance_with_symbols, raise_on_error=False)

    assert not run.success
    first = partition_key(NQ, DATES.start)
    assert run.failures == (StepFailure("toy_2", "RefusedFileError", f"{first}: cut short"),)
    assert _materializations(instance_with_symbols, KEYS[1])
    assert not _materializations(instance_with_symbols, KEYS[2])
    assert not _materializations(instance_with_symbols, KEYS[3])


def test_a_failed_step_raises_what_the_asset_raised(
    instance_with_symbols: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILING_VARIABLE, "toy_0")

    with pytest.raises(RefusedFileError, match="cut short"):
        _run(instance_with_symbols)
    assert [run.status for run in instance_with_symbols.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@pytest.mark.parametrize("raise_on_error", [True, False])
def test_ctrl_c_ends_the_run_and_is_not_swallowed(
    instance_with_symbols: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    raise_on_error: bool,
) -> None:
    monkeypatch.setenv(INTERRUPTED_VARIABLE, "toy_1")

    with pytest.raises(KeyboardInterrupt):
        _run(instance_with_symbols, raise_on_error=raise_on_error)

    assert [run.status for run in instance_with_symbols.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert _materializations(instance_with_symbols, KEYS[0])
    assert not _materializations(instance_with_symbols, KEYS[1])


KILLED_RUN = """
from datetime import date
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.instance import open_instance
from trisignal_pipeline.orchestration.range_run import materialize_range
from trisignal_pipeline.settings import Settings
from trisignal_pipeline_tests.orchestration.toy_assets import KEYS, defs
day = DateRange(date(2024, 1, 2), date(2024, 1, 2))
with open_instance(Settings.from_environment()) as instance:
    materialize_range(defs, instance, KEYS, "GLBX.MDP3:NQ", day)
"""


def test_a_killed_run_is_recorded_as_failed_by_the_next(
    instance_with_symbols: dg.DagsterInstance,
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN],
        env={**os.environ, KILLED_VARIABLE: "toy_1"},
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    [lost] = instance_with_symbols.get_runs()
    assert lost.status == dg.DagsterRunStatus.STARTED

    run = _run(instance_with_symbols, KEYS[:1])

    by_id = {found.run_id: found.status for found in instance_with_symbols.get_runs()}
    assert by_id == {
        lost.run_id: dg.DagsterRunStatus.FAILURE,
        run.run_id: dg.DagsterRunStatus.SUCCESS,
    }


def test_a_run_at_work_is_left_alone(instance_with_symbols: dg.DagsterInstance) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    elsewhere = {PROCESS_TAG: "another-host 1"}
    for tags in (process_tag(), elsewhere, {}):
        instance_with_symbols.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    assert fail_lost_runs(instance_with_symbols) == []
    statuses = {run.status for run in instance_with_symbols.get_runs()}
    assert statuses == {dg.DagsterRunStatus.STARTED}


def _ended_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def _lost(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    """A run that says it is at work, and whose process is gone, after the daemon looked."""
    job = defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    worker = f"{socket.gethostname()} {_ended_process()} {run.run_id}"
    if PROCESS_TAG not in tags:
        instance.add_run_tags(run.run_id, {WORKER_TAG: worker})
    with dg.build_sensor_context(instance=instance) as context:
        told = lost_runs_end(context)
    assert isinstance(told, dg.SkipReason)
    assert run.run_id in str(told.skip_message)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE
    return ended


def test_the_daemon_s_run_that_lost_its_machine_is_to_be_launched_again(
    instance_with_symbols: dg.DagsterInstance,
) -> None:
    lost = _lost(instance_with_symbols, {})
    assert lost.tags[WILL_RETRY_TAG] == "true"


def test_a_command_s_run_that_was_killed_is_not(instance_with_symbols: dg.DagsterInstance) -> None:
    killed = {**process_tag(), PROCESS_TAG: f"{socket.gethostname()} {_ended_process()}"}
    assert _lost(instance_with_symbols, killed).tags[WILL_RETRY_TAG] == "false"


def test_a_run_knows_those_that_it_was_launched_in_place_of(
    instance: dg.DagsterInstance,
) -> None:
    def launched_after(before: dg.DagsterRun, **tags: str) -> dg.DagsterRun:
        return instance.add_run(
            dg.DagsterRun(
                job_name="daily_bars",
                parent_run_id=before.run_id,
                root_run_id=first.run_id,
                tags={f"dagster/{name}": value for name, value in tags.items()},
            )
        )

    first = instance.add_run(dg.DagsterRun(job_name="daily_bars"))
    by_hand = launched_after(first)
    second = launched_after(by_hand, retry_number="1")
    third = launched_after(second, retry_number="2")

    assert in_place_of(instance, third) == [second.run_id, by_hand.run_id]
    assert in_place_of(instance, by_hand) == [], "somebody wanted it, and its budget, anew"


def test_a_run_in_place_of_a_lost_one_is_not_taken_for_it(
    instance_with_symbols: dg.DagsterInstance,
) -> None:
    lost = _lost(instance_with_symbols, {})
    job = defs.resolve_implicit_global_asset_job_def()
    inherited = {WORKER_TAG: lost.tags[WORKER_TAG]}
    again = instance_with_symbols.create_run_for_job(
        job, tags=inherited, status=dg.DagsterRunStatus.STARTED
    )

    assert fail_lost_runs(instance_with_symbols) == []

    tell_worker(instance_with_symbols, again)
    told = instance_with_symbols.get_run_by_id(again.run_id)
    assert told is not None
    assert told.tags[WORKER_TAG] == f"{socket.gethostname()} {os.getpid()} {again.run_id}"
    assert fail_lost_runs(instance_with_symbols) == []


def test_the_selection_alone_is_materialised(instance_with_symbols: dg.DagsterInstance) -> None:
    _run(instance_with_symbols, [KEYS[1], KEYS[3]])

    assert [bool(_materializations(instance_with_symbols, key)) for key in KEYS] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_symbol_without_partitions_is_refused(instance_with_symbols: dg.DagsterInstance) -> None:
    with pytest.raises(UnknownSymbolError, match=r"symbols add GLBX\.MDP3:YM"):
        _run(instance_with_symbols, symbol="GLBX.MDP3:YM")
    assert not instance_with_symbols.get_runs()


@pytest.mark.parametrize("days_after_the_last", [1, 2])
def test_a_date_that_is_not_over_is_refused(
    instance_with_symbols: dg.DagsterInstance, days_after_the_last: int
) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert BAR_DATES.get_last_partition_key() == str(yesterday)
    late = yesterday + timedelta(days=days_after_the_last)
    with pytest.raises(RangeError, match=str(yesterday)):
        _run(instance_with_symbols, dates=DateRange(yesterday, late))


def test_a_date_before_the_first_is_refused(instance_with_symbols: dg.DagsterInstance) -> None:
    with pytest.raises(RangeError, match="TRISIGNAL_FIRST_DATE"):
        _run(instance_with_symbols, dates=DateRange(date(2009, 1, 1), date(2024, 1, 1)))


def _launch(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, asset_selection=KEYS[:1], tags=tags)


def test_the_backfill_of_a_job_is_refused(instance_with_symbols: dg.DagsterInstance) -> None:
    tags = {
        "dagster/asset_partition_range_start": f"2024-01-01|{NQ}",
        "dagster/asset_partition_range_end": f"2024-01-20|{NQ}",
        "dagster/partition/symbol": NQ,
        "dagster/partition/date": "2024-01-20",
    }
    with pytest.raises(WrongRunError, match="trisignal backfill"):
        _launch(instance_with_symbols, tags)
    assert not _materializations(instance_with_symbols, KEYS[0])


def test_symbols_in_reverse_order_are_refused(instance_with_symbols: dg.DagsterInstance) -> None:
    assert instance_with_symbols.get_dynamic_partitions("symbol") == [ES, NQ]
    tags = {
        "dagster/asset_partition_range_start": f"2024-01-01|{NQ}",
        "dagster/asset_partition_range_end": f"2024-01-02|{ES}",
    }
    with pytest.raises(WrongRunError, match="reverse order"):
        _launch(instance_with_symbols, tags)


def test_a_run_without_partitions_is_refused(instance_with_symbols: dg.DagsterInstance) -> None:
    with pytest.raises(WrongRunError, match="neither dates nor a symbol"):
        _launch(instance_with_symbols, {})


def test_one_partition_from_the_asset_page_is_right(
    instance_with_symbols: dg.DagsterInstance,
) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    key = partition_key(NQ, date(2024, 1, 30))

    job.execute_in_process(
        instance=instance_with_symbols, asset_selection=KEYS[:1], partition_key=key
    )

    assert set(_materializations(instance_with_symbols, KEYS[0])) == {key}


def test_several_symbols_in_one_run_are_each_recorded(
    instance_with_symbols: dg.DagsterInstance,
) -> None:
    tags = {
        "dagster/asset_partition_range_start": f"2024-01-01|{ES}",
        "dagster/asset_partition_range_end": f"2024-01-02|{NQ}",
    }
    _launch(instance_with_symbols, tags)
    wanted = {partition_key(s, date(2024, 1, d)) for s in (ES, NQ) for d in (1, 2)}
    assert set(_materializations(instance_with_symbols, KEYS[0])) == wanted
