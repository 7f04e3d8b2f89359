"""What the UI shows of the assets before any of them has run."""

from __future__ import annotations

import dagster as dg
import pytest

from trisignal_pipeline.orchestration.assets import pipeline_health
from trisignal_pipeline.orchestration.definitions import build_defs, defs
from trisignal_pipeline.orchestration.io_manager import NothingStored
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL
from trisignal_pipeline.orchestration.resources import NobodyWatches
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.pipeline import ASSETS, BIAS, CHECKS, CLEAN, LEGACY, RAW, TRIANGLES

each_asset = pytest.mark.parametrize("name", ASSETS)


def _spec(name: str) -> dg.AssetSpec:
    return defs.resolve_asset_graph().get(dg.AssetKey(name)).to_asset_spec()


def test_the_definitions_load_and_hold_the_five_assets_and_what_watches_them() -> None:
    dg.Definitions.validate_loadable(defs)
    assert {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()} == {
        *ASSETS,
        pipeline_health.NAME,
    }


def test_bars_travel_from_files_to_triangles() -> None:
    upstream = {
        name: {dependency.asset_key.to_user_string() for dependency in _spec(name).deps}
        for name in ASSETS
    }
    assert upstream == {
        RAW: set(),
        LEGACY: {RAW},
        CLEAN: {LEGACY},
        BIAS: {CLEAN, LEGACY},
        TRIANGLES: {BIAS},
    }


@each_asset
def test_an_asset_says_whose_it_is_and_what_it_is_for(name: str) -> None:
    spec = _spec(name)
    assert spec.owners
    assert spec.kinds
    assert spec.group_name in {"raw", "bars", "signal"}
    assert spec.description is not None
    assert len(spec.description.split()) > 30
    assert len(spec.description.splitlines()[0]) < 100, "the first line is what the graph shows"


@each_asset
def test_the_column_schema_is_that_of_the_table(name: str, database_url: str) -> None:
    metadata = _spec(name).metadata
    table, schema = metadata["dagster/table_name"], metadata["dagster/column_schema"]
    with Database(database_url).connect("tests") as connection:
        found = connection.execute(
            "SELECT column_name, udt_name FROM information_schema.columns WHERE table_name = %s",
            (table,),
        )
        of_table = dict(found.fetchall())
    types = {"int8": "bigint", "bool": "boolean"}

    assert [column.name for column in schema.columns if not column.description] == []
    assert len(schema.columns) > 5
    for column in schema.columns:
        assert column.type == types.get(of_table[column.name], of_table[column.name])


@each_asset
def test_one_run_takes_a_box_of_dates_and_symbols(name: str) -> None:
    asset = defs.resolve_asset_graph().get(dg.AssetKey(name))
    assert asset.partitions_def == DAILY_BY_SYMBOL
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()


@each_asset
def test_an_asset_has_a_check_with_a_verdict_per_partition(name: str) -> None:
    graph = defs.resolve_asset_graph()
    key = dg.AssetCheckKey(dg.AssetKey(name), CHECKS[name])
    assert key in graph.get(dg.AssetKey(name)).check_keys
    check = graph.get(key)
    assert check.partitions_def == DAILY_BY_SYMBOL
    assert check.description
    assert not check.blocking, "one bad date must not stop the others of its run"


def test_runs_keep_their_steps_in_one_process_and_move_no_data() -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    assert job.executor_def is dg.in_process_executor
    assert isinstance(defs.resources["io_manager"], NothingStored)  # type: ignore[index]


def test_resources_can_be_replaced() -> None:
    watcher = NobodyWatches()
    replaced = build_defs({"progress": watcher})
    assert replaced.resources is not None
    assert replaced.resources["progress"] is watcher
    assert set(replaced.resources) == set(defs.resources or {})
