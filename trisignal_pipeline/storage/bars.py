"""The two tables of bars: reading them, and replacing what they hold of a range.

In memory `ts` is a bar's OPEN. The legacy table is stamped by the CLOSE, one minute later: the
conversion happens in this file, as rows enter or leave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from trisignal_pipeline.market.bars import Bars, Int32s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, utc
from trisignal_pipeline.storage.binary_copy import (
    copy_in,
    copy_out,
    nanoseconds,
    numerics,
    timestamps,
)
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.deletions import require_kept
from trisignal_pipeline.storage.replacement import (
    Written,
    ensure_time_partitions,
    holds_any,
    replace_span,
)

_CONTRACT_WIDTH = 24
_PART_ROWS = 8192
_VALUES = ("open", "high", "low", "close", "volume", "contract")


@dataclass(frozen=True, slots=True)
class BarsTable:
    """One of the two tables. `stamp_ns` is what its `ts` adds to a bar's OPEN.

    Its columns, beside `symbol` and `ts`, are `values`, which make a row another one, and
    `assigned`, which only go with it.
    """

    name: str
    layer: str
    stamp_ns: int
    values: tuple[str, ...]
    assigned: tuple[str, ...] = ()

    def stamp(self, open_ns: int) -> int:
        """The `ts` of the bar that opens at `open_ns`; both in nanoseconds."""
        return open_ns + self.stamp_ns

    @property
    def columns(self) -> tuple[str, ...]:
        """All that a row is written with."""
        return ("symbol", "ts", *self.values, *self.assigned)


LEGACY = BarsTable(
    "market_bars_ohlcv_1m",
    "legacy",
    NS_PER_MINUTE,
    values=(*_VALUES, "verified"),
    assigned=("vendor", "schema", "ts_ms", "ingestion_run_id"),
)
CLEAN = BarsTable(
    "market_bars_ohlcv_1m_clean",
    "clean",
    0,
    values=(*_VALUES, "source"),
)

TABLE_OF_LAYER = {table.layer: table for table in (LEGACY, CLEAN)}


def read_bars(
    connection: Connection,
    table: BarsTable,
    symbol: str,
    start_ns: int,
    end_ns: int,
    *,
    as_of: datetime | None = None,
) -> Bars:
    """Stored bars that open in [start_ns, end_ns) (nanoseconds, UTC), in order of time.

    With `as_of` (with a time zone) they are those the table held at that moment. A statement counts
    from the moment it was carried out, which may be a little before it was committed.

    Raises:
        InvalidBarsError: a stored row has no price or no volume.
        RangeError: what the table held at `as_of` was deleted since.
    """
    if as_of is not None:
        require_kept(connection, start_ns, end_ns, as_of)
    records = copy_out(
        connection,
        sql.SQL(_SELECT).format(
            rows=sql.SQL(_ROWS if as_of is None else _ROWS_AS_OF).format(
                table=sql.Identifier(table.name)
            ),
            width=sql.Literal(_CONTRACT_WIDTH),
        ),
        {
            "symbol": symbol,
            "layer": table.layer,
            "as_of": as_of,
            "start": utc(table.stamp(start_ns)),
            "end": utc(table.stamp(end_ns)),
        },
        [
            ("ts", "i8"),
            *((name, "i8") for name in ("open", "high", "low", "close", "volume")),
            ("contract", f"S{_CONTRACT_WIDTH}"),
        ],
    )
    codes, contracts = _contract_codes(records["contract"])
    return Bars(
        ts=nanoseconds(records["ts"]) - table.stamp_ns,
        **{
            name: np.ascontiguousarray(records[name])
            for name in ("open", "high", "low", "close", "volume")
        },
        contract=codes,
        contracts=contracts,
    )


_SELECT = """
    SELECT ts,
           (open * 1000000000)::bigint, (high * 1000000000)::bigint,
           (low * 1000000000)::bigint, (close * 1000000000)::bigint,
           volume, rpad(coalesce(contract, ''), {width})
    FROM ({rows}) AS bars
    ORDER BY ts
"""

_ROWS = """
    SELECT * FROM {table} WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
"""

_ROWS_AS_OF = """
    SELECT t.ts, t.open, t.high, t.low, t.close, t.volume, t.contract
    FROM {table} t
    WHERE t.symbol = %(symbol)s AND t.ts >= %(start)s AND t.ts < %(end)s
      AND t.created_at <= %(as_of)s
      AND NOT EXISTS (
          SELECT FROM market_bars_revisions r
          WHERE r.symbol = %(symbol)s AND r.layer = %(layer)s AND r.ts = t.ts
            AND r.ts >= %(start)s AND r.ts < %(end)s AND r.valid_to > %(as_of)s)
    UNION ALL
    SELECT r.ts, r.open, r.high, r.low, r.close, r.volume, r.contract
    FROM market_bars_revisions r
    WHERE r.symbol = %(symbol)s AND r.layer = %(layer)s AND r.ts >= %(start)s AND r.ts < %(end)s
      AND r.valid_from <= %(as_of)s AND r.valid_to > %(as_of)s
