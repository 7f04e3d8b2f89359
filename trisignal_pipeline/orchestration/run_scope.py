"""Which symbols and dates a run is about, and the refusal of runs that would get it wrong.

Dagster can be asked for a range in ways that look right and do one partition of twenty, or none,
and end green. Every partitioned asset asks here for its scope, so that such a run fails instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MULTIDIMENSIONAL_PARTITION_PREFIX,
)

from trisignal_pipeline.errors import WrongRunError
from trisignal_pipeline.market.dates import DateRange, contiguous_ranges
from trisignal_pipeline.orchestration.partitions import (
    SYMBOL_DIMENSION,
    parse_partition_key,
    partition_key,
)

RIGHT_WAY = (
    "select the assets on the asset page and choose Materialize with a range of dates, "
    "or run `trisignal backfill`"
)

_SYMBOL_TAG = f"{MULTIDIMENSIONAL_PARTITION_PREFIX}{SYMBOL_DIMENSION}"


@dataclass(frozen=True, slots=True)
class SymbolDates:
    """The dates of one symbol that a run is about, ascending."""

    symbol: str
    dates: tuple[date, ...]

    @property
    def ranges(self) -> list[DateRange]:
        """The dates as the fewest ranges that hold exactly them."""
        return contiguous_ranges(self.dates)

    @property
    def partition_keys(self) -> list[str]:
        """What Dagster calls the dates, in the same order."""
        return [partition_key(self.symbol, day) for day in self.dates]


def symbol_dates(context: dg.AssetExecutionContext) -> list[SymbolDates]:
    """The scope of the run that `context` belongs to: one entry per symbol, in Dagster's order.

    Raises:
        WrongRunError: the run was launched in a way that can't give a right result.
    """
    refuse_job_backfill(context.run.tags)
    keys: Sequence[str] = ()
    if context.has_partition_key or context.has_partition_key_range:
        keys = context.partition_keys
    refuse_no_keys(keys, context.run.tags)
    return by_symbol(keys)


def by_symbol(keys: Iterable[str]) -> list[SymbolDates]:
    """Partition keys as one entry per symbol, in the order in which the symbols first occur."""
    dates: dict[str, set[date]] = {}
    for key in keys:
        symbol, day = parse_partition_key(key)
        dates.setdefault(symbol, set()).add(day)
    return [SymbolDates(symbol, tuple(sorted(days))) for symbol, days in dates.items()]


def refuse_job_backfill(tags: Mapping[str, str]) -> None:
    """Raise `WrongRunError` for a run of a job's backfill.

    Such a run carries both a range and one partition; Dagster does the one partition, records it,
    and counts the whole range as done.
    """
    if ASSET_PARTITION_RANGE_START_TAG in tags and _SYMBOL_TAG in tags:
        raise WrongRunError(
            f"this run asks for the range {tags[ASSET_PARTITION_RANGE_START_TAG]} to "
            f"{tags.get(ASSET_PARTITION_RANGE_END_TAG)} and for the single symbol "
            f"{tags[_SYMBOL_TAG]} at once, as the backfill of a job does; Dagster would do one "
            f"partition and report all of them; {RIGHT_WAY}"
        )


def refuse_no_keys(keys: Sequence[str], tags: Mapping[str, str]) -> None:
    """Raise `WrongRunError` if a run has no partition at all."""
    if keys:
        return
    start = tags.get(ASSET_PARTITION_RANGE_START_TAG)
    if start is None:
        raise WrongRunError(f"this run names neither dates nor a symbol; {RIGHT_WAY}")
    raise WrongRunError(
        f"the range {start} to {tags.get(ASSET_PARTITION_RANGE_END_TAG)} holds no partition: dates "
        "or symbols are in reverse order, or a symbol is not in the registry; give the earlier "
        f"date and the symbol that stands first on the asset page first; {RIGHT_WAY}"
    )
