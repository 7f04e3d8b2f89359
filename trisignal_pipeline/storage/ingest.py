"""Writing a range of bars: in bounded batches, each an idempotent replacement of its own.

A batch is a slice of time. Its rows, the mark on its dates and the audit's counts are committed
together, so a kill at any moment leaves an audit that says exactly what is there. A lost
connection is opened again and the batch repeated; the audit's count of batches tells whether the
one in flight had been committed after all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.schemas import Screened
from trisignal_pipeline.storage.audit import IngestFile, IngestRun
from trisignal_pipeline.storage.bar_dates import describe_dates, mark_complete, mark_writing
from trisignal_pipeline.storage.bars import BarsTable, replace_bars
from trisignal_pipeline.storage.connection import Connection, Database, as_trisignal_errors
from trisignal_pipeline.storage.locks import hold_ingest_run

DEFAULT_BATCH_ROWS = 500
FIRST_WAIT_SECONDS = 0.2
MOST_ATTEMPTS = 6


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    bars: Bars
    rejected: dict[str, int]
    rejected_rows: int
    start_ns: int
    end_ns: int


def write_range(
    database: Database,
    run: IngestRun,
    table: BarsTable,
    symbol: str,
    dates: DateRange,
    delivery: Screened,
    *,
    source: str,
    files: Sequence[IngestFile] = (),
    batch_rows: int = DEFAULT_BATCH_ROWS,
    on_batch: Callable[[int], None] = lambda _bars: None,
) -> None:
    """Make `delivery` all that `table` holds of `symbol` and `dates`, then call the dates there.

    `files` are what was delivered, in the order that `delivery.origin` counts by. `on_batch` hears
    how many bars each committed batch held. What was done is in the audit's row.

    Raises:
        DatabaseUnavailableError: the server stayed away through all attempts; what was committed
            before is counted in the audit, and the dates it changed are not called there.
        TableLockedError: another session held a table that is written for too long.
    """
    described = describe_dates(table.layer, dates, delivery.accepted, delivery.rejected)
    with _Writer(database, run) as writer:
        for batch in _batches(delivery, dates, batch_rows):
            writer.commit(_replacement(table, symbol, batch, run, source))
            on_batch(len(batch.bars))
        writer.repeat_until_done(
            lambda connection: mark_complete(connection, symbol, table.layer, described, run.id)
        )


class _Writer:
    """A connection that comes back, and the batches committed through it."""

    def __init__(self, database: Database, run: IngestRun) -> None:
        self._database = database
        self._run = run
        self._connection: Connection | None = None
        self._committed = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def commit(self, batch: Callable[[Connection], None]) -> None:
        """Commit `batch` exactly once, whatever happens to the connection."""
        self.repeat_until_done(
            batch, is_done=lambda connection: self._run.batches(connection) > self._committed
        )
        self._committed += 1

    def repeat_until_done(
        self,
        work: Callable[[Connection], None],
        is_done: Callable[[Connection], bool] = lambda _connection: False,
    ) -> None:
        """Do `work` in a transaction, again on a new connection where the old one is lost."""
        for attempt in range(MOST_ATTEMPTS):
            try:
                connection = self._open()
                with as_trisignal_errors(self._database), connection.transaction():
                    if attempt:
                        self._run.count_retry(connection)
                        if is_done(connection):
                            return
                    work(connection)
            except DatabaseUnavailableError:
                self._drop()
                if attempt == MOST_ATTEMPTS - 1:
                    raise
                # Shorter for some and longer for others, so that many runs don't come back at once.
                time.sleep(FIRST_WAIT_SECONDS * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
            else:
                return

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.open("bars writer", autocommit=True)
            with as_trisignal_errors(self._database):
                # A server that was restarted forgot that this run is alive.
                hold_ingest_run(self._connection, self._run.id)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _replacement(
    table: BarsTable, symbol: str, batch: _Batch, run: IngestRun, source: str
) -> Callable[[Connection], None]:
    def replace(connection: Connection) -> None:
        written = replace_bars(
            connection,
            table,
            symbol,
            batch.bars,
            batch.start_ns,
            batch.end_ns,
            run_id=run.id,
            source=source,
        )
        if written.changed_from is not None:
            touched = DateRange(date_of_ns(batch.start_ns), date_of_ns(batch.end_ns - 1))
            changed_from = written.changed_from - timedelta(microseconds=table.stamp_ns // 1000)
            mark_writing(connection, symbol, table.layer, list(touched), changed_from)
        ts = batch.bars.ts
        span = (table.stamp(int(ts[0])), table.stamp(int(ts[-1]))) if len(ts) else None
        run.count(connection, written, batch.rejected, batch.rejected_rows, span)

    return replace


def _batches(delivery: Screened, dates: DateRange, batch_rows: int) -> Iterator[_Batch]:
    """Slices of time that tile `dates`, each with at most `batch_rows` bars to write."""
    bars, rejected = delivery.accepted, delivery.rejected
    starts = [dates.start_ns, *bars.ts[batch_rows::batch_rows].tolist()]
    for start_ns, end_ns in zip(starts, [*starts[1:], dates.end_ns], strict=True):
        inside = (rejected.ts >= start_ns) & (rejected.ts < end_ns)
        yield _Batch(
            bars.between(start_ns, end_ns),
            {
                rule: int(np.count_nonzero(mask & inside))
                for rule, mask in delivery.broken.items()
                if (mask & inside).any()
            },
            int(np.count_nonzero(inside)),
            start_ns,
            end_ns,
        )
