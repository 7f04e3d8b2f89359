"""What the two assets that write bars share: screen, write under an audit row, judge, report."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType

import dagster as dg
import numpy as np
import pandas as pd
import pandera.pandas as pa
from pydantic import Field

from trisignal_pipeline.judging import Verdict, judge, off_tick_verdicts, verdicts
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, from_day_number, iso_minute
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.partition_metadata import MetadataOfOne
from trisignal_pipeline.orchestration.partition_report import PartitionReport, share
from trisignal_pipeline.orchestration.resources import PostgresResource, Progress
from trisignal_pipeline.orchestration.session_completeness import judge_completeness
from trisignal_pipeline.schemas import bar_frame
from trisignal_pipeline.screening import Screened
from trisignal_pipeline.storage import conditions
from trisignal_pipeline.storage.audit import IngestFile
from trisignal_pipeline.storage.bar_dates import BarDate, complete_dates
from trisignal_pipeline.storage.bars import BarsTable, read_bars
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS, MOST_BATCH_ROWS
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import HeldSymbol
from trisignal_pipeline.storage.replacement import Written


class WritingConfig(dg.Config):
    """How bars are written."""

    batch_rows: int = Field(
        default=DEFAULT_BATCH_ROWS,
        ge=1,
        le=MOST_BATCH_ROWS,
        description="How many bars one transaction writes. More is faster, less is gentler.",
    )


BesideCheck = Callable[[HeldSymbol, DateRange, Bars, Screened], Mapping[date, MetadataOfOne]]
"""Another check on what was just written: given the dates, all bars stored of them and what was
delivered, it fills a report of its own. It returns what there is to say with partitions."""


@dataclass(frozen=True, slots=True)
class BarsWriting:
    """One market's bars on their way into one table, in one run.

    completeness: the report of how complete dates are; with it, bars off the tick are flagged too.
    beside: other checks on what was written, with reports of their own.
    """

    context: dg.AssetExecutionContext
    postgres: PostgresResource
    progress: Progress
    config: WritingConfig
    held: HeldSymbol
    market: Market
    table: BarsTable
    schema: pa.DataFrameSchema
    report: PartitionReport
    completeness: PartitionReport | None = None
    beside: Sequence[BesideCheck] = ()

    def write(
        self,
        dates: DateRange,
        screened: Screened,
        *,
        source: str,
        files: Sequence[IngestFile] = (),
        made_from: Mapping[date, datetime] = MappingProxyType({}),
    ) -> Written:
        """Make what stands of a delivery all that the table holds of `dates`, and report it.

        `files` are what was delivered, in the order that `screened.origin` counts by. `made_from`
        are the versions of the legacy dates that clean bars were read from.
        """
        started = time.perf_counter()
        with self.postgres.ingest_run(
            self.context, self.market, dates, source=source, files=files
        ) as run:
            written = write_range(
                self.held,
                run,
                self.table,
                dates,
                screened,
                source=source,
                files=files,
                made_from=made_from,
                batch_rows=self.config.batch_rows,
                on_batch=lambda bars: self.progress.advance(self.report.asset, bars),
            )
        seconds = time.perf_counter() - started
        self.context.log.info(
            "%s %s: %d bars delivered, %d inserted, %d updated, %d unchanged, %d removed, "
            "%d rejected, %.1f s",
            self.held.symbol,
            dates,
            len(screened.accepted) + len(screened.rejected),
            written.inserted,
            written.updated,
            written.unchanged,
            written.removed,
            len(screened.rejected),
            seconds,
        )
        self._report(dates, screened, seconds, source, files)
        return written

    def _report(
        self,
        dates: DateRange,
        screened: Screened,
        seconds: float,
        source: str,
        files: Sequence[IngestFile],
    ) -> None:
        symbol = self.held.symbol
        stored = self.held.repeat(read_bars, self.table, symbol, dates.start_ns, dates.end_ns)
        described = self.held.repeat(complete_dates, symbol, self.table.layer, dates)
        frame = bar_frame(stored)
        of_stored = judge(self.schema, frame, dates)
        of_rejected = verdicts(bar_frame(screened.rejected), screened.broken, dates)
        disagreements = _disagreements(screened, files)
        told = self.held.repeat(conditions.of_dates, self.market.symbol.dataset, dates)
        minutes = expected_minutes(self.market.session_profile, dates.start, dates.end)
        flagged, said = self._judge_completeness(dates, stored, frame)
        beside = [check(self.held, dates, stored, screened) for check in self.beside]
        for position, day in enumerate(dates):
            rejected = of_rejected[day]
            broken = not of_stored[day].passed
            expected = int(minutes[position])
            if expected and not of_stored[day].rows + rejected.rows:
                rejected = Verdict(0, 0, {"EMPTY_ON_A_TRADING_DAY": expected})
            verdict = (
                of_stored[day]
                if broken
                else replace(rejected, rows=of_stored[day].rows + rejected.rows)
            )
            description = [_in_words(verdict, expected, stored=broken)]
            if day in flagged and flagged[day].failed and not broken:
                description.append(f"{flagged[day].failed} of them are off the tick and stand")
                verdict = verdict.along_with(flagged[day])
            description += _contradictions(disagreements[day])
            self.report.add(
                symbol,
                day,
                verdict,
                blocking=broken,
                description="; ".join(description),
                metadata={
                    **_shown(described[day]),
                    "expected_minutes": expected,
                    "coverage": share(described[day].bar_count, expected),
                    **said.get(day, {}),
                    **{name: value for one in beside for name, value in one.get(day, {}).items()},
                    "seconds": round(seconds / len(dates), 4),
                    "source": source,
                    **({"condition": told[day].condition} if day in told else {}),
                    **_file_names(day, files),
                    **_counted("disagreements", disagreements[day].total()),
                },
            )

    def _judge_completeness(
        self, dates: DateRange, stored: Bars, frame: pd.DataFrame
    ) -> tuple[Mapping[date, Verdict], Mapping[date, MetadataOfOne]]:
        """Off-tick bars of each date, and what there is to say of how complete it is."""
        if self.completeness is None:
            return {}, {}
        tick = self.market.tick
        flagged = off_tick_verdicts(frame, tick, dates)
        off_tick = np.array([flagged[day].failed for day in dates], np.int64)
        said = judge_completeness(
            self.held,
            self.market,
            dates,
            stored,
            None if tick is None else off_tick,
            self.completeness,
        )
        not_known = "not checked: the registry has no tick_size"
        return flagged, {
            day: {**said[day], "off_tick": not_known if tick is None else flagged[day].failed}
            for day in dates
        }


def _disagreements(
    screened: Screened, files: Sequence[IngestFile]
) -> defaultdict[date, Counter[tuple[str, str]]]:
    """How many bars of each date a later file overruled, by the names of both files."""
    found: defaultdict[date, Counter[tuple[str, str]]] = defaultdict(Counter)
    overruled = np.flatnonzero(screened.overruled_by >= 0)
    for day, earlier, later in zip(
        screened.rejected.day_numbers()[overruled].tolist(),
        screened.origin[overruled].tolist(),
        screened.overruled_by[overruled].tolist(),
        strict=True,
    ):
        found[from_day_number(day)][files[earlier].name, files[later].name] += 1
    return found


def _contradictions(of_day: Counter[tuple[str, str]]) -> Iterator[str]:
    for (earlier, later), count in of_day.items():
        minutes = "1 minute" if count == 1 else f"{count} minutes"
        yield f"where files disagree, {later} is believed over {earlier} for {minutes}"


def _counted(name: str, count: int) -> MetadataOfOne:
    return {name: count} if count else {}


def _file_names(day: date, files: Sequence[IngestFile]) -> MetadataOfOne:
    names = ", ".join(file.name for file in files if file.dates is not None and day in file.dates)
    return {"file_names": names} if names else {}


def _shown(day: BarDate) -> MetadataOfOne:
    shown: dict[str, int | str] = {"bars": day.bar_count, "rejected": day.rejected_count}
    if day.contract is not None:
        shown["contract"] = day.contract
    if day.first_ns is not None and day.last_ns is not None:
        shown["first_minute"] = iso_minute(day.first_ns)
        shown["last_minute"] = iso_minute(day.last_ns)
    return shown


def _in_words(verdict: Verdict, expected: int, *, stored: bool) -> str:
    if not verdict.rows:
        if expected:
            return f"no bars, though the market was open for {expected} minutes"
        return "no bars: the market was closed all day"
    if not verdict.failed:
        return f"all {verdict.rows} bars are what they must be"
    if stored:
        return f"{verdict.failed} of {verdict.rows} stored bars are broken: they are not used"
    return f"{verdict.failed} of {verdict.rows} delivered bars were rejected; the others stand"
