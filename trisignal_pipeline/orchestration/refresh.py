"""Computing again what is in doubt: one range run a symbol, by the sensor or by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.orchestration.assets.signal_reports import BIAS, TRIANGLES
from trisignal_pipeline.orchestration.range_run import RangeRun, materialize_range
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.doubts import Doubt, doubts

SIGNAL_ASSETS = (BIAS, TRIANGLES)

ONLY_IN_DOUBT: Mapping[str, Any] = {"ops": {"signals": {"config": {"only_in_doubt": True}}}}
"""Run config: of the run's dates, compute only those in doubt, and stop where the rest holds."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The runs of a refresh, and the dates they were about."""

    runs: tuple[RangeRun, ...] = ()
    ranges: tuple[DateRange, ...] = ()


def refresh_symbol(
    definitions: dg.Definitions, instance: dg.DagsterInstance, database: Database, symbol: str
) -> Refreshed:
    """Compute again, in this process, the signals of `symbol` that are in doubt.

    A year a run, and only as long as something is in doubt: a run may find that the rest holds.
    """
    runs: list[RangeRun] = []
    ranges: list[DateRange] = []
    before: Doubt | None = None
    while (doubt := _doubt_of(database, symbol)) not in (None, before):
        dates = by_year(DateRange(doubt.first, doubt.last))[0]
        ranges.append(dates)
        runs.append(
            materialize_range(
                definitions,
                instance,
                [dg.AssetKey(name) for name in SIGNAL_ASSETS],
                symbol,
                dates,
                run_config=ONLY_IN_DOUBT,
                raise_on_error=False,
                log_level="CRITICAL",
            )
        )
        if not runs[-1].success:
            break
        before = doubt
    return Refreshed(tuple(runs), tuple(ranges))


def _doubt_of(database: Database, symbol: str) -> Doubt | None:
    with database.reading().connect("refresh") as connection:
        return next((doubt for doubt in doubts(connection) if doubt.symbol == symbol), None)
