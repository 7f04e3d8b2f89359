"""Bias rows and triangles: replaced together, a range of dates in one transaction.

Both tables are stamped by the bar's OPEN. A row that is there already, equal in every value, keeps
its id and its times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from psycopg import sql

from trisignal_pipeline.market.bars import Int32s
from trisignal_pipeline.market.dates import DateRange, utc
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.replay import BiasSeries
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES, LOGIC_VERSION
from trisignal_pipeline.signal.triangles import Triangles
from trisignal_pipeline.storage.binary_copy import copy_in, copy_out, nanoseconds, timestamps
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.replacement import Written, ensure_time_partitions, replace_span
from trisignal_pipeline.storage.selection import LockedOut, SelectedDate

BIAS_TABLE = "bias_series_1m_v1"
TRIANGLE_TABLE = "triangle_events_v1"

_BIAS_COLUMNS = ("bias_1m", "bias_5m", "bias_15m", "bias_1h", "bias_4h", "bias_1d")
_TRIANGLE_BIAS_COLUMNS = ("bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1")
_FLAG_COLUMNS = ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
_FILTER_COLUMNS = ("require_engulfing", "require_sweep_engulfing", "htf_aligned_only")


@dataclass(frozen=True, slots=True, eq=False)
class SignalRows:
    """What the signal made of a range of dates, with where each row comes from.

    bias_table, triangle_table   int32 index into `tables`, for each bias row and each triangle
    triangle_contract            int32 index into `contracts`
    rules                        `Market.rules` of the market they were made for
    """

    bias: BiasSeries
    triangles: Triangles
    tables: tuple[str, ...]
    bias_table: Int32s
    triangle_table: Int32s
    contracts: tuple[str, ...]
    triangle_contract: Int32s
    rules: str


@dataclass(frozen=True, slots=True)
class SignalDate:
    """A date whose signal is computed, the history it was computed from, and what was left out."""

    selected: SelectedDate
    triangle_count: int
    locked_out: LockedOut | None = None


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """What is stored of a date's signal. The longest lock-out may have begun on an earlier date."""

    date: date
    source_table: str
    bar_count: int
    locked_out: int
    longest: int
    longest_since_ns: int | None
    longest_by: str | None


def replace_signals(
    connection: Connection,
    symbol: str,
    dates: DateRange,
    rows: SignalRows,
    described: Sequence[SignalDate],
) -> tuple[Written, Written]:
    """Make `rows` all there is of `symbol` and `dates`; the caller commits, all of it at once.

    Dates of the range that aren't in `described` are left with no rows; those that had some are
    called withdrawn.
    Returns what was done to the bias rows, and what to the triangles.
    """
    bias = _replace_bias(connection, symbol, dates, rows)
    triangles = _replace_triangles(connection, symbol, dates, rows)
    _describe(connection, symbol, dates, described, rows.rules)
    return bias, triangles


def read_bias(connection: Connection, symbol: str, dates: DateRange) -> pd.DataFrame:
    """Stored bias rows in order of time: `ts` int64 ns (OPEN), and the six names of `BIAS_ROW`."""
    records = copy_out(
        connection,
        sql.SQL(
            "SELECT ts, {biases} FROM {table} "
            "WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s ORDER BY ts"
        ).format(biases=_padded(_BIAS_COLUMNS, 7), table=sql.Identifier(BIAS_TABLE)),
        _span(symbol, dates),
        [("ts", "i8"), *((name, "S7") for name in _BIAS_COLUMNS)],
    )
    return _frame(records, _BIAS_COLUMNS)


def read_triangles(connection: Connection, symbol: str, dates: DateRange) -> pd.DataFrame:
    """Stored triangles in order of time, with the columns of `TRIANGLE_EVENT`."""
    texts = ("direction", *_TRIANGLE_BIAS_COLUMNS)
    records = copy_out(
        connection,
        sql.SQL(
            "SELECT ts, {texts}, {flags} FROM {table} "
            "WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s ORDER BY ts, direction"
        ).format(
            texts=_padded(texts, 7),
            flags=sql.SQL(", ").join(map(sql.Identifier, _FLAG_COLUMNS)),
            table=sql.Identifier(TRIANGLE_TABLE),
        ),
        _span(symbol, dates),
        [("ts", "i8"), *((name, "S7") for name in texts), *((name, "?") for name in _FLAG_COLUMNS)],
    )
    return _frame(records, texts)


