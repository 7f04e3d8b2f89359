"""How fast bars get from DBN files into the legacy table, and from there into the clean one.

Everything an asset does to a range is timed, year by year, but for Dagster's bookkeeping: decode,
merge and screen, or read and screen, the audit, the batches with their marks and counts, and the
verdict on what is stored then. The yardstick is a binary COPY of the same rows into an empty table
with the same key: nothing compared, counted or kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandera.pandas as pa
from psycopg import sql

from trisignal_pipeline.judging import judge
from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.ahead import ahead
from trisignal_pipeline.orchestration.assets.clean_bars import legacy_deliveries
from trisignal_pipeline.orchestration.assets.lead_deliveries import Delivery, lead_deliveries
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.run_scope import SymbolDates
from trisignal_pipeline.schemas import bar_frame, clean_bar, legacy_bar
from trisignal_pipeline.sources.sample_files import write_history
from trisignal_pipeline.storage import catalogue, registry
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable, read_bars
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS
from trisignal_pipeline.storage.binary_copy import copy_in, timestamps
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import HeldSymbol, symbol_lock
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.benchmarks.measurement import Measured

SYMBOL = "GLBX.MDP3:NQ"
BULK_ROWS = 100_000
NEW, EXISTING, TIMES_COPY = 250_000, 100_000, 3

FIVE_MILLION = DateRange(date(2009, 12, 1), date(2024, 3, 31))
"""Dates on which the sample market's lead contract has five million bars."""
A_YEAR = DateRange(date(2023, 4, 1), date(2024, 3, 31))


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
    """Catalogued files of `NQ.FUT`, and a database to load them into."""

    database: Database
    raw_dir: Path
    market: Market

    @classmethod
    def catalogued(cls, database: Database, raw_dir: Path) -> History:
        """Verify what lies in `raw_dir`."""
        refreshed = catalogue.refresh(database, raw_dir)
        assert not refreshed.refused, refreshed.refused
        with database.connect("benchmark") as connection:
            return cls(database, raw_dir, registry.market(connection, SYMBOL))

    def load(
        self, table: BarsTable, dates: DateRange, batch_rows: int, *, changed: bool = False
    ) -> int:
        """Write the bars of `dates` and judge what is stored then; how many bars that is."""
        bars = 0
        schema = (legacy_bar if table is LEGACY else clean_bar)(self.market.hygiene)
        with symbol_lock(self.database, SYMBOL) as held:
            deliveries = self._deliveries(held, table, dates, schema)
            with ahead(every_bar_changed(deliveries) if changed else deliveries) as prepared:
                for year, files, screened in prepared:
                    with ingest_run(
                        self.database,
                        asset=f"{table.layer}_bars",
                        symbol=SYMBOL,
                        dates=year,
                        source="dbn_files",
                        dataset="GLBX.MDP3",
                        files=files,
                    ) as run:
                        write_range(
                            held,
                            run,
                            table,
                            year,
                            screened,
                            source="legacy",
                            files=files,
                            batch_rows=batch_rows,
                        )
                    stored = held.repeat(read_bars, table, SYMBOL, year.start_ns, year.end_ns)
                    verdicts = judge(schema, bar_frame(stored), year)
                    there = held.repeat(complete_dates, SYMBOL, table.layer, year)
                    assert all(verdict.passed for verdict in verdicts.values())
                    assert len(there) == len(year)
                    bars += len(stored)
        return bars

    def _deliveries(
        self, held: HeldSymbol, table: BarsTable, dates: DateRange, schema: pa.DataFrameSchema
    ) -> Generator[Delivery]:
        """What the asset delivers: bars from files for the legacy table, its bars for the clean."""
        scope = SymbolDates(SYMBOL, tuple(dates))
        report = PartitionReport(f"{table.layer}_bars", "benchmark")
        if table is LEGACY:
            return lead_deliveries(held, self.raw_dir, self.market, scope, schema, report)
        return legacy_deliveries(
            held, self.database, self.market, scope, schema, report, replace_api_dates=False
        )


def every_bar_changed(deliveries: Generator[Delivery]) -> Generator[Delivery]:
    """The same with a volume that is one higher."""
    for dates, files, screened in deliveries:
        bars = screened.accepted
        changed = replace(bars, volume=bars.volume + 1)
        yield dates, files, replace(screened, accepted=changed)


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
    history: History,
    table: BarsTable,
    dates: DateRange,
    batch_rows: int,
    *,
    changed: bool = False,
) -> tuple[int, float]:
    """How many bars a load wrote, and how many a second."""
    began = time.perf_counter()
    count = history.load(table, dates, batch_rows, changed=changed)
    return count, count / (time.perf_counter() - began)


def bulk(history: History) -> list[Measured]:
    """Five million bars in large batches: new rows, the same again, all changed."""
    measured = []
    for table in (LEGACY, CLEAN):
        label = f"{table.layer}, batches of {BULK_ROWS:,}"
        count, rate = bars_a_second(history, table, FIVE_MILLION, BULK_ROWS)
        with history.database.connect("benchmark") as connection:
            stored = concatenate(
                read_bars(connection, table, SYMBOL, year.start_ns, year.end_ns)
                for year in by_year(FIVE_MILLION)
            )
        limit = count / copied(history.database, stored)
        del stored
        _, again = bars_a_second(history, table, FIVE_MILLION, BULK_ROWS)
        _, changed = bars_a_second(history, table, FIVE_MILLION, BULK_ROWS, changed=True)
        measured += [
            Measured(f"{label}: {count:,} new bars", rate, "bars/s", at_least=NEW),
            Measured("  binary COPY of the same rows", limit, "bars/s"),
            Measured("  times faster than that is COPY", limit / rate, "x", at_most=TIMES_COPY),
            Measured("  the same again", again, "bars/s", at_least=EXISTING),
            Measured("  every bar changed, the old ones kept", changed, "bars/s"),
        ]
    return measured


def default(history: History) -> list[Measured]:
    """A year in batches of the default size."""
    measured = []
    for table in (LEGACY, CLEAN):
        label = f"{table.layer}, batches of {DEFAULT_BATCH_ROWS}"
        count, rate = bars_a_second(history, table, A_YEAR, DEFAULT_BATCH_ROWS)
        _, again = bars_a_second(history, table, A_YEAR, DEFAULT_BATCH_ROWS)
        _, changed = bars_a_second(history, table, A_YEAR, DEFAULT_BATCH_ROWS, changed=True)
        measured += [
            Measured(f"{label}: {count:,} new bars", rate, "bars/s"),
            Measured("  the same again", again, "bars/s"),
            Measured("  every bar changed, the old ones kept", changed, "bars/s"),
        ]
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
