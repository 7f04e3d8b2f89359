"""Keeping what a replay makes: rows, states, and the dates that a recomputation need not reach.

Everything of one part is written in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from trisignal_pipeline.errors import SchemaVersionError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage.checkpoints import SavedState, save, saved_on, thin_out
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.replay import ReplayedPart
from trisignal_pipeline.storage.selection import SelectedDate
from trisignal_pipeline.storage.signals import replace_signals


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping a part did: bars whose signal was written, and later dates found to be right."""

    bars: int = 0
    vouched_for: int = 0


def keep(
    connection: Connection, part: ReplayedPart, wanted: DateRange, dates: Sequence[SelectedDate]
) -> Kept:
    """Replace the signals of the dates that are both in `part` and in `wanted`, and save the state.

    Where a state was saved before and is the same now, the signals of later dates that were
    computed from it are right although an earlier bar changed: they are vouched for, and need no
    recomputation.
    """
    market, day = part.market, part.after.date
    symbol = str(market.symbol)
    selected = None if day is None else part.selected.get(day)
    bars = 0
    with connection.transaction():
        if part.window.overlaps(wanted):
            both = DateRange(max(part.window.start, wanted.start), min(part.window.end, wanted.end))
            rows, described = part.of(both)
            replace_signals(connection, symbol, both, rows, described)
            bars = len(rows.bias)
        if selected is None:
            return Kept(bars)
        before = _saved_before(connection, symbol, selected.date)
        save(connection, market, selected, part.after)
        thin_out(connection, symbol, dates)
        if before is None or before.history == selected.history:
            return Kept(bars)
        # A state under other rules says nothing of signals under these, even where the two agree.
        if before.rules != market.rules or before.standpoint != part.after:
            return Kept(bars)
        return Kept(bars, _vouch_for_later(connection, market, before, selected))


def _saved_before(connection: Connection, symbol: str, day: date) -> SavedState | None:
    try:
        return saved_on(connection, symbol, day)
    except SchemaVersionError:
        return None


def _vouch_for_later(
    connection: Connection, market: Market, before: SavedState, now: SelectedDate
) -> int:
    """Say of the signals and states computed from `before` that they hold for the history of `now`.

    Histories add up, so what was computed from the old history and the same later bars differs from
    the history there is now by the same amount on every later date.
    """
    parameters = {
        "symbol": str(market.symbol),
        "date": now.date,
        "shift": now.history - before.history,
        "rules": market.rules,
        "logic": LOGIC_VERSION,
    }
    connection.execute(
        """
        UPDATE signal_checkpoints c SET history_fingerprint = b.history_fingerprint
        FROM selected_bar_dates b
        WHERE c.symbol = %(symbol)s AND b.symbol = c.symbol AND b.date = c.date
          AND c.date > %(date)s AND c.rules = %(rules)s AND c.logic_version = %(logic)s
          AND c.history_fingerprint + %(shift)s = b.history_fingerprint
        """,
        parameters,
    )
    vouched = connection.execute(
        """
        UPDATE signal_dates s
        SET history_fingerprint = b.history_fingerprint, completed_at = clock_timestamp()
        FROM selected_bar_dates b
        WHERE s.symbol = %(symbol)s AND b.symbol = s.symbol AND b.date = s.date
          AND s.date > %(date)s AND s.rules = %(rules)s AND s.logic_version = %(logic)s
          AND NOT s.withdrawn
          AND s.history_fingerprint + %(shift)s = b.history_fingerprint
        """,
        parameters,
    )
    return vouched.rowcount
