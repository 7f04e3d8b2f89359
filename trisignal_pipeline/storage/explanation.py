"""Explaining one stored minute: from the state before it, beside what the tables say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, date_of_ns, iso_minute, utc
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.schemas import BIAS_COLUMNS, TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.signal.explain import MinuteExplanation, explain
from trisignal_pipeline.signal.explanation_text import minute_lines
from trisignal_pipeline.signal.replay import EngineState, advance
from trisignal_pipeline.signal.rules import (
    BIAS_NAMES,
    BULLISH,
    DIRECTION_NAMES,
    LOGIC_VERSION,
    NEUTRAL,
)
from trisignal_pipeline.storage.absent_minutes import refuse_absent
from trisignal_pipeline.storage.checkpoints import Standpoint, nearest
from trisignal_pipeline.storage.connection import Connection, Row, rows
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline.storage.selection import SelectedDate, read_selected, selected_dates
from trisignal_pipeline.storage.signals import BIAS_TABLE, TRIANGLE_TABLE


@dataclass(frozen=True, slots=True)
class StoredSignal:
    """What the tables of signals say of the minute.

    computed     whether there is a bias row; without one nothing else was compared
    differences  where the tables and the explanation disagree, each in a sentence
    in_doubt     whether the date's signal was computed from other bars or rules than there are now
    """

    computed: bool
    differences: tuple[str, ...] = ()
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """One minute of a symbol, where its bar came from, and what is stored of it.

    table              the table the signal reads the bar from
    calendar_warning   what to know of the sessions of the date; None where they are verified
    """

    symbol: str
    table: str
    calendar_warning: str | None
    minute: MinuteExplanation
    stored: StoredSignal


def explain_minute(connection: Connection, market: Market, ts_ns: int) -> Explanation:
    """What happened on the minute that opens at `ts_ns` (nanoseconds, UTC).

    Reads no more history than since the nearest saved state, all of it as it is at one instant.

    Args:
        connection: in autocommit, outside any transaction.
        market: whose anchor, filters and thresholds count.
        ts_ns: the bar's OPEN.

    Raises:
        RangeError: the signal has no bar there; the message says why, and names the nearest ones.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return _explain(connection, market, ts_ns)


def explanation_lines(explanation: Explanation) -> list[str]:
    """The explanation as text, for a terminal or a log."""
    opens = iso_minute(explanation.minute.bar.ts)
    lines = [
        f"{explanation.symbol} {opens}, from {explanation.table}",
        *minute_lines(explanation.minute),
        *(f"stored     {sentence}" for sentence in stored_sentences(explanation.stored)),
    ]
    if explanation.calendar_warning is not None:
        lines.append(f"calendar   {explanation.calendar_warning}")
    return lines


def stored_sentences(stored: StoredSignal) -> list[str]:
    """Whether the tables agree with the explanation."""
    if not stored.computed:
        return [f"nothing to compare with: {BIAS_TABLE} has no row for this minute yet"]
    told = list(stored.differences) or [f"{BIAS_TABLE} and {TRIANGLE_TABLE} say the same"]
    if stored.in_doubt:
        told.append("the date is in doubt: bars or rules changed since its signal was computed")
    return told


def before_minute(
    connection: Connection, market: Market, ts_ns: int
) -> tuple[EngineState, Bars, SelectedDate]:
    """The state before the minute that opens at `ts_ns`, its one bar, and the date it is of.

    Raises:
        RangeError: the signal has no bar there; the message says why, and names the nearest ones.
    """
    symbol, day = str(market.symbol), date_of_ns(ts_ns)
    dates = selected_dates(connection, symbol)
    selected = next((one for one in dates if one.date == day), None)
    if selected is None:
        refuse_absent(connection, market, ts_ns, dates, None)
    point = _at_midnight(connection, market, dates, selected)
    bars = read_selected(connection, symbol, [selected], market.hygiene, point.guard).bars
    row = int(np.searchsorted(bars.ts, ts_ns))
    if row == len(bars) or bars.ts[row] != ts_ns:
        refuse_absent(connection, market, ts_ns, dates, point.guard)
    before, _ = advance(point.engine, bars.take(slice(0, row)))
    return before, bars.take(slice(row, row + 1)), selected


