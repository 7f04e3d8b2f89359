"""Bars, biases and triangles of a span of time, in pages of columns.

A span is [start_ns, end_ns), nanoseconds since the epoch (UTC), and means the OPEN of the bars. The
columns are Arrow's: `ts` as a timestamp in UTC, prices in points as float64, which is exact for
prices of up to 15 digits, names as dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg import sql

from trisignal_pipeline.market.bars import PRICE_UNIT, Int64s
from trisignal_pipeline.market.dates import (
    NS_PER_MINUTE,
    NS_PER_SECOND,
    DateRange,
    date_of_ns,
    utc,
)
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.bars import StoredMinutes, period_ends, read_minutes, whole_bars
from trisignal_pipeline.query.cursors import read_cursor, write_cursor
from trisignal_pipeline.schemas import BIAS_COLUMNS, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import HigherBars
from trisignal_pipeline.storage.bar_dates import complete_dates
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.binary_copy import copy_out, nanoseconds
from trisignal_pipeline.storage.connection import Connection

MOST_MINUTES = 400_000
"""How many minutes a page of higher bars is made from: some fourteen months."""

FLAGS = (
    "htf_bullish",
    "htf_bearish",
    "engulfing",
    "sweep_engulfing",
    "require_engulfing",
    "require_sweep_engulfing",
    "htf_aligned_only",
)
DIRECTIONS = DIRECTION_NAMES[1:]
PRICES = ("open", "high", "low", "close")

_CONTRACT_WIDTH = 24
_MINUTES_AT_ONCE = 100_000
_LONGEST_PERIOD = timedelta(days=14)
_BARS_SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("s", "UTC")),
        *((name, pa.float64()) for name in PRICES),
        ("volume", pa.int64()),
        ("contract", pa.dictionary(pa.int32(), pa.string())),
    ]
)
_NO_BARS = _BARS_SCHEMA.empty_table()


@dataclass(frozen=True, slots=True)
class Span:
    """Minutes of a market: those that open in [start_ns, end_ns), nanoseconds since the epoch."""

    symbol: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A page: its columns, and the cursor that leads on; None behind the last one."""

    table: pa.Table
    next_cursor: str | None


def bars_page(
    connection: Connection,
    market: Market,
    timeframe: str,
    span: Span,
    *,
    limit: int,
    cursor: str | None = None,
) -> Rows:
    """Whole bars of `timeframe` whose period starts in `span`: at most `limit` of them.

    There may be fewer on a page that is not the last one: it is made from a bounded number of
    minutes.

    Raises:
        RangeError: the cursor is none of this question's.
    """
    question = ("bars", timeframe, span)
    key = read_cursor(question, cursor, 1)
    start_ns = max(span.start_ns, key[0] + 1) if key else span.start_ns
    parts = [_NO_BARS]
    left = limit
    for window in _windows(connection, timeframe, Span(span.symbol, start_ns, span.end_ns), limit):
        minutes = read_minutes(connection, market, timeframe, window.dates)
        first_ns, end_ns = window.dates.start_ns, window.dates.end_ns
        bars = whole_bars(
            minutes, timeframe, max(start_ns, first_ns), min(span.end_ns, end_ns)
        ).bars
        parts.append(_bars_table(bars, minutes, timeframe).slice(0, left))
        if len(bars) > left:
            return Rows(_together(parts), write_cursor(question, (int(bars.ts[left - 1]),)))
        left -= len(bars)
        if window.follows and (not left or window.is_last):
            return Rows(_together(parts), write_cursor(question, (end_ns - 1,)))
    return Rows(_together(parts), None)


@dataclass(frozen=True, slots=True)
class _Window:
    """Dates that are read at once.

    follows   there are dates with bars behind them
    is_last   a page reads no further than these
    """

    dates: DateRange
    follows: bool
    is_last: bool


