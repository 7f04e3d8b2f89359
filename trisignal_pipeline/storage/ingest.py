"""Writing a range of bars: in bounded batches, each an idempotent replacement of its own.

A batch is a slice of time. Its rows, the mark on its dates and the audit's counts are committed
together, so a kill at any moment leaves an audit that says exactly what is there. A lost
connection is opened again and the batch repeated; the audit's count of batches tells whether the
one in flight had been committed after all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.screening import Screened
from trisignal_pipeline.storage.audit import IngestFile, IngestRun
from trisignal_pipeline.storage.bar_dates import describe_dates, mark_complete, mark_writing
from trisignal_pipeline.storage.bars import BarsTable, replace_bars
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS, Batch, batches
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.locks import HeldSymbol, hold_ingest_run
from trisignal_pipeline.storage.quarantine import keep_rejected
from trisignal_pipeline.storage.replacement import Written

Result = TypeVar("Result")


def write_range(
    held: HeldSymbol,
    run: IngestRun,
    table: BarsTable,
    dates: DateRange,
    delivery: Screened,
    *,
    source: str,
    files: Sequence[IngestFile] = (),
    made_from: Mapping[date, datetime] = MappingProxyType({}),
    batch_rows: int = DEFAULT_BATCH_ROWS,
    on_batch: Callable[[int], None] = lambda _bars: None,
) -> Written:
    """Make `delivery` all that `table` holds of the symbol and `dates`, then call the dates there.

    `files` are what was delivered, in the order that `delivery.origin` counts by. `made_from` are
    the versions of the legacy dates that clean bars were read from. `on_batch` hears how many bars
    each committed batch held. What was done is in the audit's row, and returned as it stands there.

    Raises:
        DatabaseUnavailableError: the server stayed away through all attempts; what was committed
            before is counted in the audit, and the dates it changed are not called there.
        SymbolBusyError: another run took the symbol while the connection was lost.
        TableLockedError: another session held a table that is written for too long.
    """
    described = describe_dates(table.layer, dates, delivery.accepted, delivery.rejected)
    # A server that was restarted forgot that this run is alive.
    with held.prepared(lambda connection: hold_ingest_run(connection, run.id)):
        for number, batch in enumerate(batches(delivery, dates, batch_rows)):
            replacement = _replacement(table, held.symbol, batch, run, source, files)
            _repeat(held, run, _once(number, run, replacement))
            on_batch(len(batch.delivery.accepted))

        def complete(connection: Connection, _repeated: bool) -> Written:
            mark_complete(
                connection, held.symbol, table.layer, described, run.id, source, made_from
            )
            return run.written(connection)

        return _repeat(held, run, complete)


def _repeat(held: HeldSymbol, run: IngestRun, work: Callable[[Connection, bool], Result]) -> Result:
    """Do `work` until it is committed; it is told whether it is being repeated, and so is `run`."""
    losses = held.losses

    def counted(connection: Connection) -> Result:
        repeated = held.losses > losses
        if repeated:
            run.count_retry(connection)
        return work(connection, repeated)

    return held.repeat(counted)


def _once(
    number: int, run: IngestRun, batch: Callable[[Connection], None]
) -> Callable[[Connection, bool], None]:
    """`batch`, the `number`-th of its run, unless it was committed though the answer was lost."""

    def unless_committed(connection: Connection, repeated: bool) -> None:
        if not repeated or run.batches(connection) == number:
            batch(connection)

    return unless_committed


def _replacement(
    table: BarsTable,
    symbol: str,
    batch: Batch,
    run: IngestRun,
    source: str,
    files: Sequence[IngestFile],
) -> Callable[[Connection], None]:
    bars, rejected = batch.delivery.accepted, batch.delivery.rejected

    def replace(connection: Connection) -> None:
        written = replace_bars(
            connection,
            table,
            symbol,
            bars,
            batch.start_ns,
            batch.end_ns,
            run_id=run.id,
            source=source,
        )
        if written.changed_from is not None:
            touched = DateRange(date_of_ns(batch.start_ns), date_of_ns(batch.end_ns - 1))
            changed_from = written.changed_from - timedelta(microseconds=table.stamp_ns // 1000)
            mark_writing(connection, symbol, table.layer, list(touched), changed_from)
        keep_rejected(
            connection,
            table,
            symbol,
            batch.delivery,
            (batch.start_ns, batch.end_ns),
            files=files,
            run_id=run.id,
            source=source,
        )
        by_rule = {rule: int(mask.sum()) for rule, mask in batch.delivery.broken.items()}
        span = (table.stamp(int(bars.ts[0])), table.stamp(int(bars.ts[-1]))) if len(bars) else None
        run.count(connection, written, by_rule, len(rejected), span)

    return replace
