"""Housekeeping in Dagster's database: old events and runs go, and no partition looks otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration import dagster_outdated as module
from trisignal_pipeline.orchestration.dagster_outdated import (
    dagster_outdated,
    delete_dagster_outdated,
)
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL, partition_key
from trisignal_pipeline.storage.retention import Retention
from trisignal_pipeline_tests.pipeline import ASSETS, CHECKS, CLEAN, LEGACY, RAW, Pipeline
from trisignal_pipeline_tests.tiny_market import (
    MONDAY,
    NQ,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    write_day,
    write_days,
)

NOW = datetime.now(UTC)
ALL = Retention(events=30, runs=30)


def in_dagster(pipeline: Pipeline, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(pipeline.dagster_url) as connection:
        found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


def grow_old(pipeline: Pipeline) -> None:
    """Let all that Dagster knows have happened a hundred days ago, and let it forget its caches."""
    in_dagster(
        pipeline,
        "UPDATE event_logs SET timestamp = timestamp - interval '100 days'; "
        "UPDATE runs SET update_timestamp = update_timestamp - interval '100 days'; "
        "UPDATE asset_check_executions SET create_timestamp = create_timestamp "
        "- interval '100 days'; UPDATE asset_keys SET cached_status_data = NULL",
    )


@pytest.fixture
def lived_in(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Runs over the same dates again and again, two that failed, and one that was never ended."""
    monkeypatch.setattr(module, "WINDOW_EVENTS", 50)
    monkeypatch.setattr(module, "BATCH_RUNS", 1)
    write_days(pipeline.raw, DateRange(MONDAY, TUESDAY))
    for _ in range(2):
        pipeline.materialize(MONDAY, TUESDAY)
    pipeline.materialize_one(TUESDAY)
    # Runs that fail leave dates that are planned: one with a verdict, one never materialised.
    write_day(pipeline.raw, MONDAY, delivered=changed(bars(MONDAY), 0, volume=501))
    write_day(pipeline.raw, WEDNESDAY)
    in_bars = "ALTER TABLE market_bars_ohlcv_1m {} CONSTRAINT nothing_more {}"
    with psycopg.connect(pipeline.database.url, autocommit=True) as connection:
        connection.execute(in_bars.format("ADD", "CHECK (false) NOT VALID").encode())
        with pipeline.instance() as instance:
            for day in (MONDAY, WEDNESDAY):
                failed = pipeline.launch(
                    instance,
                    (RAW, LEGACY),
                    partition_key=partition_key(NQ, day),
                    raise_on_error=False,
                )
                assert not failed.success
            unfinished = instance.create_run_for_job(
                defs.resolve_implicit_global_asset_job_def(), status=dg.DagsterRunStatus.STARTED
            )
            instance.report_engine_event("still at work", unfinished)
        connection.execute(in_bars.format("DROP", "").encode())
    grow_old(pipeline)
    return pipeline


