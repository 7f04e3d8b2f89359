"""Dagster's symbol partitions follow the symbol registry: a new symbol is a row, not a release."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import dagster as dg

from trisignal_pipeline.orchestration.partitions import SYMBOL_DIMENSION, SYMBOLS
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.storage import registry


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds a partition for every active symbol of the registry, takes away the others.",
)
def symbols_follow_the_registry(
    context: dg.SensorEvaluationContext, postgres: PostgresResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for what `sync_symbols` would do at once."""
    with postgres.database().reading().connect("registry sensor") as connection:
        wanted = registry.active_symbols(connection)
    known = context.instance.get_dynamic_partitions(SYMBOL_DIMENSION)
    added = [symbol for symbol in wanted if symbol not in known]
    gone = [symbol for symbol in known if symbol not in wanted]
    if not added and not gone:
        return dg.SkipReason(f"all {len(wanted)} active symbols have partitions")
    return dg.SensorResult(
        dynamic_partitions_requests=[
            *([SYMBOLS.build_add_request(added)] if added else []),
            *([SYMBOLS.build_delete_request(gone)] if gone else []),
        ]
    )
