"""Making again what is in doubt: bars of a contract that leads no more, clean bars, signals.

By the sensor or by hand, a run a range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.orchestration.assets import clean_bars, legacy_bars
from trisignal_pipeline.orchestration.assets.signal_reports import BIAS, TRIANGLES
from trisignal_pipeline.orchestration.range_run import RangeRun, materialize_range
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.doubts import Doubt, doubts
from trisignal_pipeline.storage.lead_doubts import dates_of_other_contracts
from trisignal_pipeline.storage.stale_dates import stale_clean_dates

SIGNAL_ASSETS = (BIAS, TRIANGLES)
CLEAN_BARS_AND_SIGNALS = (clean_bars.NAME, *SIGNAL_ASSETS)
BARS_AND_SIGNALS = (legacy_bars.NAME, *CLEAN_BARS_AND_SIGNALS)

ONLY_IN_DOUBT: Mapping[str, Any] = {"ops": {"signals": {"config": {"only_in_doubt": True}}}}
"""Run config: of the run's dates, compute only those in doubt, and stop where the rest holds."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The runs of a refresh, and the dates they were about, in the same order.

    rolled   bars were of a contract that leads no more: bars and signals were made again
    stale    clean bars were of older legacy ones: they and the signals were made again
    ranges   signals were in doubt: they were computed again
    """

    runs: tuple[RangeRun, ...] = ()
    rolled: tuple[DateRange, ...] = ()
    stale: tuple[DateRange, ...] = ()
    ranges: tuple[DateRange, ...] = ()


def refresh_symbol(
    definitions: dg.Definitions, instance: dg.DagsterInstance, database: Database, symbol: str
) -> Refreshed:
    """Make again, in this process, what of `symbol` is in doubt: bars first, then signals.

    A year a run. Signals only as long as something is in doubt: a run may find that the rest holds.
    """
    runs: list[RangeRun] = []
    rolled: list[DateRange] = []
    stale: list[DateRange] = []
    ranges: list[DateRange] = []

    def materialize(assets: Sequence[str], dates: DateRange, **run_config: Any) -> bool:
        runs.append(
            materialize_range(
                definitions,
                instance,
                [dg.AssetKey(name) for name in assets],
                symbol,
                dates,
                run_config=run_config,
                raise_on_error=False,
                log_level="CRITICAL",
            )
        )
        return runs[-1].success

    for dates in (year for span in _rolled(database, symbol) for year in by_year(span)):
        rolled.append(dates)
        if not materialize(BARS_AND_SIGNALS, dates):
            return Refreshed(tuple(runs), tuple(rolled))
    for dates in (year for span in _stale(database, symbol) for year in by_year(span)):
        stale.append(dates)
        if not materialize(CLEAN_BARS_AND_SIGNALS, dates):
            return Refreshed(tuple(runs), tuple(rolled), tuple(stale))
    before: Doubt | None = None
    while (doubt := _doubt_of(database, symbol)) not in (None, before):
        ranges.append(by_year(DateRange(doubt.first, doubt.last))[0])
        if not materialize(SIGNAL_ASSETS, ranges[-1], **ONLY_IN_DOUBT):
            break
        before = doubt
    return Refreshed(tuple(runs), tuple(rolled), tuple(stale), tuple(ranges))


def _rolled(database: Database, symbol: str) -> list[DateRange]:
    with database.reading().connect("refresh") as connection:
        return dates_of_other_contracts(connection).get(symbol, [])


def _stale(database: Database, symbol: str) -> list[DateRange]:
    with database.reading().connect("refresh") as connection:
        return stale_clean_dates(connection).get(symbol, [])


def _doubt_of(database: Database, symbol: str) -> Doubt | None:
    with database.reading().connect("refresh") as connection:
        return next((doubt for doubt in doubts(connection) if doubt.symbol == symbol), None)
