"""What of the database is kept no longer, by settings: counted, and deleted batch by batch.

What was delivered and is still rejected, and every bar that stands, is never among it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from trisignal_pipeline.signal.checkpoint import LAYOUT
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage import retention
from trisignal_pipeline.storage.checkpoints import DAILY_STATES
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.retention import Due, Retention, kept_since
from trisignal_pipeline.storage.roles import Role

BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class _Kept:
    """Something that is kept for a time.

    count    selects rows and bytes of what is older than %(before)s
    delete   deletes up to %(most)s of these rows and selects how many
    role     who may; None: only who has the right without a role of trisignal
    """

    what: str
    variable: str
    count: LiteralString
    delete: LiteralString
    role: Role | None


_QUARANTINE = _Kept(
    "released rows of the quarantine",
    retention.QUARANTINE_VARIABLE,
    """
    SELECT count(*), coalesce(sum(pg_column_size(q.*)), 0) FROM quarantined_bars q
    WHERE released_at < %(before)s
    """,
    """
    WITH gone AS (
        DELETE FROM quarantined_bars WHERE id IN (
            SELECT id FROM quarantined_bars WHERE released_at < %(before)s LIMIT %(most)s)
        RETURNING released_at
    ), said AS (
        INSERT INTO deletions (what, lower_bound, upper_bound, row_count)
        SELECT 'quarantine', min(released_at), %(before)s, count(*) FROM gone HAVING count(*) > 0
    )
    SELECT count(*) FROM gone
    """,
    role=None,
)

_REVISIONS = _Kept(
    "old versions of bars",
    retention.REVISIONS_VARIABLE,
    """
    SELECT count(*), coalesce(sum(pg_column_size(r.*)), 0) FROM market_bars_revisions r
    WHERE coalesce(valid_to, recorded_at) < %(before)s
    """,
    """
    WITH gone AS (
        DELETE FROM market_bars_revisions WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM market_bars_revisions
            WHERE coalesce(valid_to, recorded_at) < %(before)s LIMIT %(most)s))
        RETURNING coalesce(valid_to, recorded_at) AS stood_until
    ), said AS (
        INSERT INTO deletions (what, lower_bound, upper_bound, row_count)
        SELECT 'revisions', min(stood_until), %(before)s, count(*) FROM gone HAVING count(*) > 0
    )
    SELECT count(*) FROM gone
    """,
    role=None,
)

# The newest states that a replay could go on from stay, however old: a new day is computed from
# them. States that match nothing any more are passed over anyway.
_CHECKPOINTS = _Kept(
    "saved states of the signal",
    retention.CHECKPOINTS_VARIABLE,
    """
    WITH needed AS MATERIALIZED (
        SELECT c.symbol, c.date,
               row_number() OVER (PARTITION BY c.symbol ORDER BY c.date DESC) AS place
        FROM signal_checkpoints c
        JOIN selected_bar_dates b ON b.symbol = c.symbol AND b.date = c.date
         AND b.history_fingerprint = c.history_fingerprint
        WHERE c.rules = signal_rules(c.symbol) AND c.logic_version = %(logic)s
          AND c.layout = %(layout)s
    )
    SELECT count(*), coalesce(sum(pg_column_size(c.*)), 0) FROM signal_checkpoints c
    WHERE c.date < %(before)s::date AND NOT EXISTS (
        SELECT FROM needed n WHERE n.symbol = c.symbol AND n.date = c.date AND n.place <= %(daily)s)
    """,
    """
    WITH needed AS MATERIALIZED (
        SELECT c.symbol, c.date,
               row_number() OVER (PARTITION BY c.symbol ORDER BY c.date DESC) AS place
        FROM signal_checkpoints c
        JOIN selected_bar_dates b ON b.symbol = c.symbol AND b.date = c.date
         AND b.history_fingerprint = c.history_fingerprint
        WHERE c.rules = signal_rules(c.symbol) AND c.logic_version = %(logic)s
          AND c.layout = %(layout)s
    ), gone AS (
        DELETE FROM signal_checkpoints WHERE (symbol, date) IN (
            SELECT c.symbol, c.date FROM signal_checkpoints c
            WHERE c.date < %(before)s::date AND NOT EXISTS (
                SELECT FROM needed n
                WHERE n.symbol = c.symbol AND n.date = c.date AND n.place <= %(daily)s)
            LIMIT %(most)s)
        RETURNING date
    )
    SELECT count(*) FROM gone
    """,
    role=Role.WRITER,
)

_HEALTH = _Kept(
    "figures of health",
    retention.HEALTH_VARIABLE,
    """
    SELECT count(*), coalesce(sum(pg_column_size(h.*)), 0) FROM health_figures h
    WHERE measured_at < %(before)s
    """,
    """
    WITH gone AS (
        DELETE FROM health_figures WHERE (figure, subject, measured_at) IN (
            SELECT figure, subject, measured_at FROM health_figures
            WHERE measured_at < %(before)s LIMIT %(most)s)
        RETURNING measured_at
    )
    SELECT count(*) FROM gone
    """,
    role=Role.WRITER,
)


def outdated(connection: Connection, settings: Retention, now: datetime) -> list[Due]:
    """What is kept no longer at `now`, of everything whose setting is set."""
    return [
        Due(kept.what, kept.variable, days, *_counted(connection, kept.count, days, now))
        for kept, days in _asked_for(settings)
    ]


def delete_outdated(database: Database, settings: Retention, now: datetime) -> Iterator[Due]:
    """Delete what `outdated` counts, and tell of each kind when all of it is gone.

    In batches, each a transaction of its own, so that no lock is held for long; killed, it has done
    what it has done.

    Raises:
        NotPermittedError: the user of the URL may not delete it.
    """
    for kept, days in _asked_for(settings):
        as_one = Database(database.url, database.lock_timeout_seconds, kept.role)
        with as_one.connect("housekeeping", autocommit=True) as connection:
            _, size = _counted(connection, kept.count, days, now)
            deleted = 0
            while batch := _deleted(connection, kept.delete, days, now):
                deleted += batch
            yield Due(kept.what, kept.variable, days, deleted, size)


def _asked_for(settings: Retention) -> Iterator[tuple[_Kept, int]]:
    for kept, days in (
        (_QUARANTINE, settings.quarantine),
        (_REVISIONS, settings.revisions),
        (_CHECKPOINTS, settings.checkpoints),
        (_HEALTH, settings.health),
    ):
        if days is not None:
            yield kept, days


def _counted(
    connection: Connection, statement: LiteralString, days: int, now: datetime
) -> tuple[int, int]:
    [(rows, size)] = connection.execute(statement, _parameters(days, now)).fetchall()
    return int(rows), int(size)


def _deleted(connection: Connection, statement: LiteralString, days: int, now: datetime) -> int:
    [(rows,)] = connection.execute(statement, _parameters(days, now)).fetchall()
    return int(rows)


def _parameters(days: int, now: datetime) -> dict[str, object]:
    return {
        "before": kept_since(days, now),
        "most": BATCH_ROWS,
        "logic": LOGIC_VERSION,
        "layout": LAYOUT,
        "daily": DAILY_STATES,
    }
