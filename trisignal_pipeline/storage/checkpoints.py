"""Saved states of a symbol's signal: where a replay can go on instead of starting over.

A state is used only if it was made from exactly the bars, the rules and the settings there are now.
Nothing has to be deleted when bars change: a state that no longer matches is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from trisignal_pipeline.errors import SchemaVersionError
from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.market.hygiene import Guard, LastGood, Rule
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.signal.checkpoint import LAYOUT, from_bytes, to_bytes
from trisignal_pipeline.signal.replay import EngineState, start
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage.connection import Connection, Row, rows
from trisignal_pipeline.storage.selection import SelectedDate

DAILY_STATES = 10
"""On how many of the newest dates a state is kept every day; before them one a month is."""


@dataclass(frozen=True, slots=True)
class Standpoint:
    """Where a replay stands after the last bar of `date`; `date` is None before the first bar."""

    date: date | None
    engine: EngineState
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True, slots=True)
class SavedState:
    """A stored state, and what it was made from."""

    date: date
    history: int
    rules: str
    standpoint: Standpoint


def beginning(market: Market) -> Standpoint:
    """Where a replay of the market's whole history starts."""
    return Standpoint(None, start(market.anchor, market.session_profile))


def nearest(
    connection: Connection, market: Market, dates: Sequence[SelectedDate], before: date
) -> Standpoint:
    """The newest usable state of a date before `before`; the beginning, if there is none.

    `dates` are the selected dates of the symbol, in order, with their histories as they are now.
    """
    symbol = str(market.symbol)
    histories = {selected.date: selected.history for selected in dates}
    candidates = rows(
        connection,
        """
        SELECT date, history_fingerprint FROM signal_checkpoints
        WHERE symbol = %(symbol)s AND date < %(before)s AND rules = %(rules)s
          AND logic_version = %(logic)s AND layout = %(layout)s
        ORDER BY date DESC
        """,
        symbol=symbol,
        before=before,
        rules=market.rules,
        logic=LOGIC_VERSION,
        layout=LAYOUT,
    )
    for candidate in candidates:
        if histories.get(candidate["date"]) != int(candidate["history_fingerprint"]):
            continue
        try:
            found = saved_on(connection, symbol, candidate["date"])
        except SchemaVersionError:
            continue
        if found is not None:
            return found.standpoint
    return beginning(market)


def saved_on(connection: Connection, symbol: str, day: date) -> SavedState | None:
    """The state stored for `day`, whatever it was made from.

    Raises:
        SchemaVersionError: it was laid out by another version, or is damaged.
    """
    found = rows(
        connection,
        """
        SELECT *, (extract(epoch FROM locked_since) * 1000000000)::bigint AS locked_since_ns
        FROM signal_checkpoints WHERE symbol = %s AND date = %s
        """,
        symbol,
        day,
    )
    if not found:
        return None
    row = found[0]
    engine = from_bytes(bytes(row["state"]))
    return SavedState(
        day, int(row["history_fingerprint"]), row["rules"], Standpoint(day, engine, _guard(row))
    )


def save(connection: Connection, market: Market, selected: SelectedDate, point: Standpoint) -> None:
    """Store where the replay stands after the last bar of `selected`.

    A row that says all of this already is left alone; a damaged one is made good.
    """
    guard = point.guard
    connection.execute(
        """
        INSERT INTO signal_checkpoints AS known (symbol, date, history_fingerprint, rules,
            logic_version, layout, state, last_good_close, last_good_contract, locked_for,
            locked_since, locked_by)
        VALUES (%(symbol)s, %(date)s, %(history)s, %(rules)s, %(logic)s, %(layout)s,
            %(state)s, %(close)s, %(contract)s, %(locked_for)s, %(locked_since)s, %(locked_by)s)
        ON CONFLICT (symbol, date) DO UPDATE SET
            history_fingerprint = excluded.history_fingerprint, rules = excluded.rules,
            logic_version = excluded.logic_version, layout = excluded.layout,
            state = excluded.state, last_good_close = excluded.last_good_close,
            last_good_contract = excluded.last_good_contract, locked_for = excluded.locked_for,
            locked_since = excluded.locked_since, locked_by = excluded.locked_by,
            created_at = now()
        WHERE (known.history_fingerprint, known.rules, known.logic_version, known.layout,
               known.state, known.last_good_close, known.last_good_contract, known.locked_for,
               known.locked_since, known.locked_by)
              IS DISTINCT FROM
              (excluded.history_fingerprint, excluded.rules, excluded.logic_version,
               excluded.layout, excluded.state, excluded.last_good_close,
               excluded.last_good_contract, excluded.locked_for, excluded.locked_since,
               excluded.locked_by)
        """,
        {
            "symbol": str(market.symbol),
            "date": selected.date,
            "history": selected.history,
            "rules": market.rules,
            "logic": LOGIC_VERSION,
            "layout": LAYOUT,
            "state": to_bytes(point.engine),
            "close": guard.last_good.close if guard.last_good else None,
            "contract": guard.last_good.contract if guard.last_good else None,
            "locked_for": guard.locked_for,
            "locked_since": None if guard.locked_since_ns is None else utc(guard.locked_since_ns),
            "locked_by": None if guard.locked_by is None else guard.locked_by.value,
        },
    )


def thin_out(connection: Connection, symbol: str, dates: Sequence[SelectedDate]) -> None:
    """Drop states between the newest of each month that lie before the newest dates."""
    if len(dates) > DAILY_STATES:
        connection.execute(
            """
            DELETE FROM signal_checkpoints c WHERE symbol = %s AND date < %s AND EXISTS (
                SELECT FROM signal_checkpoints later
                WHERE later.symbol = c.symbol AND later.date > c.date
                  AND date_trunc('month', later.date) = date_trunc('month', c.date))
            """,
            (symbol, dates[-DAILY_STATES].date),
        )


def _guard(row: Row) -> Guard:
    last_good = None
    if row["last_good_close"] is not None:
        last_good = LastGood(row["last_good_close"], row["last_good_contract"])
    try:
        locked_by = None if row["locked_by"] is None else Rule(row["locked_by"])
    except ValueError:
        raise SchemaVersionError(
            f"the state of {row['symbol']} on {row['date']} names the hygiene rule "
            f"{row['locked_by']}, which this version doesn't have; discard it and replay from the "
            "first bar"
        ) from None
    return Guard(last_good, row["locked_for"], row["locked_since_ns"], locked_by)