"""


def replace_bars(
    connection: Connection,
    table: BarsTable,
    symbol: str,
    bars: Bars,
    start_ns: int,
    end_ns: int,
    *,
    run_id: int,
    source: str,
) -> Written:
    """Make `bars` all that the table holds of `symbol` in [start_ns, end_ns); the caller commits.

    Rows that are there already, equal in every value, are not touched: they keep their times.
    """
    first_ns, after_ns = table.stamp(start_ns), table.stamp(end_ns)
    if len(bars):
        first, last = table.stamp(int(bars.ts[0])), table.stamp(int(bars.ts[-1]))
        ensure_time_partitions(connection, table.name, first, last)
    rows = [_rows(table, symbol, part, run_id=run_id, source=source) for part in _parts(bars)]
    if not holds_any(connection, table.name, symbol, (first_ns, after_ns)):
        try:
            with connection.transaction():
                _copy(connection, sql.Identifier(table.name), table, rows)
        except psycopg.errors.UniqueViolation:
            pass  # a writer that holds no lock was faster: what it wrote is replaced
        else:
            return Written(len(bars), changed_from=utc(first) if len(bars) else None)
    staged = sql.Identifier(f"staged_{table.layer}_bars")
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS AS "
            "SELECT {names} FROM {table} WITH NO DATA"
        ).format(staged=staged, names=names, table=sql.Identifier(table.name))
    )
    _copy(connection, staged, table, rows)
    return replace_span(
        connection,
        table.name,
        symbol,
        (first_ns, after_ns),
        sql.SQL("SELECT * FROM {}").format(staged),
        key=("ts",),
        values=table.values,
        assigned=table.assigned,
        parameters={},
    )


def _copy(
    connection: Connection,
    target: sql.Identifier,
    table: BarsTable,
    rows: Iterable[Mapping[str, npt.NDArray[Any]]],
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    copy_in(
        connection,
        sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(target, names),
        *rows,
    )


def _rows(
    table: BarsTable, symbol: str, bars: Bars, *, run_id: int, source: str
) -> dict[str, npt.NDArray[Any]]:
    """The columns of `table` that hold `bars`, whose contracts have names of one length."""
    stamped = bars.ts + table.stamp_ns
    columns = {
        "symbol": np.array(symbol.encode()),
        "ts": timestamps(stamped),
        "ts_ms": stamped // 1_000_000,
        **{name: numerics(getattr(bars, name)) for name in ("open", "high", "low", "close")},
        "volume": bars.volume,
        "contract": _names(bars),
        "verified": np.array(True),
        "vendor": np.array(b"databento"),
        "schema": np.array(b"ohlcv-1m"),
        "ingestion_run_id": np.array(run_id),
        "source": np.array(source.encode()),
    }
    return {name: np.broadcast_to(columns[name], len(bars)) for name in table.columns}


def _parts(bars: Bars) -> Iterator[Bars]:
    """`bars` in parts of a size that memory likes, in each of which all names have one length."""
    lengths = np.array([len(name.encode()) for name in bars.contracts])[bars.contract]
    cuts = (np.flatnonzero(np.diff(lengths)) + 1).tolist()
    for first, after in pairwise(sorted({*range(0, len(bars), _PART_ROWS), *cuts, 0, len(bars)})):
        yield bars.take(slice(first, after))


def _names(bars: Bars) -> npt.NDArray[np.void]:
    """The contract of each bar as it goes over the wire; an empty name has no bytes at all."""
    names = [name.encode() for name in bars.contracts]
    width = len(names[bars.contract[0]]) if len(bars) else 0
    if not width:
        return np.empty(len(bars), "V0")
    return np.array(names, f"S{width}").view(f"V{width}")[bars.contract]


def _contract_codes(names: npt.NDArray[np.bytes_]) -> tuple[Int32s, tuple[str, ...]]:
    """Codes and names of a padded contract column; a contract's rows lie mostly side by side."""
    if not len(names):
        return np.empty(0, np.int32), ()
    starts = np.concatenate(([0], np.flatnonzero(names[1:] != names[:-1]) + 1))
    known: dict[str, int] = {}
    codes = [known.setdefault(names[i].decode().rstrip(), len(known)) for i in starts]
    lengths = np.diff(np.concatenate((starts, [len(names)])))
    return np.repeat(np.array(codes, np.int32), lengths), tuple(known)
