"""Asset checks with a verdict per partition, emitted by the asset that they are about."""

from __future__ import annotations

import warnings

import dagster as dg

from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL


def check_per_partition(asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """The declaration of a check whose verdicts are `AssetCheckEvaluation(partition=…)`.

    The asset must also yield `check_done(…)`: to Dagster a check is an output of its own.
    """
    with warnings.catch_warnings():
        # Checks with partitions are a preview in this release; ours is pinned.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name=name, asset=asset, description=description, partitions_def=DAILY_BY_SYMBOL
        )


def check_done(asset: str, name: str) -> dg.Output[None]:
    """What the asset yields after the last verdict of a check, or the step fails."""
    return dg.Output(None, output_name=f"{asset}_{name}")
