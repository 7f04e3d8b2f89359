"""The pipeline's health in figures: sizes, rows, runs, freshness, doubt, quarantine.

All of it is read, by SQL alone but for the free space of folders, and no table of bars is counted
through: rows are the sums that `bar_dates` and `signal_dates` keep.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from trisignal_pipeline.errors import CalendarError
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND, date_of_ns
from trisignal_pipeline.market.sessions import Sessions, sessions, utc_days
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection, Row, rows
from trisignal_pipeline.storage.figures import Figure, Measured, growth
from trisignal_pipeline.storage.locks import ingest_runs_held
from trisignal_pipeline.storage.slow_statements import statement_figures

RUNS_OVER = timedelta(days=7)
"""How far back ingestion runs count for the rate of their success."""

TABLE_BYTES = Figure("table_bytes", "bytes", "size of a table, all its partitions", ("table",))
INDEX_BYTES = Figure("index_bytes", "bytes", "size of its indexes", ("table",))
DATABASE_BYTES = Figure("database_bytes", "bytes", "size of the whole database")
ROWS = Figure("stored_rows", "", "rows of complete dates of a symbol", ("table", "symbol"))
BEHIND = Figure(
    "behind_minutes", "minutes",
    "minutes that traded, by the calendar, since the newest clean bar of an active symbol",
    ("symbol",),
)  # fmt: skip
DATES_IN_DOUBT = Figure("dates_in_doubt", "", "dates whose signal is in doubt", ("symbol",))
DOUBT = Figure("in_doubt_ratio", "ratio", "share of the signal's rows in doubt", ("symbol",))
QUARANTINED = Figure(
    "quarantined_rows", "", "bars of complete dates that are rejected now", ("layer", "symbol")
)
QUARANTINE = Figure(
    "quarantine_ratio", "ratio", "share of the delivered bars that is rejected now",
    ("layer", "symbol"),
)  # fmt: skip
RUNS = Figure("ingest_runs", "", f"ingestion runs of the last {RUNS_OVER.days} days", ("status",))
SUCCESS = Figure(
    "ingest_success_ratio", "ratio", f"share of the finished ones of {RUNS_OVER.days} days that "
    "succeeded",
)  # fmt: skip
STALE_RUNS = Figure("stale_runs", "", "runs that show as running and whose process is gone")
CONNECTIONS = Figure("connections", "", "connections that the server has open")
CONNECTIONS_RATIO = Figure("connections_ratio", "ratio", "of those it allows")
DISK_FREE = Figure("disk_free_bytes", "bytes", "free space where a folder lies", ("folder",))
DISK_FREE_RATIO = Figure("disk_free_ratio", "ratio", "free share of that disk", ("folder",))


def health(connection: Connection, now: datetime, folders: Mapping[str, Path]) -> list[Measured]:
    """Every figure that can be told, of `now` (with a time zone).

    `folders` are those of this machine whose disks count, by the names they are shown under. What
    there is nothing to tell of (a symbol without bars, a server without statistics of statements)
    has no figure.
    """
    sizes = _sizes(connection)
    return [
        *sizes,
        *growth(connection, sizes),
        *_rows(connection),
        *_freshness(connection, now),
        *_doubt(connection),
        *_quarantine(connection),
        *_runs(connection, now),
        *_server(connection),
        *statement_figures(connection),
        *_disks(folders),
    ]


def folders_of(settings: Settings) -> dict[str, Path]:
    """The folders whose disks count on this machine."""
    return {"home": settings.home, "raw": settings.raw_dir}


def _sizes(connection: Connection) -> list[Measured]:
    found = rows(
        connection,
        """
        SELECT c.relname AS table, sum(pg_table_size(t.relid))::float8 AS bytes,
               sum(pg_indexes_size(t.relid))::float8 AS index_bytes
        FROM pg_class c
        CROSS JOIN LATERAL (
            SELECT relid FROM pg_partition_tree(c.oid) WHERE c.relkind = 'p'
            UNION ALL SELECT c.oid WHERE c.relkind = 'r') AS t
        WHERE c.relnamespace = (SELECT relnamespace FROM pg_class
                                WHERE oid = 'symbol_registry'::regclass)
          AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        GROUP BY c.relname ORDER BY c.relname
        """,
    )
    sizes = []
    for row in found:
        sizes.append(Measured(TABLE_BYTES, (row["table"],), row["bytes"]))
        sizes.append(Measured(INDEX_BYTES, (row["table"],), row["index_bytes"]))
    return sizes


def _rows(connection: Connection) -> list[Measured]:
    found = connection.execute(
        """
        SELECT CASE layer WHEN 'legacy' THEN 'market_bars_ohlcv_1m'
                          ELSE 'market_bars_ohlcv_1m_clean' END, symbol, sum(bar_count)::float8
        FROM bar_dates WHERE state = 'complete' GROUP BY layer, symbol
        UNION ALL
        SELECT t.name, s.symbol, sum(t.rows)::float8
        FROM signal_dates s
        CROSS JOIN LATERAL (VALUES ('bias_series_1m_v1', s.bar_count),
                                   ('triangle_events_v1', s.triangle_count)) AS t (name, rows)
        WHERE NOT s.withdrawn GROUP BY t.name, s.symbol
        ORDER BY 1, 2
        """
    )
    return [Measured(ROWS, (table, symbol), count) for table, symbol, count in found]


def _freshness(connection: Connection, now: datetime) -> list[Measured]:
    newest = connection.execute(
        """
        SELECT b.symbol, (extract(epoch FROM max(b.last_ts)) * 1000000000)::bigint
        FROM bar_dates b JOIN symbol_registry r ON r.internal_symbol = b.symbol AND r.is_active
        WHERE b.layer = 'clean' AND b.state = 'complete' AND b.last_ts IS NOT NULL
        GROUP BY b.symbol ORDER BY b.symbol
        """
    ).fetchall()
    now_ns = int(now.timestamp()) * NS_PER_SECOND
    behind = []
    for symbol, last_ns in newest:
        market = registry.market(connection, symbol)
        try:
            minutes = minutes_behind(market, last_ns, now_ns)
        except CalendarError:
            continue  # a market without a calendar that is known
        behind.append(Measured(BEHIND, (symbol,), float(minutes)))
    return behind


def minutes_behind(market: Market, last_ns: int, now_ns: int) -> int:
    """How many minutes the market was open after the bar of `last_ns` and has finished by `now_ns`.

    Both are nanoseconds (UTC), the first the OPEN of a bar. Nights, weekends and holidays don't
    count: a market that was closed has nothing new to show.

    Raises:
        CalendarError: the market's session profile does not exist.
    """
    start, end = last_ns + NS_PER_MINUTE, now_ns - now_ns % NS_PER_MINUTE
    if end <= start:
        return 0
    around = _sessions(market, start, end)
    opens = np.concatenate((around.open_ns, around.pause_end_ns))
    closes = np.concatenate((around.pause_start_ns, around.close_ns))
    open_for = np.minimum(closes, end) - np.maximum(opens, start)
    return int(np.maximum(open_for, 0).sum() // NS_PER_MINUTE)


def _sessions(market: Market, start_ns: int, end_ns: int) -> Sessions:
    first, last = date_of_ns(start_ns), date_of_ns(end_ns + NS_PER_DAY)
    if market.anchor == Anchor.UTC:
        return utc_days(first, last)
    # The evening that opens a session lies on the UTC date before its trade date.
    return sessions(market.session_profile, first, last)


def _doubt(connection: Connection) -> list[Measured]:
    found = rows(
        connection,
        """
        SELECT s.symbol, count(*) FILTER (WHERE d.date IS NOT NULL OR s.logic_version <> %(logic)s)
                   ::float8 AS dates,
               (sum(s.bar_count) FILTER (WHERE d.date IS NOT NULL OR s.logic_version <> %(logic)s)
                / nullif(sum(s.bar_count), 0)::float8) AS share
        FROM signal_dates s
        LEFT JOIN signal_dates_in_doubt d ON d.symbol = s.symbol AND d.date = s.date
        GROUP BY s.symbol ORDER BY s.symbol
        """,
        logic=LOGIC_VERSION,
    )
    return [
        one
        for row in found
        for one in (
            Measured(DATES_IN_DOUBT, (row["symbol"],), row["dates"]),
            Measured(DOUBT, (row["symbol"],), row["share"] or 0.0),
        )
    ]


def _quarantine(connection: Connection) -> list[Measured]:
    found = rows(
        connection,
        """
        SELECT layer, symbol, sum(rejected_count)::float8 AS rejected,
               sum(bar_count + rejected_count)::float8 AS delivered
        FROM bar_dates WHERE state = 'complete'
        GROUP BY layer, symbol ORDER BY layer, symbol
        """,
    )
    figures = []
    for row in found:
        labels = (row["layer"], row["symbol"])
        figures.append(Measured(QUARANTINED, labels, row["rejected"]))
        if row["delivered"]:
            figures.append(Measured(QUARANTINE, labels, row["rejected"] / row["delivered"]))
    return figures


def _runs(connection: Connection, now: datetime) -> list[Measured]:
    since = now - RUNS_OVER
    counted: Row = {"success": 0, "failed": 0, "running": 0}
    counted |= dict(
        connection.execute(
            "SELECT status, count(*) FROM data_ingest_runs WHERE started_at >= %s GROUP BY status",
            (since,),
        ).fetchall()
    )
    figures = [Measured(RUNS, (status,), float(count)) for status, count in counted.items()]
    finished = counted["success"] + counted["failed"]
    if finished:
        figures.append(Measured(SUCCESS, (), counted["success"] / finished))
    return [*figures, Measured(STALE_RUNS, (), float(_stale_runs(connection)))]


def _stale_runs(connection: Connection) -> int:
    running = connection.execute("SELECT id FROM data_ingest_runs WHERE status = 'running'")
    not_held = {row[0] for row in running} - ingest_runs_held(connection)
    # One that ended between the two looks was closed before it let go.
    still = connection.execute(
        "SELECT count(*) FROM data_ingest_runs WHERE status = 'running' AND id = ANY(%s)",
        (sorted(not_held),),
    ).fetchone()
    assert still is not None
    return int(still[0])


def _server(connection: Connection) -> list[Measured]:
    [row] = rows(
        connection,
        """
        SELECT pg_database_size(current_database())::float8 AS bytes,
               (SELECT count(*) FROM pg_stat_activity
                WHERE backend_type = 'client backend' OR backend_type IS NULL)::float8 AS open,
               current_setting('max_connections')::float8 AS allowed
        """,
    )
    return [
        Measured(DATABASE_BYTES, (), row["bytes"]),
        Measured(CONNECTIONS, (), row["open"]),
        Measured(CONNECTIONS_RATIO, (), row["open"] / row["allowed"]),
    ]


def _disks(folders: Mapping[str, Path]) -> list[Measured]:
    figures = []
    for name, folder in folders.items():
        there = next((path for path in (folder, *folder.parents) if path.exists()), None)
        if there is None:
            continue
        disk = shutil.disk_usage(there)
        figures.append(Measured(DISK_FREE, (name,), float(disk.free)))
        figures.append(Measured(DISK_FREE_RATIO, (name,), disk.free / disk.total))
    return figures