def _explain(connection: Connection, market: Market, ts_ns: int) -> Explanation:
    before, bar, selected = before_minute(connection, market, ts_ns)
    minute = explain(before, bar, market.filters)
    return Explanation(
        str(market.symbol),
        selected.table,
        calendar_warning(market, DateRange(selected.date, selected.date)),
        minute,
        _stored(connection, market, selected, minute),
    )


def _at_midnight(
    connection: Connection, market: Market, dates: Sequence[SelectedDate], selected: SelectedDate
) -> Standpoint:
    """Where a replay stands before the first bar of a date."""
    point = nearest(connection, market, dates, selected.date)
    between = [
        one
        for one in dates
        if one.date < selected.date and (point.date is None or one.date > point.date)
    ]
    # A month at a time: without a saved state the history may be longer than memory.
    for _, of_month in groupby(between, key=lambda one: one.date.replace(day=1)):
        month = list(of_month)
        read = read_selected(connection, str(market.symbol), month, market.hygiene, point.guard)
        point = Standpoint(month[-1].date, advance(point.engine, read.bars)[0], read.guard)
    return point


def _stored(
    connection: Connection, market: Market, selected: SelectedDate, minute: MinuteExplanation
) -> StoredSignal:
    symbol = str(market.symbol)
    place: dict[str, object] = {"symbol": symbol, "ts": utc(minute.bar.ts)}
    bias_rows = rows(
        connection,
        "SELECT * FROM bias_series_1m_v1 WHERE symbol = %(symbol)s AND ts = %(ts)s",
        **place,
    )
    if not bias_rows:
        return StoredSignal(computed=False)
    origin: dict[str, object] = {
        "source_table": selected.table,
        "logic_version": LOGIC_VERSION,
    }
    biases = dict(zip(BIAS_COLUMNS, _names(minute), strict=True))
    triangles = rows(
        connection,
        "SELECT * FROM triangle_events_v1 WHERE symbol = %(symbol)s AND ts = %(ts)s "
        "ORDER BY direction",
        **place,
    )
    differences = [
        *_differences(BIAS_TABLE, bias_rows[0], biases | origin),
        *_triangle_differences(triangles, market, minute, origin),
    ]
    in_doubt = selected.date in dates_in_doubt(connection, symbol)
    return StoredSignal(computed=True, differences=tuple(differences), in_doubt=in_doubt)


def _triangle_differences(
    stored: Sequence[Row], market: Market, minute: MinuteExplanation, origin: dict[str, object]
) -> list[str]:
    directions = [row["direction"] for row in stored]
    expected = [] if minute.triangle == NEUTRAL else [DIRECTION_NAMES[minute.triangle]]
    if directions != expected:
        held, computed = (" and ".join(names) or "none" for names in (directions, expected))
        return [f"{TRIANGLE_TABLE} has as triangle {held}, computed is {computed}"]
    if not stored:
        return []
    flags, filters = minute.engulfing, market.filters
    bull = minute.triangle == BULLISH
    event: dict[str, object] = {
        **dict(zip(TRIANGLE_BIAS_COLUMNS, _names(minute), strict=True)),
        "htf_bullish": minute.htf_bullish,
        "htf_bearish": minute.htf_bearish,
        "engulfing": flags.bullish if bull else flags.bearish,
        "sweep_engulfing": flags.bullish_sweep if bull else flags.bearish_sweep,
        "require_engulfing": filters.require_engulfing,
        "require_sweep_engulfing": filters.require_sweep_engulfing,
        "htf_aligned_only": filters.htf_aligned_only,
        "contract": minute.contract,
    }
    return _differences(TRIANGLE_TABLE, stored[0], event | origin)


def _differences(table: str, stored: Row, computed: dict[str, object]) -> list[str]:
    return [
        f"{table} has {name} {stored[name]}, computed is {value}"
        for name, value in computed.items()
        if stored[name] != value
    ]


def _names(minute: MinuteExplanation) -> list[str]:
    return [BIAS_NAMES[code] for code in minute.biases]
