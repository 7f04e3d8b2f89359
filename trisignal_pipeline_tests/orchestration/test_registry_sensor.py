"""The sensor that keeps Dagster's symbols in step with the registry."""

from __future__ import annotations

import dagster as dg

from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.partitions import SYMBOL_DIMENSION, sync_symbols
from trisignal_pipeline.orchestration.registry_sensor import symbols_follow_the_registry
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage import registry
from trisignal_pipeline_tests.pipeline import Pipeline

SEEDS = ["GLBX.MDP3:ES", "GLBX.MDP3:NQ", "GLBX.MDP3:RTY", "GLBX.MDP3:YM"]
GOLD = "GLBX.MDP3:MGC"


def _tick(instance: dg.DagsterInstance) -> list[str]:
    """Let the sensor look once, do what it asks for, and return the symbols Dagster then has."""
    with dg.build_sensor_context(
        instance=instance, resources={"postgres": PostgresResource()}
    ) as context:
        answer = symbols_follow_the_registry(context)
    if isinstance(answer, dg.SensorResult):
        for request in answer.dynamic_partitions_requests or ():
            assert request.partitions_def_name == SYMBOL_DIMENSION
            for symbol in request.partition_keys:
                if isinstance(request, dg.AddDynamicPartitionsRequest):
                    instance.add_dynamic_partitions(SYMBOL_DIMENSION, [symbol])
                else:
                    instance.delete_dynamic_partition(SYMBOL_DIMENSION, symbol)
    else:
        assert isinstance(answer, dg.SkipReason)
        assert "4 active symbols" in (answer.skip_message or "")
    return sorted(instance.get_dynamic_partitions(SYMBOL_DIMENSION))


def test_it_runs_by_default() -> None:
    sensor = defs.resolve_sensor_def(symbols_follow_the_registry.name)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_a_new_symbol_becomes_a_partition_and_an_inactive_one_stops_being_one(
    pipeline: Pipeline,
) -> None:
    with pipeline.instance() as instance, pipeline.database.connect("tests") as connection:
        sync_symbols(instance, [])
        assert _tick(instance) == SEEDS

        registry.add_symbol(connection, GOLD, {})
        connection.commit()
        assert _tick(instance) == sorted([*SEEDS, GOLD])

        registry.set_symbol(connection, GOLD, {"is_active": False})
        connection.commit()
        assert _tick(instance) == SEEDS


def test_where_all_is_in_step_it_asks_for_nothing(pipeline: Pipeline) -> None:
    with pipeline.instance() as instance:
        assert _tick(instance) == SEEDS
        assert _tick(instance) == SEEDS
