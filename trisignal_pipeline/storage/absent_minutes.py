"""Why the signal has no bar on a minute: none traded, none is stored, or one was rejected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NoReturn

import numpy as np

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    date_of_ns,
    iso_minute,
    midnight_ns,
    utc,
)
from trisignal_pipeline.market.deliveries import Delivered
from trisignal_pipeline.market.hygiene import Guard, LastGood, locked_rules
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.schemas import clean_bar
from trisignal_pipeline.screening import screen
from trisignal_pipeline.signal.explanation_text import points
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, TABLE_OF_LAYER, BarsTable, read_bars
from trisignal_pipeline.storage.connection import Connection, rows
from trisignal_pipeline.storage.selection import SelectedDate


def refuse_absent(
    connection: Connection,
    market: Market,
    ts_ns: int,
    dates: Sequence[SelectedDate],
    guard: Guard | None,
) -> NoReturn:
    """Raise the error that says why there is no bar to explain.

    Args:
        connection: reads what there is instead.
        market: whose thresholds count.
        ts_ns: the minute's OPEN, nanoseconds (UTC), which the signal has no bar for.
        dates: all selected dates of the symbol.
        guard: where the locked rules stand before the minute's date; None if it isn't selected.

    Raises:
        RangeError: always.
    """
    symbol = str(market.symbol)
    at = f"{symbol} {iso_minute(ts_ns)}"
    if not dates:
        raise RangeError(
            f"{at}: the signal has no bars of {symbol} at all; load some with: trisignal backfill "
            f"{symbol} --start DATE --end DATE"
        )
    day = date_of_ns(ts_ns)
    selected = next((one for one in dates if one.date == day), None)
    if selected is None or guard is None:
        why = f"no bars of {day} can be read ({_state_of(connection, symbol, day)})"
    else:
        why = _why_not(connection, market, ts_ns, TABLE_OF_LAYER[selected.layer], guard)
    raise RangeError(f"{at}: {why}; {_neighbours(connection, symbol, ts_ns, dates)}")


def _state_of(connection: Connection, symbol: str, day: date) -> str:
    states = {
        row["state"]
        for row in rows(
            connection,
            "SELECT state FROM bar_dates WHERE symbol = %s AND date = %s",
            symbol,
            day,
        )
    }
    if not states:
        return "none are stored"
    if "complete" not in states:
        return "writing them did not come to its end"
    return "they broke a check, or lie before the symbol's history start"


def _why_not(
    connection: Connection, market: Market, ts_ns: int, table: BarsTable, guard: Guard
) -> str:
    """Why a date that is read has no bar on one of its minutes."""
    symbol, midnight = str(market.symbol), ts_ns - ts_ns % NS_PER_DAY
    of_day = read_bars(connection, table, symbol, midnight, midnight + NS_PER_DAY)
    found = np.flatnonzero(of_day.ts == ts_ns)
    if len(found):
        return _locked_out(market, of_day, int(found[0]), guard)
    if table is CLEAN:
        legacy = read_bars(connection, LEGACY, symbol, ts_ns, ts_ns + NS_PER_MINUTE)
        if len(legacy):
            return _not_clean(market, legacy)
    if kept := _in_quarantine(connection, symbol, ts_ns):
        return kept
    return "no bar opens there (a bar is asked for by its OPEN)"


def _in_quarantine(connection: Connection, symbol: str, ts_ns: int) -> str | None:
    """What was delivered of a minute and rejected, in words."""
    rejected = rows(
        connection,
        """
        SELECT DISTINCT array_to_string(rules, ', ') AS rules,
               coalesce('in ' || file_name, 'by ' || source) AS delivered
        FROM quarantined_bars
        WHERE symbol = %s AND ts = %s AND released_at IS NULL ORDER BY delivered, rules
        """,
        symbol,
        utc(ts_ns),
    )
    if not rejected:
        return None
    day = date_of_ns(ts_ns)
    said = " and ".join(
        f"its bar {row['delivered']} was rejected by {row['rules']}" for row in rejected
    )
    return f"{said} (see: trisignal quarantine {symbol} --start {day} --end {day})"


def _not_clean(market: Market, legacy: Bars) -> str:
    broken = screen(clean_bar(market.hygiene), Delivered.of_one(legacy)).broken
    if not broken:
        return (
            f"{LEGACY.name} has its bar, but {CLEAN.name}, which the signal reads on this date, "
            "does not; materialise clean_bars again"
        )
    return (
        f"its bar ({_prices(legacy, 0)}) was rejected on the way to {CLEAN.name} by "
        f"{', '.join(broken)}"
    )


def _locked_out(market: Market, of_day: Bars, row: int, guard: Guard) -> str:
    """What the locked rules have against a legacy bar."""
    judged = locked_rules(of_day, market.hygiene, guard)
    names = ", ".join(rule.value for rule, mask in judged.broken.items() if mask[row])
    accepted = np.flatnonzero(judged.accepted[:row])
    last_good = guard.last_good
    if len(accepted):
        last = int(accepted[-1])
        last_good = LastGood(int(of_day.close[last]), of_day.contracts[of_day.contract[last]])
    held_against = ""
    if last_good is not None:
        held_against = (
            f", held against the last good close {points(last_good.close)} of "
            f"{last_good.contract or 'an unknown contract'}"
        )
    in_row, first = int(judged.rejected_in_row[row]), int(judged.locked_since[row])
    since_ns = guard.locked_since_ns if first < 0 else int(of_day.ts[first])
    lock_out = (
        "" if since_ns is None else f"; rejected bar {in_row} in a row since {iso_minute(since_ns)}"
    )
    return (
        f"its bar ({_prices(of_day, row)}) in {LEGACY.name} was kept from the signal by "
        f"{names}{held_against}{lock_out}"
    )


def _prices(bars: Bars, row: int) -> str:
    columns = ("open", "high", "low", "close")
    return " ".join(f"{name} {points(int(getattr(bars, name)[row]))}" for name in columns)


def _neighbours(
    connection: Connection, symbol: str, ts_ns: int, dates: Sequence[SelectedDate]
) -> str:
    """The stored bars nearest to a minute that has none."""
    day = date_of_ns(ts_ns)
    with_bars = [one for one in dates if one.bar_count]
    before = _first_found(
        connection, symbol, reversed([one for one in with_bars if one.date <= day]), ts_ns, -1
    )
    after = _first_found(
        connection, symbol, [one for one in with_bars if one.date >= day], ts_ns, 1
    )
    nearest = [iso_minute(minute) for minute in (before, after) if minute is not None]
    if not nearest:
        return f"every date of {symbol} is without bars"
    opens = "bar opens" if len(nearest) == 1 else "bars open"
    return f"the nearest stored {opens} at {' and '.join(nearest)}"


def _first_found(
    connection: Connection, symbol: str, dates: Iterable[SelectedDate], ts_ns: int, side: int
) -> int | None:
    """The bar next to a minute on one side of it: -1 before, 1 after."""
    for selected in dates:
        start = midnight_ns(selected.date)
        table = TABLE_OF_LAYER[selected.layer]
        ts = read_bars(connection, table, symbol, start, start + NS_PER_DAY).ts
        beyond = ts[side * ts > side * ts_ns]
        if len(beyond):
            return int(beyond[0] if side > 0 else beyond[-1])
    return None
