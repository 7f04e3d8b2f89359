"""One run over a range of dates of one symbol, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from trisignal_pipeline import errors
from trisignal_pipeline.errors import RangeError, TrisignalError, UnknownSymbolError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.lost_runs import fail_lost_runs, process_tag
from trisignal_pipeline.orchestration.partitions import (
    BAR_DATES,
    SYMBOL_DIMENSION,
    partition_key,
)


@dataclass(frozen=True, slots=True)
class StepFailure:
    """Why a step failed: its name, and class and text of the error that says it best.

    That is the first of the project's own errors, which tell what to do; else the last one.
    """

    step: str
    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class RangeRun:
    """What became of a run. The steps after a failed one were not tried."""

    run_id: str
    success: bool
    failures: tuple[StepFailure, ...]


def materialize_range(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    selection: Sequence[dg.AssetKey],
    symbol: str,
    dates: DateRange,
    *,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    raise_on_error: bool = True,
    log_level: str = "ERROR",
) -> RangeRun:
    """Materialise `selection` for `symbol` on `dates` in one run; the UI shows it as any other.

    Every asset must have `BackfillPolicy.single_run()`. Bookkeeping takes about 3.5 ms per asset,
    date and check. `log_level` is what reaches the terminal; the event log has everything.

    Raises:
        UnknownSymbolError: Dagster has no partitions of the symbol.
        RangeError: a date is before the first partition, or its bars are not all there yet.
        KeyboardInterrupt: SIGINT or SIGTERM came; Dagster has recorded the run as failed.
        Exception: what a step raised, if `raise_on_error`.
    """
    require_partitions(instance, symbol, dates)
    fail_lost_runs(instance)
    loggers = {"console": {"config": {"log_level": log_level}}}
    job = definitions.resolve_implicit_global_asset_job_def()
    try:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=list(selection),
            run_config={"loggers": loggers, **(run_config or {})},
            tags={
                **(tags or {}),
                **process_tag(),
                ASSET_PARTITION_RANGE_START_TAG: partition_key(symbol, dates.start),
                ASSET_PARTITION_RANGE_END_TAG: partition_key(symbol, dates.end),
            },
            raise_on_error=raise_on_error,
        )
    except DagsterExecutionInterruptedError as interruption:
        raise KeyboardInterrupt from interruption
    failures = tuple(step_failure(event) for event in result.all_events if event.is_step_failure)
    if any(one.error_class == DagsterExecutionInterruptedError.__name__ for one in failures):
        raise KeyboardInterrupt
    return RangeRun(result.run_id, result.success, failures)


def require_partitions(instance: dg.DagsterInstance, symbol: str, dates: DateRange) -> None:
    """Make sure that Dagster has a partition of `symbol` for every one of `dates`.

    Raises:
        UnknownSymbolError: it has none of the symbol.
        RangeError: a date is before the first partition, or its bars are not all there yet.
    """
    if not instance.has_dynamic_partition(SYMBOL_DIMENSION, symbol):
        known = ", ".join(instance.get_dynamic_partitions(SYMBOL_DIMENSION)) or "none"
        raise UnknownSymbolError(
            f"Dagster has no partitions of {symbol} (it has {known}); "
            f"run `trisignal symbols add {symbol}`"
        )
    first, last = BAR_DATES.get_first_partition_key(), BAR_DATES.get_last_partition_key()
    if first is None or last is None or str(dates.start) < first or str(dates.end) > last:
        raise RangeError(
            f"{symbol}: {dates} is not within {first} to {last}, from TRISIGNAL_FIRST_DATE to the "
            "newest UTC date that is over"
        )


_OUR_ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, TrisignalError)
}


def step_failure(event: dg.DagsterEvent) -> StepFailure:
    """What a step's failure says, in the words of the error that says it best."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None and error.cls_name not in _OUR_ERRORS:
        error = error.cause
    name = (error.cls_name if error else None) or "?"
    message = error.message.strip() if error else ""
    # Python writes the class before the text, with its module.
    written, _, text = message.partition(": ")
    return StepFailure(
        step=event.step_key or "?",
        error_class=name,
        message=text if written.rpartition(".")[2] == name else message,
    )
