"""A run to be disturbed: what is stored before it, what it delivers, and what it has to leave."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline_tests.storage.stored_bars import (
    NQ,
    all_rows,
    by_hand,
    delivered,
    expected_rows,
    one_row,
    store,
    table_rows,
    walk,
)

DATES = DateRange(date(2023, 12, 30), date(2024, 1, 2))
BEFORE = walk(DATES, seed=1, share=0.004)
# Of what was there a third stays, a third is corrected, a third is gone; and there is more.
GOOD = sorted(
    {
        row.ts: row
        for row in (
            *walk(DATES, seed=2, share=0.004),
            *BEFORE[::3],
            *(row._replace(volume=row.volume + 1) for row in BEFORE[1::3]),
        )
    }.values()
)
REJECTED = [
    row._replace(high=row.low - 1)
    for row in walk(DATES, seed=3, share=0.002)
    if row.ts not in {good.ts for good in GOOD}
]
DELIVERY = [*GOOD, *REJECTED]
BATCH_ROWS = 11
BATCHES = -(-len(DELIVERY) // BATCH_ROWS)

AUDITED = (
    "row_count, inserted_count, updated_count, unchanged_count, rejected_count, removed_count, "
    "batch_count, min_ts, max_ts, rejected_by_rule"
)
DATED = "date, layer, state, bar_count, rejected_count, contract, first_ts, last_ts, fingerprint"

BAR = "layer, ts, open, high, low, close, volume, contract"

Everything = tuple[list[tuple[Any, ...]], ...]
Left = tuple[Everything, tuple[Any, ...]]


def everything_stored(url: str) -> Everything:
    """All there is of bars, dates, quarantine and revisions, but for ids and times."""
    return (
        table_rows(url, LEGACY),
        all_rows(url, f"SELECT {DATED} FROM bar_dates ORDER BY date"),
        all_rows(
            url,
            f"SELECT {BAR}, rules FROM quarantined_bars WHERE released_at IS NULL ORDER BY ts, id",
        ),
        all_rows(
            url, f"SELECT {BAR}, kind FROM market_bars_revisions ORDER BY ts, recorded_at, kind"
        ),
    )


def audited(url: str, run_id: int) -> tuple[Any, ...]:
    """What the audit says of a run, but for ids, times and retries."""
    return one_row(url, f"SELECT {AUDITED} FROM data_ingest_runs WHERE id = %s", run_id)


_LEFT: list[Left] = []


def put_back(database: Database) -> None:
    """Bring the database into the state before the run, with no revisions of how it came there."""
    store(database, BEFORE, DATES)
    by_hand(database.url, "TRUNCATE market_bars_revisions")


def undisturbed_run(database: Database) -> Left:
    """What a run leaves that nothing disturbs; the database is put into the state before it."""
    put_back(database)
    if not _LEFT:
        run_id = store(database, DELIVERY, DATES, batch_rows=BATCH_ROWS)
        stored, audit = everything_stored(database.url), audited(database.url, run_id)
        assert stored[0] == expected_rows(GOOD, LEGACY)
        assert len(stored[2]) == len(REJECTED)
        assert {row[-1] for row in stored[3]} == {"updated", "removed"}
        assert 0 not in audit[1:6], "rows of every kind are needed"
        _LEFT.append((stored, audit))
        put_back(database)
    return _LEFT[0]


def require_same(database: Database, run_id: int, undisturbed: Left) -> None:
    """Fail unless the run left what an undisturbed one leaves."""
    stored, audit = undisturbed
    assert everything_stored(database.url) == stored
    assert audited(database.url, run_id) == audit


def write(database: Database, on_batch: Callable[[int], None]) -> int:
    """Write the delivery under an audit row, whose id is returned."""
    with (
        symbol_lock(database, NQ) as held,
        ingest_run(
            database,
            asset="legacy_bars",
            symbol=NQ,
            dates=DATES,
            source="dbn_files",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        write_range(
            held,
            run,
            LEGACY,
            DATES,
            delivered(DELIVERY),
            source="legacy",
            batch_rows=BATCH_ROWS,
            on_batch=on_batch,
        )
    return run.id


def write_aloud(database: Database) -> None:
    """Write the delivery, and say so after every batch."""
    write(database, lambda _bars: print("a batch", flush=True))  # noqa: T201 to another process
