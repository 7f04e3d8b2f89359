"""How fast bars get from DBN files into the legacy table, and from there into the clean one.

Everything an asset does to a range is timed, year by year, but for Dagster's bookkeeping: decode,
merge and screen, or read and screen, the audit, the batches with their marks and counts, and the
verdict on what is stored then. The yardstick is a binary COPY of the same rows into an empty table
with the same key: nothing compared, counted or kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
from psycopg import sql

from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.orchestration.ahead import ahead
from trisignal_pipeline.orchestration.assets.clean_bars import screened_legacy
from trisignal_pipeline.orchestration.assets.legacy_bars import screened_deliveries
from trisignal_pipeline.schemas import Screened, bar_frame, clean_bar, judge, legacy_bar
from trisignal_pipeline.sources.sample_files import write_history
from trisignal_pipeline.storage import catalogue, registry
from trisignal_pipeline.storage.audit import IngestFile, ingest_run
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable, read_bars
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS
from trisignal_pipeline.storage.binary_copy import copy_in, timestamps
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.benchmarks.measurement import Measured

SYMBOL = "GLBX.MDP3:NQ"
BULK_ROWS = 100_000
NEW, EXISTING, TIMES_COPY = 250_000, 100_000, 3

FIVE_MILLION = DateRange(date(2009, 12, 1), date(2024, 3, 31))
"""Dates on which the sample market's lead contract has five million bars."""
A_YEAR = DateRange(date(2023, 4, 1), date(2024, 3, 31))

Delivery = tuple[DateRange, Screened, Sequence[IngestFile]]