def verdicts(pipeline: Pipeline, asset: str) -> list[Any]:
    """The asset's check as the graph shows it, and the latest verdict on each partition."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), CHECKS[asset])
    latest: dict[str | None, Any] = {}
    with pipeline.instance() as instance:
        storage = instance.event_log_storage
        shown = storage.get_latest_asset_check_execution_by_key([key])
        for record in storage.get_asset_check_execution_history(key, limit=1000):
            if isinstance(record.evaluation, dg.AssetCheckEvaluation):
                latest.setdefault(record.evaluation.partition, record.evaluation)
    return [shown, latest]


def as_shown(pipeline: Pipeline) -> dict[str, Any]:
    """What the UI tells of every partition, read anew."""
    in_dagster(pipeline, "UPDATE asset_keys SET cached_status_data = NULL")
    keys = [partition_key(NQ, day) for day in (MONDAY, TUESDAY, WEDNESDAY)]
    shown: dict[str, Any] = {}
    with pipeline.instance() as instance:
        for name in ASSETS:
            key = dg.AssetKey(name)
            record = instance.get_latest_materialization_event(key)
            status = instance.get_status_by_partition(key, keys, DAILY_BY_SYMBOL)
            shown[name] = (
                instance.get_materialized_partitions(key),
                status,
                record,
                [
                    instance.get_asset_records([key])[0].asset_entry.last_run_id,
                    instance.get_latest_data_version_record(key, partition_key=keys[0]),
                ],
            )
    for name in ASSETS:
        shown[f"{name} metadata"] = {
            key: one.metadata for key, one in pipeline.materializations(name).items()
        }
        shown[f"{name} check"] = verdicts(pipeline, name)
    return shown


def runs(pipeline: Pipeline) -> set[str]:
    return {row[0] for row in in_dagster(pipeline, "SELECT run_id FROM runs")}


OF_UNFINISHED = (
    "SELECT e.* FROM event_logs e JOIN runs r USING (run_id) WHERE r.status = 'STARTED' "
    "ORDER BY e.id"
)


def only_what_states_are_told_by(lived_in: Pipeline) -> None:
    """See that nothing else is left, and nothing that belongs to what went."""
    kinds = dict(
        in_dagster(
            lived_in,
            "SELECT e.dagster_event_type, count(*) FROM event_logs e JOIN runs r USING (run_id) "
            "WHERE r.status <> 'STARTED' GROUP BY 1",
        )
    )
    assert {kind for kind in kinds if not kind.startswith("PIPELINE_")} <= {
        "ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED", "ASSET_FAILED_TO_MATERIALIZE",
        "ASSET_OBSERVATION",
    }  # fmt: skip
    # Two dates of five assets, and the raw files of the date that has nothing else.
    assert kinds["ASSET_MATERIALIZATION"] == 11
    assert kinds["ASSET_MATERIALIZATION_PLANNED"] == 2
    assert kinds["PIPELINE_SUCCESS"] == 2
    assert in_dagster(
        lived_in,
        "SELECT count(*) FROM asset_event_tags t WHERE NOT EXISTS "
        "(SELECT FROM event_logs e WHERE e.id = t.event_id)",
    ) == [(0,)]
    assert in_dagster(
        lived_in,
        "SELECT count(*) FROM run_tags t WHERE NOT EXISTS "
        "(SELECT FROM runs r WHERE r.run_id = t.run_id)",
    ) == [(0,)]


def test_every_partition_looks_the_same_before_and_after(lived_in: Pipeline) -> None:
    before, runs_before = as_shown(lived_in), runs(lived_in)
    still_at_work = in_dagster(lived_in, OF_UNFINISHED)
    assert still_at_work
    assert [status.value for status in before[LEGACY][1].values()] == [
        "FAILED", "MATERIALIZED", "FAILED",
    ]  # fmt: skip
    with lived_in.instance() as instance:
        told = {one.what: one.rows for one in dagster_outdated(instance, ALL, NOW)}
        assert as_shown(lived_in) == before, "asking deletes nothing"
        gone = {one.what: one.rows for one in delete_dagster_outdated(instance, ALL, NOW)}

    assert as_shown(lived_in) == before
    assert in_dagster(lived_in, OF_UNFINISHED) == still_at_work
    assert told == gone
    assert all(gone.values())
    # The first run of the two over the same dates is all that was replaced in full.
    assert len(runs_before - runs(lived_in)) == 1
    assert verdicts(lived_in, CLEAN)[1].keys() == {
        partition_key(NQ, day) for day in (MONDAY, TUESDAY)
    }
    with lived_in.instance() as instance:
        assert [one.rows for one in dagster_outdated(instance, ALL, NOW)] == [0, 0, 0]
    only_what_states_are_told_by(lived_in)


def test_what_is_new_stays_and_a_backfill_that_goes_on_keeps_its_runs(lived_in: Pipeline) -> None:
    before = runs(lived_in)
    in_dagster(
        lived_in,
        "UPDATE runs SET backfill_id = 'abcdefgh'; "
        "INSERT INTO bulk_actions (key, status, timestamp) VALUES ('abcdefgh', 'REQUESTED', now())",
    )
    with lived_in.instance() as instance:
        younger = Retention(events=101, runs=101)
        assert [one.rows for one in dagster_outdated(instance, younger, NOW)] == [0, 0, 0]
        assert [one.rows for one in delete_dagster_outdated(instance, younger, NOW)] == [0, 0, 0]

        list(delete_dagster_outdated(instance, Retention(runs=30), NOW))
        assert runs(lived_in) == before

        in_dagster(lived_in, "UPDATE bulk_actions SET status = 'COMPLETED_SUCCESS'")
        list(delete_dagster_outdated(instance, Retention(runs=30), NOW))
        assert len(runs(lived_in)) == len(before) - 1


def test_another_storage_is_left_to_its_own_means() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert dagster_outdated(instance, Retention(health=1), NOW) == []
        with pytest.raises(ConfigurationError, match="are for the storage that comes with"):
            dagster_outdated(instance, ALL, NOW)
        with pytest.raises(ConfigurationError, match="names InMemoryEventLogStorage"):
            list(delete_dagster_outdated(instance, ALL, NOW))
