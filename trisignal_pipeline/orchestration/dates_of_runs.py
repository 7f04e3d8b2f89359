"""Which symbols and dates runs are about, by their tags: those under way, and those that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import SYMBOL_DIMENSION, parse_partition_key

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def is_under_way(instance: dg.DagsterInstance, symbol: str, dates: DateRange) -> bool:
    """Whether any run, whoever wanted it, is about one of `dates` of `symbol`."""
    symbols = instance.get_dynamic_partitions(SYMBOL_DIMENSION)
    return any(
        of_symbol == symbol and of_run.overlaps(dates)
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        for of_symbol, of_run in _about(run.tags, symbols)
    )


def failed_dates(
    instance: dg.DagsterInstance, dates: DateRange, since: datetime
) -> dict[tuple[str, date], datetime]:
    """For symbols and dates that failed runs were about, when the last of them failed.

    Runs that somebody cancelled are not among them: what those left unfinished shows in the tables.
    Nor are those that Dagster launches again by itself.
    """
    symbols = instance.get_dynamic_partitions(SYMBOL_DIMENSION)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    found: dict[tuple[str, date], datetime] = {}
    for record in instance.get_run_records(failed):
        tags = record.dagster_run.tags
        if tags.get(WILL_RETRY_TAG) == "true":
            continue
        for symbol, of_run in _about(tags, symbols):
            for day in _both(of_run, dates):
                before = found.get((symbol, day), record.update_timestamp)
                found[symbol, day] = max(before, record.update_timestamp)
    return found


def _about(tags: Mapping[str, str], symbols: Sequence[str]) -> Iterator[tuple[str, DateRange]]:
    """The symbols of a run's partitions, each with the dates; nothing of a run without any."""
    one = tags.get(PARTITION_NAME_TAG)
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG, one)
    last = tags.get(ASSET_PARTITION_RANGE_END_TAG, one)
    if first is None or last is None:
        return
    (from_symbol, start), (to_symbol, end) = map(parse_partition_key, (first, last))
    if from_symbol in symbols and to_symbol in symbols and start <= end:
        # A range runs over the symbols in the order that Dagster has them in.
        among = symbols[symbols.index(from_symbol) : symbols.index(to_symbol) + 1]
        yield from ((symbol, DateRange(start, end)) for symbol in among)


def _both(one: DateRange, other: DateRange) -> Sequence[date]:
    if not one.overlaps(other):
        return ()
    return tuple(DateRange(max(one.start, other.start), min(one.end, other.end)))