@contextmanager
def own_database() -> Generator[Database]:
    """A migrated database on a server of its own, as the product sets one up."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer.for_home(Path(folder))
        server.ensure_running()
        try:
            migrate(server.url())
            yield Database(server.url())
        finally:
            server.reset()


@dataclass(frozen=True, slots=True)
class History:
    """A catalogued file of `NQ.FUT`, and a database to load it into."""

    database: Database
    raw_dir: Path
    thresholds: HygieneThresholds

    @classmethod
    def catalogued(cls, database: Database, raw_dir: Path) -> History:
        """Verify what lies in `raw_dir`."""
        refreshed = catalogue.refresh(database, raw_dir)
        assert not refreshed.refused, refreshed.refused
        with database.connect("benchmark") as connection:
            return cls(database, raw_dir, registry.market(connection, SYMBOL).hygiene)

    def legacy(self, dates: DateRange) -> Generator[Delivery]:
        """What the legacy asset delivers."""
        with self.database.connect("benchmark") as connection:
            market = registry.market(connection, SYMBOL)
            files = catalogue.coverage(connection, self.raw_dir, market, dates).verified
            known = catalogue.traded(connection, self.raw_dir, market)
        leads = lead_contracts(known, market.roll_rule, market.rank)
        schema = legacy_bar(self.thresholds)
        for year, sources, screened in screened_deliveries(schema, files, leads, by_year(dates)):
            yield year, screened, sources

    def clean(self, dates: DateRange) -> Generator[Delivery]:
        """What the clean asset delivers."""
        schema = clean_bar(self.thresholds)
        for year, screened in screened_legacy(schema, self.database, SYMBOL, by_year(dates)):
            yield year, screened, ()

    def load(self, table: BarsTable, deliveries: Generator[Delivery], batch_rows: int) -> int:
        """Write `deliveries` and judge what is stored then; how many bars that is."""
        schema = legacy_bar(self.thresholds) if table is LEGACY else clean_bar(self.thresholds)
        bars = 0
        with symbol_lock(self.database, SYMBOL) as held, ahead(deliveries) as prepared:
            for dates, screened, files in prepared:
                with ingest_run(
                    self.database,
                    asset=f"{table.layer}_bars",
                    symbol=SYMBOL,
                    dates=dates,
                    source="dbn_files",
                    dataset="GLBX.MDP3",
                    files=files,
                ) as run:
                    write_range(
                        held,
                        run,
                        table,
                        dates,
                        screened,
                        source="legacy",
                        files=files,
                        batch_rows=batch_rows,
                    )
                stored = held.repeat(read_bars, table, SYMBOL, dates.start_ns, dates.end_ns)
                verdicts = judge(schema, bar_frame(stored), dates)
                there = held.repeat(complete_dates, SYMBOL, table.layer, dates)
                assert all(verdict.passed for verdict in verdicts.values())
                assert len(there) == len(dates)
                bars += len(stored)
        return bars


def every_bar_changed(deliveries: Iterable[Delivery]) -> Generator[Delivery]:
    """The same with a volume that is one higher."""
    for dates, screened, files in deliveries:
        bars = screened.accepted
        changed = replace(bars, volume=bars.volume + 1)
        yield dates, replace(screened, accepted=changed), files


def copied(database: Database, bars: Bars) -> float:
    """Seconds of the yardstick."""
    contracts = np.array([name.encode() for name in bars.contracts])
    owner = replace(database, role=None)
    with owner.connect("benchmark", autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE copied_bars (symbol text, ts timestamptz, open bigint, high bigint, "
            "low bigint, close bigint, volume bigint, contract text, PRIMARY KEY (symbol, ts))"
        )
        began = time.perf_counter()
        copy_in(
            connection,
            sql.SQL("COPY copied_bars FROM STDIN (FORMAT BINARY)"),
            *(
                {
                    "symbol": np.full(len(part), SYMBOL.encode()),
                    "ts": timestamps(part.ts),
                    "open": part.open,
                    "high": part.high,
                    "low": part.low,
                    "close": part.close,
                    "volume": part.volume,
                    "contract": contracts[part.contract],
                }
                for first, after in pairwise([*range(0, len(bars), BULK_ROWS), len(bars)])
                for part in [bars.take(slice(first, after))]
            ),
        )
        seconds = time.perf_counter() - began
        connection.execute("DROP TABLE copied_bars")
    return seconds


def bars_a_second(
    history: History, table: BarsTable, deliveries: Generator[Delivery], batch_rows: int
) -> tuple[int, float]:
    """How many bars a load wrote, and how many a second."""
    began = time.perf_counter()
    count = history.load(table, deliveries, batch_rows)
    return count, count / (time.perf_counter() - began)


def bulk(history: History) -> list[Measured]:
    """Five million bars in large batches: new rows, the same again, all changed."""
    measured = []
    for table, deliveries in ((LEGACY, history.legacy), (CLEAN, history.clean)):
        label = f"{table.layer}, batches of {BULK_ROWS:,}"
        count, rate = bars_a_second(history, table, deliveries(FIVE_MILLION), BULK_ROWS)
        with history.database.connect("benchmark") as connection:
            stored = concatenate(
                read_bars(connection, table, SYMBOL, year.start_ns, year.end_ns)
                for year in by_year(FIVE_MILLION)
            )
        limit = count / copied(history.database, stored)
        del stored
        measured += [
            Measured(f"{label}: {count:,} new bars", rate, "bars/s", at_least=NEW),
            Measured("  binary COPY of the same rows", limit, "bars/s"),
            Measured("  times faster than that is COPY", limit / rate, "x", at_most=TIMES_COPY),
        ]
        for what, again in (
            ("the same again", deliveries(FIVE_MILLION)),
            ("every bar changed", every_bar_changed(deliveries(FIVE_MILLION))),
        ):
            _, rate = bars_a_second(history, table, again, BULK_ROWS)
            measured.append(Measured(f"  {what}", rate, "bars/s", at_least=EXISTING))
    return measured


def default(history: History) -> list[Measured]:
    """A year in batches of the default size, into a range that is empty."""
    measured = []
    for table, deliveries in ((LEGACY, history.legacy), (CLEAN, history.clean)):
        label = f"{table.layer}, batches of {DEFAULT_BATCH_ROWS}"
        count, rate = bars_a_second(history, table, deliveries(A_YEAR), DEFAULT_BATCH_ROWS)
        measured.append(Measured(f"{label}: {count:,} new bars", rate, "bars/s"))
        for what, again in (
            ("the same again", deliveries(A_YEAR)),
            ("every bar changed", every_bar_changed(deliveries(A_YEAR))),
        ):
            _, rate = bars_a_second(history, table, again, DEFAULT_BATCH_ROWS)
            measured.append(Measured(f"  {what}", rate, "bars/s"))
    return measured


def measure() -> list[Measured]:
    """Both tables, in bulk and by the default, each on a server of its own."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        raw_dir = Path(folder)
        write_history(raw_dir, "NQ", FIVE_MILLION.start, FIVE_MILLION.end, files="history")
        for part in (bulk, default):
            with own_database() as database:
                measured += part(History.catalogued(database, raw_dir))
    return measured
