"""Five assets that do nothing, declared and reporting as the real ones do.

Annotations are evaluated here: Dagster compares that of `context` with its own classes.
"""

import os
import signal
import warnings
from collections.abc import Iterator

import dagster as dg

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.orchestration.io_manager import NothingStored
from trisignal_pipeline.orchestration.partition_checks import check_done, check_per_partition
from trisignal_pipeline.orchestration.partition_metadata import add_metadata_per_partition
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL
from trisignal_pipeline.orchestration.run_scope import symbol_dates

CHECK = "believable"
NAMES = [f"toy_{number}" for number in range(5)]
KEYS = [dg.AssetKey(name) for name in NAMES]

FAILING_VARIABLE = "TOY_ASSET_THAT_FAILS"
INTERRUPTED_VARIABLE = "TOY_ASSET_THAT_IS_INTERRUPTED"
KILLED_VARIABLE = "TOY_ASSET_THAT_IS_KILLED"


def _toy(name: str, upstream: list[str]) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        partitions_def=DAILY_BY_SYMBOL,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=upstream,
        check_specs=[check_per_partition(name, CHECK, "the numbers are believable")],
    )
    def toy(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        keys = [key for scope in symbol_dates(context) for key in scope.partition_keys]
        if os.environ.get(INTERRUPTED_VARIABLE) == name:
            os.kill(os.getpid(), signal.SIGINT)
        if os.environ.get(KILLED_VARIABLE) == name:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get(FAILING_VARIABLE) == name:
            raise RefusedFileError(f"{keys[0]}: cut short")
        add_metadata_per_partition(
            context, context.asset_key, {key: {"of": key, "rows": len(key)} for key in keys}
        )
        yield dg.Output(None)
        for key in keys:
            yield dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=CHECK,
                passed=not key.startswith("2024-02-02"),
                partition=key,
                metadata={"of": key},
            )
        yield check_done(name, CHECK)

    return toy


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)
    ASSETS = [_toy(name, NAMES[max(0, at - 1) : at]) for at, name in enumerate(NAMES)]

defs = dg.Definitions(
    assets=ASSETS,
    resources={"io_manager": NothingStored()},
    executor=dg.in_process_executor,
)
