"""The two tables of bars: reading them, and replacing what they hold of a range.

In memory `ts` is a bar's OPEN. The legacy table is stamped by the CLOSE, one minute later: the
conversion happens in this file, as rows enter or leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import numpy as np
import numpy.typing as npt
from psycopg import sql

from trisignal_pipeline.market.bars import Bars, Int32s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, utc
from trisignal_pipeline.storage.binary_copy import copy_in, copy_out, nanoseconds, timestamps
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.replacement import Written, ensure_time_partitions, replace_span

_CONTRACT_WIDTH = 24


_VALUES = ("open", "high", "low", "close", "volume", "contract")


@dataclass(frozen=True, slots=True)
class BarsTable:
    """One of the two tables. `stamp_ns` is what its `ts` adds to a bar's OPEN.

    `extra` are the expressions of the columns the other table doesn't have: `extra_values` make a
    row another one, `extra_assigned` only go with it.
    """

    name: str
    layer: str
    stamp_ns: int
    extra: LiteralString
    extra_values: tuple[str, ...]
    extra_assigned: tuple[str, ...] = ()

    def stamp(self, open_ns: int) -> int:
        """The `ts` of the bar that opens at `open_ns`; both in nanoseconds."""
        return open_ns + self.stamp_ns


LEGACY = BarsTable(
    "market_bars_ohlcv_1m",
    "legacy",
    NS_PER_MINUTE,
    "true AS verified, 'databento' AS vendor, 'ohlcv-1m' AS schema, "
    "(extract(epoch FROM i.ts) * 1000)::bigint AS ts_ms, "
    "%(run)s::bigint AS ingestion_run_id, %(source)s::text AS source",
    extra_values=("verified",),
    extra_assigned=("vendor", "schema", "ts_ms", "ingestion_run_id"),
)
CLEAN = BarsTable(
    "market_bars_ohlcv_1m_clean",
    "clean",
    0,
    "%(source)s::text AS source, %(run)s::bigint AS ingestion_run_id",
    extra_values=("source",),
)

TABLE_OF_LAYER = {table.layer: table for table in (LEGACY, CLEAN)}


def read_bars(
    connection: Connection, table: BarsTable, symbol: str, start_ns: int, end_ns: int
) -> Bars:
    """Stored bars that open in [start_ns, end_ns) (nanoseconds, UTC), in order of time.

    Raises:
        InvalidBarsError: a stored row has no price or no volume.
    """
    records = copy_out(
        connection,
        sql.SQL(_SELECT).format(
            table=sql.Identifier(table.name), width=sql.Literal(_CONTRACT_WIDTH)
        ),
        {
            "symbol": symbol,
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
    FROM {table}
    WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
    ORDER BY ts
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
    if len(bars):
        first, last = int(bars.ts[0]), int(bars.ts[-1])
        ensure_time_partitions(connection, table.name, table.stamp(first), table.stamp(last))
    connection.execute(_STAGING)
    copy_in(
        connection,
        sql.SQL("COPY staged_bars FROM STDIN (FORMAT BINARY)"),
        {
            "ts": timestamps(bars.ts + table.stamp_ns),
            "open": bars.open,
            "high": bars.high,
            "low": bars.low,
            "close": bars.close,
            "volume": bars.volume,
            "contract": bars.contract,
        },
    )
    return replace_span(
        connection,
        table.name,
        symbol,
        (table.stamp(start_ns), table.stamp(end_ns)),
        sql.SQL(
            """
            SELECT i.ts, trim_scale(i.open * 0.000000001) AS open,
                   trim_scale(i.high * 0.000000001) AS high,
                   trim_scale(i.low * 0.000000001) AS low,
                   trim_scale(i.close * 0.000000001) AS close,
                   i.volume, (%(contracts)s::text[])[i.contract + 1] AS contract, {extra}
            FROM staged_bars i
            """
        ).format(extra=sql.SQL(table.extra)),
        key=("ts",),
        values=(*_VALUES, *table.extra_values),
        assigned=table.extra_assigned,
        parameters={"contracts": list(bars.contracts), "run": run_id, "source": source},
    )


_STAGING = """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_bars (
        ts timestamptz, open bigint, high bigint, low bigint, close bigint, volume bigint,
        contract integer
    ) ON COMMIT DELETE ROWS
"""


def _contract_codes(names: npt.NDArray[np.bytes_]) -> tuple[Int32s, tuple[str, ...]]:
    """Codes and names of a padded contract column; a contract's rows lie mostly side by side."""
    if not len(names):
        return np.empty(0, np.int32), ()
    starts = np.concatenate(([0], np.flatnonzero(names[1:] != names[:-1]) + 1))
    known: dict[str, int] = {}
    codes = [known.setdefault(names[i].decode().rstrip(), len(known)) for i in starts]
    lengths = np.diff(np.concatenate((starts, [len(names)])))
    return np.repeat(np.array(codes, np.int32), lengths), tuple(known)
