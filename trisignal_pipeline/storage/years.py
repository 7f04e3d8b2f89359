"""The partitions by year of the tables of bars and of biases: listed, made ahead, and dropped.

Making one is asked of the database by every write that needs it; ahead of need no write has to.
Dropping one is only ever done by an explicit command: it takes away what the signal may rest on, so
it is refused as long as anything that stays would not be true any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import LiteralString

from psycopg import sql

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database, rows, scalar
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.locks import hold_symbols

BIAS_TABLE = "bias_series_1m_v1"
TABLES = (LEGACY.name, CLEAN.name, BIAS_TABLE)
FIRST_YEAR, LAST_YEAR = 1970, 2199


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of one of `TABLES`.

    start, end   its bounds as the table stamps rows, the end not included; None: without end
    rows         about how many, by the server's own statistics
    size_bytes   with its indexes
    """

    table: str
    schema: str
    name: str
    start: datetime | None
    end: datetime | None
    rows: int
    size_bytes: int

    def is_of(self, year: int) -> bool:
        """Whether it holds rows of `year` alone."""
        start, after = _bounds(year)
        return bool(self.start and self.end and start <= self.start and self.end <= after)

    def reaches_into(self, year: int) -> bool:
        """Whether it may hold rows of `year`."""
        start, after = _bounds(year)
        return (self.start is None or self.start < after) and (self.end is None or self.end > start)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What dropping a year takes away: partitions, rows of bars and biases, dates of bars."""

    year: int
    partitions: tuple[str, ...]
    rows: int
    size_bytes: int
    dates: int


def partitions(connection: Connection) -> list[Partition]:
    """Every partition of the three tables, in order of table and time."""
    found = rows(
        connection,
        """
        SELECT t.name AS table, n.nspname AS schema, c.relname AS partition,
               CASE WHEN bound[1] <> 'MINVALUE' THEN trim(bound[1], '''')::timestamptz END AS start,
               CASE WHEN bound[2] <> 'MAXVALUE' THEN trim(bound[2], '''')::timestamptz END AS after,
               greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::bigint AS rows,
               pg_total_relation_size(c.oid) AS bytes
        FROM unnest(%s::text[]) WITH ORDINALITY AS t (name, place)
        JOIN pg_inherits i ON i.inhparent = t.name::regclass
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                '^FOR VALUES FROM \\((.*)\\) TO \\((.*)\\)$') AS bound
        ORDER BY t.place, start NULLS FIRST
        """,
        list(TABLES),
    )
    return [Partition(*row.values()) for row in found]


def make_years(connection: Connection, years: Iterable[int]) -> int:
    """Make the partitions that the three tables still need for `years`; returns how many.

    Raises:
        RangeError: a year that is none.
    """
    made = 0
    for year in years:
        start, after = _bounds(year)
        for table in TABLES:
            made += int(
                scalar(
                    connection,
                    "SELECT ensure_time_partitions(%s::regclass, %s, %s - interval '1 minute')",
                    table,
                    start,
                    after,
                )
            )
    return made


def make_years_ahead(database: Database, now: datetime) -> int:
    """Make the partitions of this year and the next, so that no write at New Year has to."""
    year = now.astimezone(UTC).year
    with database.connect("years ahead") as connection:
        return make_years(connection, (year, year + 1))


def drop_year(connection: Connection, year: int, *, really: bool) -> Dropped:
    """Drop `year` from both tables of bars and from the biases; the caller commits.

    What is known of these dates goes with them: that they are there, their gaps, verdicts, saved
    states and doubts about their contract. Rejected bars and old versions stay: they were never in
    the tables, or are no longer. That the year was dropped is kept in `deletions`. Unless `really`,
    nothing is changed.

    Raises:
        RangeError: there is nothing of the year, or something that stays would not be true: the
            signal may use the year, signals of it are stored or any are in doubt, an earlier year
            is still there, or a partition of the year holds others as well.
        SymbolBusyError: a run works on a symbol.
        NotPermittedError: the user of the URL doesn't own the tables.
    """
    hold_symbols(connection, (row["symbol"] for row in rows(connection, _SYMBOLS)))
    of_year = _partitions_of(connection, year)
    _require_first(connection, year)
    _require_unused(connection, year)
    start, after = _bounds(year)
    first, last = date(year, 1, 1), date(year, 12, 31)
    described = scalar(
        connection, "SELECT count(*) FROM bar_dates WHERE date BETWEEN %s AND %s", first, last
    )
    if not of_year and not described:
        raise RangeError(f"there is nothing of {year}; see: trisignal db partitions")
    # The CLOSE of the year's last minute is next year's first stamp.
    last_minute = "SELECT count(*) FROM market_bars_ohlcv_1m WHERE ts = %s"
    stored = sum(_count(connection, one) for one in of_year) + scalar(
        connection, last_minute, after
    )
    dropped = Dropped(
        year,
        tuple(partition.name for partition in of_year),
        stored,
        sum(partition.size_bytes for partition in of_year),
        described,
    )
    if not really:
        return dropped
    for partition in of_year:
        connection.execute(sql.SQL("DROP TABLE {}").format(_identifier(partition)))
    connection.execute("DELETE FROM market_bars_ohlcv_1m WHERE ts = %s", (after,))
    connection.execute("DELETE FROM triangle_events_v1 WHERE ts >= %s AND ts < %s", (start, after))
    for statement in _KNOWN_OF_DATES:
        _forget(connection, statement, first, last)
    connection.execute(
        "INSERT INTO deletions (what, lower_bound, upper_bound, row_count) "
        "VALUES ('year', %s, %s, %s)",
        (start, after, stored),
    )
    return dropped


_SYMBOLS = "SELECT internal_symbol AS symbol FROM symbol_registry"

_KNOWN_OF_DATES: tuple[LiteralString, ...] = (
    "DELETE FROM bar_gaps WHERE date BETWEEN %s AND %s",
    "DELETE FROM bar_dates WHERE date BETWEEN %s AND %s",
    "DELETE FROM signal_dates WHERE date BETWEEN %s AND %s",
    "DELETE FROM signal_checkpoints WHERE date BETWEEN %s AND %s",
    "DELETE FROM lead_contract_doubts WHERE date BETWEEN %s AND %s",
    # What was said of the files themselves stays true.
    "DELETE FROM data_quality_results WHERE date BETWEEN %s AND %s AND asset <> 'raw_dbn_files'",
)


def _forget(connection: Connection, statement: LiteralString, first: date, last: date) -> None:
    connection.execute(statement, (first, last))


def _bounds(year: int) -> tuple[datetime, datetime]:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise RangeError(f"{year} is no year from {FIRST_YEAR} to {LAST_YEAR}")
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)


def _partitions_of(connection: Connection, year: int) -> list[Partition]:
    found = [one for one in partitions(connection) if one.reaches_into(year)]
    for partition in found:
        if not partition.is_of(year):
            raise RangeError(
                f"{year} can't be dropped: the partition {partition.name} holds other years as "
                "well; cut it into years first"
            )
    return found


def _require_first(connection: Connection, year: int) -> None:
    """Later dates rest on earlier ones, so that years go from the first one on."""
    earlier = scalar(
        connection, "SELECT min(date) FROM bar_dates WHERE date < %s", date(year, 1, 1)
    )
    start, _ = _bounds(year)
    if earlier is None and scalar(
        connection, "SELECT count(*) FROM market_bars_ohlcv_1m WHERE ts = %s", start
    ):
        earlier = date(year - 1, 12, 31)
    if earlier is not None:
        raise RangeError(
            f"{year} can't be dropped while dates before it are there, the first of them "
            f"{earlier}; drop {earlier.year} first"
        )


def _require_unused(connection: Connection, year: int) -> None:
    next_year = date(year + 1, 1, 1)
    used_by = rows(
        connection,
        """
        SELECT DISTINCT b.symbol FROM bar_dates b
        JOIN symbol_registry r ON r.internal_symbol = b.symbol
        WHERE b.date < %(next)s AND (r.history_start IS NULL OR r.history_start < %(next)s)
        ORDER BY b.symbol
        """,
        next=next_year,
    )
    if used_by:
        symbol = used_by[0]["symbol"]
        raise RangeError(
            f"{year} can't be dropped while the signal may use it: the history of "
            f"{', '.join(row['symbol'] for row in used_by)} begins before {next_year}; let it "
            f"begin later, for instance with: trisignal symbols set {symbol} "
            f"history_start={next_year}, then run: trisignal refresh"
        )
    in_doubt = [doubt.symbol for doubt in doubts(connection)]
    signals = rows(
        connection,
        "SELECT DISTINCT symbol FROM signal_dates WHERE date < %s AND NOT withdrawn ORDER BY 1",
        next_year,
    )
    unfinished = sorted({*in_doubt, *(row["symbol"] for row in signals)})
    if unfinished:
        raise RangeError(
            f"{year} can't be dropped while signals rest on it: those of {', '.join(unfinished)} "
            "are in doubt, or of dates before the history; run: trisignal refresh"
        )


def _identifier(partition: Partition) -> sql.Composable:
    return sql.Identifier(partition.schema, partition.name)


def _count(connection: Connection, partition: Partition) -> int:
    return int(
        connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(_identifier(partition))
        ).fetchall()[0][0]
    )
