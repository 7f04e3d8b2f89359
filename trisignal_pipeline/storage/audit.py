"""The audit: one row of `data_ingest_runs` for every range of bars a materialisation writes.

A row is `running` from before the first bar until it is closed as `success` or `failed`. Its
counts are raised in the transactions that write the bars, so they say what is there at any moment,
even after a kill. Opening and closing happen on a connection of the audit's own, which a failed
transaction of the writer can't take down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal

from psycopg.types.json import Jsonb

from trisignal_pipeline.errors import TransientError
from trisignal_pipeline.market.dates import DateRange, utc
from trisignal_pipeline.storage.connection import Connection, Database, rows, scalar
from trisignal_pipeline.storage.lasting_connection import LastingConnection
from trisignal_pipeline.storage.locks import hold_ingest_run, release_ingest_run
from trisignal_pipeline.storage.replacement import Written

MOST_ERROR_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class IngestFile:
    """A file that bars of a run come from, and the dates it was made to hold."""

    name: str
    sha256: str
    dates: DateRange | None = None


@dataclass(frozen=True, slots=True)
class IngestRun:
    """An open row of the audit. What is written under it is counted in the same transaction."""

    id: int

    def count(
        self,
        connection: Connection,
        written: Written,
        rejected: Mapping[str, int],
        rejected_rows: int,
        span_ns: tuple[int, int] | None,
    ) -> None:
        """Add one batch to the row, in the transaction that writes the batch.

        `rejected` counts by rule, `rejected_rows` each row once. `span_ns` is the first and last
        `ts` of the batch as the written table stamps it.
        """
        first, last = (None, None) if span_ns is None else map(utc, span_ns)
        connection.execute(
            """
            UPDATE data_ingest_runs SET
                row_count = row_count + %(read)s,
                inserted_count = inserted_count + %(inserted)s,
                updated_count = updated_count + %(updated)s,
                unchanged_count = unchanged_count + %(unchanged)s,
                removed_count = removed_count + %(removed)s,
                rejected_count = rejected_count + %(rejected)s,
                rejected_by_rule = (
                    SELECT coalesce(jsonb_object_agg(rule, total), '{}') FROM (
                        SELECT key AS rule, sum(value::bigint) AS total
                        FROM (SELECT * FROM jsonb_each_text(rejected_by_rule)
                              UNION ALL SELECT * FROM jsonb_each_text(%(by_rule)s)) AS counted
                        GROUP BY key) AS totals),
                min_ts = least(min_ts, %(first)s), max_ts = greatest(max_ts, %(last)s),
                batch_count = batch_count + 1
            WHERE id = %(id)s
            """,
            {
                "id": self.id,
                "read": written.inserted + written.updated + written.unchanged + rejected_rows,
                "inserted": written.inserted,
                "updated": written.updated,
                "unchanged": written.unchanged,
                "removed": written.removed,
                "rejected": rejected_rows,
                "by_rule": Jsonb(dict(rejected)),
                "first": first,
                "last": last,
            },
        )

    def written(self, connection: Connection) -> Written:
        """What the row counts so far: the truth, also after batches had to be repeated."""
        counts = connection.execute(
            """
            SELECT inserted_count, updated_count, unchanged_count, removed_count
            FROM data_ingest_runs WHERE id = %s
            """,
            (self.id,),
        ).fetchone()
        return Written() if counts is None else Written(*counts)

    def batches(self, connection: Connection) -> int:
        """How many batches are committed: after a lost connection, whether the last one is."""
        return int(
            scalar(connection, "SELECT batch_count FROM data_ingest_runs WHERE id = %s", self.id)
        )

    def count_retry(self, connection: Connection) -> None:
        """Note that a batch, or a download, had to be repeated."""
        connection.execute(
            "UPDATE data_ingest_runs SET retry_count = retry_count + 1 WHERE id = %s", (self.id,)
        )

    def bill(self, connection: Connection, usd: Decimal) -> None:
        """Add what a download costs, before it is begun; a negative amount takes it back."""
        connection.execute(
            """
            UPDATE data_ingest_runs SET cost_usd = coalesce(cost_usd, 0) + %s WHERE id = %s
            """,
            (usd, self.id),
        )

    def received(self, connection: Connection, file: IngestFile) -> None:
        """Name the file that a download brought."""
        connection.execute(
            "UPDATE data_ingest_runs SET file_name = %s, file_sha256 = %s WHERE id = %s",
            (file.name, file.sha256, self.id),
        )


@contextmanager
def ingest_run(
    database: Database,
    *,
    asset: str,
    symbol: str,
    dates: DateRange,
    source: str,
    dataset: str,
    files: Sequence[IngestFile] = (),
    dagster_run_id: str | None = None,
) -> Iterator[IngestRun]:
    """An audit row around the writing of one range of bars, closed whatever happens.

    Left normally it is a success; left by an exception it has failed, with the error, and counts
    what was committed. Killed, it stays `running` until the next run finds its lock free.

    Raises:
        DatabaseUnavailableError: the row can't be opened.
    """
    audit = LastingConnection(database, "audit")
    try:
        run_id = audit.repeat(_next_id)
        # Locked before it can be seen, or another run could take it for a dead one.
        with audit.prepared(lambda connection: hold_ingest_run(connection, run_id)):
            audit.repeat(
                _open,
                run_id,
                (
                    dataset,
                    ", ".join(file.name for file in files) or None,
                    ", ".join(file.sha256 for file in files) or None,
                    asset,
                    symbol,
                    dates.start,
                    dates.end,
                    source,
                    dagster_run_id,
                ),
            )
            try:
                yield IngestRun(run_id)
            except BaseException as error:
                # Where no connection can be had the row stays `running`, and the next run finds
                # its lock free.
                with suppress(TransientError):
                    audit.repeat(_close, run_id, "failed", _in_words(database, error))
                raise
            audit.repeat(_close, run_id, "success", None)
    finally:
        audit.close()


def _next_id(connection: Connection) -> int:
    close_stale_runs(connection)
    return int(
        scalar(connection, "SELECT nextval(pg_get_serial_sequence('data_ingest_runs', 'id'))")
    )


def _open(connection: Connection, run_id: int, described: tuple[object, ...]) -> None:
    # It may be repeated though it was committed.
    connection.execute(
        """
        INSERT INTO data_ingest_runs (
            id, vendor, dataset, file_name, file_sha256, asset, symbol, start_date, end_date,
            source, dagster_run_id, status, row_count, inserted_count, updated_count, batch_count)
        VALUES (%s, 'databento', %s, %s, %s, %s, %s, %s, %s, %s, %s, 'running', 0, 0, 0, 0)
        ON CONFLICT (id) DO NOTHING
        """,
        (run_id, *described),
    )


def spent_by(connection: Connection, dagster_run_ids: Sequence[str]) -> Decimal:
    """What the downloads of these Dagster runs cost, in US dollars."""
    return Decimal(
        scalar(
            connection,
            """
            SELECT coalesce(sum(cost_usd), 0) FROM data_ingest_runs
            WHERE dagster_run_id = ANY(%s::text[])
            """,
            list(dagster_run_ids),
        )
    )


def close_stale_runs(connection: Connection) -> list[int]:
    """Mark as failed every `running` row whose process is gone, and return their ids.

    A live run holds a lock that the server drops when its connection dies: age alone would hit
    long runs that are alive.
    """
    stale = []
    for row in rows(connection, "SELECT id FROM data_ingest_runs WHERE status = 'running'"):
        if not hold_ingest_run(connection, row["id"]):
            continue
        closed = connection.execute(
            """
            UPDATE data_ingest_runs SET status = 'failed', finished_at = clock_timestamp(),
                error = 'stale: the process ended without closing this run; its counts say what '
                        'it had committed, run the same range again'
            WHERE id = %s AND status = 'running'
            """,
            (row["id"],),
        )
        release_ingest_run(connection, row["id"])
        if closed.rowcount:
            stale.append(row["id"])
    return stale


def _close(connection: Connection, run_id: int, status: str, error: str | None) -> None:
    connection.execute(
        """
        UPDATE data_ingest_runs SET status = %s, error = %s, finished_at = clock_timestamp()
        WHERE id = %s
        """,
        (status, error, run_id),
    )


def _in_words(database: Database, error: BaseException) -> str:
    """The error as the audit's row can hold it: masked, of bounded length, valid text."""
    text = database.masked(f"{type(error).__name__}: {error}").replace("\0", "?")
    return text.encode(errors="replace").decode()[:MOST_ERROR_CHARACTERS]