def signal_dates(connection: Connection, symbol: str, dates: DateRange) -> dict[date, SignalRecord]:
    """What is stored of the signal of each of `dates` that has one."""
    found = connection.execute(
        """
        SELECT date, source_table, bar_count, locked_out, longest_lock_out,
               (extract(epoch FROM locked_out_since) * 1000000000)::bigint, locked_out_by
        FROM signal_dates WHERE symbol = %s AND date BETWEEN %s AND %s AND NOT withdrawn
        """,
        (symbol, dates.start, dates.end),
    )
    return {row[0]: SignalRecord(*row) for row in found}


def _replace_bias(
    connection: Connection, symbol: str, dates: DateRange, rows: SignalRows
) -> Written:
    series = rows.bias
    if len(series.ts):
        ensure_time_partitions(connection, BIAS_TABLE, int(series.ts[0]), int(series.ts[-1]))
    connection.execute(
        """
        CREATE TEMPORARY TABLE IF NOT EXISTS staged_bias (
            ts timestamptz, bias_1m text, bias_5m text, bias_15m text, bias_1h text, bias_4h text,
            bias_1d text, source_table integer
        ) ON COMMIT DELETE ROWS
        """
    )
    copy_in(
        connection,
        sql.SQL("COPY staged_bias FROM STDIN (FORMAT BINARY)"),
        {
            "ts": timestamps(series.ts),
            **_bias_texts(_BIAS_COLUMNS, series.bias),
            "source_table": rows.bias_table,
        },
    )
    return replace_span(
        connection,
        BIAS_TABLE,
        symbol,
        (dates.start_ns, dates.end_ns),
        sql.SQL(
            "SELECT i.ts, i.bias_1m, i.bias_5m, i.bias_15m, i.bias_1h, i.bias_4h, i.bias_1d, "
            "(%(tables)s::text[])[i.source_table + 1] AS source_table, "
            "%(logic)s::text AS logic_version FROM staged_bias i"
        ),
        key=("ts",),
        values=(*_BIAS_COLUMNS, "source_table", "logic_version"),
        parameters={"tables": list(rows.tables), "logic": LOGIC_VERSION},
    )


def _replace_triangles(
    connection: Connection, symbol: str, dates: DateRange, rows: SignalRows
) -> Written:
    events = rows.triangles
    connection.execute(
        """
        CREATE TEMPORARY TABLE IF NOT EXISTS staged_triangles (
            ts timestamptz, direction text, bias_1m text, bias_m5 text, bias_m15 text,
            bias_h1 text, bias_h4 text, bias_d1 text, htf_bullish boolean, htf_bearish boolean,
            engulfing boolean, sweep_engulfing boolean, source_table integer, contract integer
        ) ON COMMIT DELETE ROWS
        """
    )
    copy_in(
        connection,
        sql.SQL("COPY staged_triangles FROM STDIN (FORMAT BINARY)"),
        {
            "ts": timestamps(events.ts),
            "direction": _texts(DIRECTION_NAMES, 4)[events.direction],
            **_bias_texts(_TRIANGLE_BIAS_COLUMNS, events.bias),
            **{name: getattr(events, name) for name in _FLAG_COLUMNS},
            "source_table": rows.triangle_table,
            "contract": rows.triangle_contract,
        },
    )
    return replace_span(
        connection,
        TRIANGLE_TABLE,
        symbol,
        (dates.start_ns, dates.end_ns),
        sql.SQL(
            "SELECT i.ts, i.direction, i.bias_1m, i.bias_m5, i.bias_m15, i.bias_h1, i.bias_h4, "
            "i.bias_d1, i.htf_bullish, i.htf_bearish, i.engulfing, i.sweep_engulfing, "
            "%(require_engulfing)s::boolean AS require_engulfing, "
            "%(require_sweep_engulfing)s::boolean AS require_sweep_engulfing, "
            "%(htf_aligned_only)s::boolean AS htf_aligned_only, "
            "(%(tables)s::text[])[i.source_table + 1] AS source_table, "
            "(%(contracts)s::text[])[i.contract + 1] AS contract, "
            "%(logic)s::text AS logic_version FROM staged_triangles i"
        ),
        key=("ts", "direction"),
        values=(
            *_TRIANGLE_BIAS_COLUMNS,
            *_FLAG_COLUMNS,
            *_FILTER_COLUMNS,
            "source_table",
            "contract",
            "logic_version",
        ),
        parameters={
            "tables": list(rows.tables),
            "contracts": list(rows.contracts),
            "logic": LOGIC_VERSION,
            **{name: getattr(events.filters, name) for name in _FILTER_COLUMNS},
        },
    )