def _windows(connection: Connection, timeframe: str, span: Span, limit: int) -> Iterator[_Window]:
    """The dates of `span`, as many at once as hold a page or, of higher bars, some months."""
    known = known_dates(connection, span)
    if known is None:
        return
    counts = complete_dates(connection, span.symbol, CLEAN.layer, known)
    of_minutes = timeframe == TIMEFRAMES[0]
    at_once = limit if of_minutes else _MINUTES_AT_ONCE
    last = max(counts, default=known.end)
    start, inside, before = known.start, 0, 0
    for day, described in counts.items():
        inside += described.bar_count
        if inside >= at_once and day < last:
            before += inside
            is_last = not of_minutes and before >= MOST_MINUTES
            yield _Window(DateRange(start, day), follows=True, is_last=is_last)
            start, inside = day + timedelta(days=1), 0
    yield _Window(DateRange(start, known.end), follows=False, is_last=True)


def known_dates(connection: Connection, span: Span) -> DateRange | None:
    """The dates of `span` between the first and the last with clean bars; None if there are none.

    The last one is followed by those that a bar of its own may reach into.
    """
    row = connection.execute(
        """
        SELECT min(date), max(date) FROM bar_dates
        WHERE symbol = %s AND layer = 'clean' AND state = 'complete' AND bar_count > 0
        """,
        (span.symbol,),
    ).fetchone()
    if row is None or row[0] is None:
        return None
    # A period may open on a date before its first minute.
    first = max(date_of_ns(span.start_ns), row[0] - _LONGEST_PERIOD)
    last = min(date_of_ns(span.end_ns - 1), row[1])
    return DateRange(first, last) if first <= last else None


def bias_page(connection: Connection, span: Span, *, limit: int, cursor: str | None = None) -> Rows:
    """The six biases on every minute of `span`: at most `limit` minutes.

    Raises:
        RangeError: the cursor is none of this question's.
    """
    question = ("bias", span)
    key = read_cursor(question, cursor, 1)
    records = _read_bias(connection, _after(span, key), limit + 1)
    return _page(_bias_table(records), limit, question, records["ts"])


def triangles_page(
    connection: Connection,
    span: Span,
    directions: Sequence[str] = DIRECTIONS,
    *,
    limit: int,
    cursor: str | None = None,
) -> Rows:
    """The triangles of `span` in these directions, in order of time: at most `limit`.

    Raises:
        RangeError: the cursor is none of this question's.
    """
    question = ("triangles", span, tuple(sorted(directions)))
    key = read_cursor(question, cursor, 2)
    records = _read_triangles(connection, span, directions, limit + 1, key)
    keys = nanoseconds(records["ts"]), records["direction"]
    table = _triangles_table(records)
    if len(table) <= limit:
        return Rows(table, None)
    last = tuple(int(column[limit - 1]) for column in keys)
    return Rows(table.slice(0, limit), write_cursor(question, last))


def _read_bias(connection: Connection, span: Span, limit: int) -> npt.NDArray[Any]:
    return copy_out(
        connection,
        sql.SQL(
            "SELECT ts, {codes} FROM bias_series_1m_v1 WHERE symbol = %(symbol)s "
            "AND ts >= %(start)s AND ts < %(end)s ORDER BY ts LIMIT %(limit)s"
        ).format(codes=_codes(BIAS_COLUMNS, BIAS_NAMES)),
        _bound(span, limit),
        [("ts", "i8"), *((name, "i2") for name in BIAS_COLUMNS)],
    )


