"""Metadata of each partition of a range, handed to Dagster in one piece."""

from __future__ import annotations

from collections.abc import Mapping

from dagster import AssetExecutionContext, AssetKey, MetadataValue
from dagster._core.execution.context.metadata_logging import (
    AssetMetadataHandle,
    OutputMetadataAccumulator,
)

MetadataOfOne = Mapping[str, MetadataValue | str | int | float | bool | None]


def add_metadata_per_partition(
    context: AssetExecutionContext,
    asset_key: AssetKey,
    metadata: Mapping[str, MetadataOfOne],
) -> None:
    """Attach `metadata` (partition key -> its entries) to the materialisations of `asset_key`.

    The same as `context.add_asset_metadata(entries, partition_key=key)` for each key, which lists
    the whole range again at every call: 4 ms a key for a year, growing with the range. Entries
    given for a key that the run doesn't carry are not reported anywhere.
    """
    step = context.get_step_execution_context()
    before = step._metadata_accumulator.per_output_metadata  # noqa: SLF001 no public way to batch
    merged = dict(before)
    for key, entries in metadata.items():
        handle = AssetMetadataHandle(asset_key=asset_key, partition_key=key)
        merged[handle] = {**before.get(handle, {}), **entries}
    step._metadata_accumulator = OutputMetadataAccumulator(  # noqa: SLF001
        per_output_metadata=merged
    )