def _describe(
    connection: Connection,
    symbol: str,
    dates: DateRange,
    described: Sequence[SignalDate],
    rules: str,
) -> None:
    # A date that lost its bars is remembered, or nobody would compute it when they are back.
    connection.execute(
        """
        UPDATE signal_dates SET withdrawn = true, source_table = NULL, bar_count = 0,
            triangle_count = 0, locked_out = 0, longest_lock_out = 0, locked_out_since = NULL,
            locked_out_by = NULL, rules = %(rules)s, logic_version = %(logic)s,
            completed_at = clock_timestamp()
        WHERE symbol = %(symbol)s AND date BETWEEN %(start)s AND %(end)s
          AND date <> ALL(%(described)s::date[])
          AND (NOT withdrawn OR rules <> %(rules)s OR logic_version <> %(logic)s)
        """,
        {
            "symbol": symbol,
            "start": dates.start,
            "end": dates.end,
            "described": [day.selected.date for day in described],
            "rules": rules,
            "logic": LOGIC_VERSION,
        },
    )
    locked = [day.locked_out for day in described]
    connection.execute(
        """
        INSERT INTO signal_dates AS known (symbol, date, source_table, bar_count, triangle_count,
            history_fingerprint, locked_out, longest_lock_out, locked_out_since, locked_out_by,
            rules, logic_version, completed_at)
        SELECT %s, d.*, %s, %s, clock_timestamp()
        FROM unnest(%s::date[], %s::text[], %s::int[], %s::int[], %s::numeric[], %s::int[],
                    %s::int[], %s::timestamptz[], %s::text[]) AS d
        ON CONFLICT (symbol, date) DO UPDATE SET
            source_table = excluded.source_table, bar_count = excluded.bar_count,
            triangle_count = excluded.triangle_count,
            history_fingerprint = excluded.history_fingerprint,
            locked_out = excluded.locked_out, longest_lock_out = excluded.longest_lock_out,
            locked_out_since = excluded.locked_out_since, locked_out_by = excluded.locked_out_by,
            rules = excluded.rules, logic_version = excluded.logic_version,
            completed_at = excluded.completed_at, withdrawn = false
        WHERE known.withdrawn
           OR (known.source_table, known.bar_count, known.triangle_count,
               known.history_fingerprint, known.locked_out, known.longest_lock_out,
               known.rules, known.logic_version)
              IS DISTINCT FROM
              (excluded.source_table, excluded.bar_count, excluded.triangle_count,
               excluded.history_fingerprint, excluded.locked_out, excluded.longest_lock_out,
               excluded.rules, excluded.logic_version)
        """,
        (
            symbol,
            rules,
            LOGIC_VERSION,
            [day.selected.date for day in described],
            [day.selected.table for day in described],
            [day.selected.bar_count for day in described],
            [day.triangle_count for day in described],
            [day.selected.history for day in described],
            [out.rejected if out else 0 for out in locked],
            [out.longest if out else 0 for out in locked],
            [utc(out.longest_since_ns) if out else None for out in locked],
            [out.longest_by if out else None for out in locked],
        ),
    )


def _frame(records: npt.NDArray[Any], texts: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in records.dtype.names or ():
        column = np.ascontiguousarray(records[name])
        columns[name] = _words(column) if name in texts else column
    return pd.DataFrame({**columns, "ts": nanoseconds(columns["ts"])})


def _words(column: npt.NDArray[np.bytes_]) -> pd.Series:
    """A padded text column without its padding, one string for each run of equal rows.

    A bias stands for many minutes: a string for every row would be most of a run's memory.
    """
    changes = np.concatenate(([len(column) > 0], column[1:] != column[:-1]))
    starts = np.flatnonzero(changes)
    words = np.char.rstrip(column[starts].astype("U7")).astype(np.object_)
    return pd.Series(np.repeat(words, np.diff(starts, append=len(column))), dtype="str")


def _padded(names: Sequence[str], width: int) -> sql.Composed:
    """Texts made exactly `width` long, as binary COPY needs them; no allowed value is longer."""
    return sql.SQL(", ").join(
        sql.SQL("rpad({}, {})").format(sql.Identifier(name), sql.Literal(width)) for name in names
    )


def _span(symbol: str, dates: DateRange) -> dict[str, object]:
    return {"symbol": symbol, "start": utc(dates.start_ns), "end": utc(dates.end_ns)}


def _bias_texts(names: tuple[str, ...], bias: Int8s) -> dict[str, npt.NDArray[np.bytes_]]:
    texts = _texts(BIAS_NAMES, 7)
    return {name: texts[bias[:, column]] for column, name in enumerate(names)}


def _texts(names: Sequence[str], width: int) -> npt.NDArray[np.bytes_]:
    return np.array([name.encode() for name in names], f"S{width}")
