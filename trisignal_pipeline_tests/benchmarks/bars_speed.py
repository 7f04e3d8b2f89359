"""How fast bars are written, beside the fastest way PostgreSQL has.

Writing is all that happens between delivered bars in memory and a closed row of the audit: batches,
each replaced in a transaction of its own, counts, and the marks on the dates. The yardstick is a
binary COPY of the same rows into an empty table with the same key: nothing compared, counted or
kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from psycopg import sql

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.schemas import Screened
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.binary_copy import copy_in, timestamps
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.ingest import DEFAULT_BATCH_ROWS, write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.benchmarks.measurement import Measured
from trisignal_pipeline_tests.signal.generated_bars import session_minutes, walk

SYMBOL = "GLBX.MDP3:NQ"
BULK = (1_000_000, 50_000)
"""How many bars, and how many of them a batch."""
DEFAULT = (100_000, DEFAULT_BATCH_ROWS)


@contextmanager
def own_database() -> Iterator[Database]:
    """A migrated database on a server of its own, as the product sets one up."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer.for_home(Path(folder))
        server.ensure_running()
        try:
            migrate(server.url())
            yield Database(server.url())
        finally:
            server.reset()


def generated(n: int) -> Bars:
    """`n` bars on the minutes of real sessions."""
    minutes = session_minutes(sessions("cme_equity", date(2019, 1, 2), date(2022, 6, 30)), 0.97)
    return walk(minutes[:n], seed=1)


def copied(database: Database, bars: Bars) -> float:
    """Seconds of the yardstick."""
    columns = {
        "symbol": np.full(len(bars), SYMBOL.encode()),
        "ts": timestamps(bars.ts),
        "open": bars.open,
        "high": bars.high,
        "low": bars.low,
        "close": bars.close,
        "volume": bars.volume,
        "contract": np.full(len(bars), bars.contracts[0].encode()),
    }
    with Database(database.url, role=None).connect("benchmark", autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE copied_bars (symbol text, ts timestamptz, open bigint, high bigint, "
            "low bigint, close bigint, volume bigint, contract text, PRIMARY KEY (symbol, ts))"
        )
        began = time.perf_counter()
        copy_in(connection, sql.SQL("COPY copied_bars FROM STDIN (FORMAT BINARY)"), columns)
        seconds = time.perf_counter() - began
        connection.execute("DROP TABLE copied_bars")
    return seconds


def written(database: Database, table: BarsTable, bars: Bars, batch_rows: int) -> float:
    """Seconds to make `bars` all that `table` holds of their dates."""
    dates = DateRange(date_of_ns(int(bars.ts[0])), date_of_ns(int(bars.ts[-1])))
    began = time.perf_counter()
    with (
        symbol_lock(database, SYMBOL) as held,
        ingest_run(
            database,
            asset=f"{table.layer}_bars",
            symbol=SYMBOL,
            dates=dates,
            source="dbn_files",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        write_range(
            held,
            run,
            table,
            dates,
            Screened(bars, Bars.empty(), {}),
            source="legacy",
            batch_rows=batch_rows,
        )
    return time.perf_counter() - began


def measure() -> list[Measured]:
    """Both tables, by the default batch and in bulk: new rows, the same again, all changed."""
    measured = []
    for n, batch_rows in (DEFAULT, BULK):
        bars = generated(n)
        changed = replace(bars, volume=bars.volume + 1)
        # A server of its own for each, so that none starts with tables others have filled.
        with own_database() as database:
            limit = n / copied(database, bars)
            measured.append(Measured(f"binary COPY of {n:,} bars", limit, "bars/s"))
            for table in (LEGACY, CLEAN):
                for what, rows in (
                    ("new", bars),
                    ("the same again", bars),
                    ("all changed", changed),
                ):
                    rate = n / written(database, table, rows, batch_rows)
                    label = f"  {table.layer}, batches of {batch_rows:,}: {what}"
                    measured.append(Measured(label, rate, "bars/s"))
    return measured