def _read_triangles(
    connection: Connection,
    span: Span,
    directions: Sequence[str],
    limit: int,
    key: tuple[int, ...] = (),
) -> npt.NDArray[Any]:
    after_ns, after_direction = key or (span.start_ns - 1, 0)
    return copy_out(
        connection,
        sql.SQL(
            """
            SELECT ts, {codes}, {flags}, rpad(coalesce(contract, ''), {width})
            FROM (SELECT *, array_position(%(names)s::text[], direction) - 1 AS place
                  FROM triangle_events_v1
                  WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
                    AND direction = ANY (%(directions)s)) AS event
            WHERE (ts, place) > (%(after)s, %(after_place)s)
            ORDER BY ts, place LIMIT %(limit)s
            """
        ).format(
            codes=sql.SQL(", ").join(
                [_codes(("direction",), DIRECTION_NAMES), _codes(TRIANGLE_BIAS_COLUMNS, BIAS_NAMES)]
            ),
            flags=sql.SQL(", ").join(map(sql.Identifier, FLAGS)),
            width=sql.Literal(_CONTRACT_WIDTH),
        ),
        {
            **_bound(span, limit),
            "start": utc(max(span.start_ns, after_ns)),
            "names": list(DIRECTION_NAMES),
            "directions": list(directions),
            "after": utc(after_ns),
            "after_place": after_direction,
        },
        [
            ("ts", "i8"),
            ("direction", "i2"),
            *((name, "i2") for name in TRIANGLE_BIAS_COLUMNS),
            *((name, "?") for name in FLAGS),
            ("contract", f"S{_CONTRACT_WIDTH}"),
        ],
    )


def _codes(columns: Sequence[str], names: Sequence[str]) -> sql.Composed:
    """Words as their places in `names`, which a binary COPY has at a fixed width."""
    return sql.SQL(", ").join(
        sql.SQL("(array_position({}::text[], {}) - 1)::smallint").format(
            sql.Literal(list(names)), sql.Identifier(name)
        )
        for name in columns
    )


def _bound(span: Span, limit: int) -> dict[str, object]:
    return {
        "symbol": span.symbol,
        "start": utc(span.start_ns),
        "end": utc(span.end_ns),
        "limit": limit,
    }


def _after(span: Span, key: tuple[int, ...]) -> Span:
    if not key:
        return span
    return Span(span.symbol, max(span.start_ns, key[0] + NS_PER_MINUTE), span.end_ns)


def _page(table: pa.Table, limit: int, question: tuple[object, ...], timestamps: Int64s) -> Rows:
    if len(table) <= limit:
        return Rows(table, None)
    last = int(nanoseconds(timestamps[limit - 1 : limit])[0])
    return Rows(table.slice(0, limit), write_cursor(question, (last,)))


def _bars_table(bars: HigherBars, minutes: StoredMinutes, timeframe: str) -> pa.Table:
    own = minutes.bars
    ends = period_ends(bars.ts, timeframe, minutes.sessions)
    last = np.searchsorted(own.ts, ends) - 1
    return pa.table(
        {
            "ts": _times(bars.ts),
            **{name: bars_price(getattr(bars, name)) for name in PRICES},
            "volume": bars.volume,
            "contract": _names(own.contract[last], own.contracts),
        },
        schema=_BARS_SCHEMA,
    )


def _bias_table(records: npt.NDArray[Any]) -> pa.Table:
    return pa.table(
        {
            "ts": _times(nanoseconds(records["ts"])),
            **{
                shown: _names(records[stored], BIAS_NAMES)
                for shown, stored in zip(TRIANGLE_BIAS_COLUMNS, BIAS_COLUMNS, strict=True)
            },
        }
    )


def _triangles_table(records: npt.NDArray[Any]) -> pa.Table:
    contracts, places = np.unique(records["contract"], return_inverse=True)
    return pa.table(
        {
            "ts": _times(nanoseconds(records["ts"])),
            "direction": _names(records["direction"], DIRECTION_NAMES),
            **{name: _names(records[name], BIAS_NAMES) for name in TRIANGLE_BIAS_COLUMNS},
            **{name: np.ascontiguousarray(records[name]) for name in FLAGS},
            "contract": _names(places, [text.decode().rstrip() for text in contracts.tolist()]),
        }
    )


def bars_price(units: Int64s) -> npt.NDArray[np.float64]:
    """Prices in points. The division is rounded once, to the float that the decimal is read as."""
    return units / PRICE_UNIT


def _times(ts_ns: Int64s) -> pa.Array:
    return pa.array(ts_ns // NS_PER_SECOND, pa.timestamp("s", "UTC"))


def _names(codes: npt.NDArray[Any], names: Sequence[str]) -> pa.DictionaryArray:
    indices = pa.array(np.ascontiguousarray(codes, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(names), pa.string()))


def _together(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).unify_dictionaries()
