"""What the signal of a date rests on, and what of it is in doubt.

A signal depends on every bar before it. So a date in the past that is half written, of the wrong
contract, or older than what it was made from, is a doubt of all dates from there on. It is told
here even where the signal itself was computed from what there is, and is current in that sense.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from psycopg import sql

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.stale_dates import STALE


class UpstreamKind(StrEnum):
    """Why a date is in doubt."""

    SIGNAL_IN_DOUBT = "SIGNAL_IN_DOUBT"
    UNFINISHED = "UNFINISHED"
    ANOTHER_LEAD_CONTRACT = "ANOTHER_LEAD_CONTRACT"
    OLDER_LEGACY_VERSION = "OLDER_LEGACY_VERSION"


@dataclass(frozen=True, slots=True)
class UpstreamDoubt:
    """A date in doubt, why, and the command that mends it."""

    day: date
    kind: UpstreamKind
    reason: str
    mended_by: str

    @property
    def of_history(self) -> bool:
        """Whether all later dates rest on what is in doubt; else it is the date's own signal."""
        return self.kind is not UpstreamKind.SIGNAL_IN_DOUBT


def upstream_doubts(connection: Connection, symbol: str, dates: DateRange) -> list[UpstreamDoubt]:
    """What is in doubt of the history up to the end of `dates`, and of their own signals.

    In order of the dates. Dates before the registry's history start don't matter, and neither do
    legacy bars where clean ones of the API stand. Dates that a check found broken are left out of
    the signal, so nothing rests on them.
    """
    found = connection.execute(
        _DOUBTS,
        {
            "symbol": symbol,
            "start": dates.start,
            "end": dates.end,
            "logic": LOGIC_VERSION,
        },
    )
    return [_doubt(symbol, *row) for row in found]


_DOUBTS = sql.SQL("""
    WITH history AS MATERIALIZED (
        SELECT d.* FROM bar_dates d
        LEFT JOIN symbol_registry r ON r.internal_symbol = d.symbol
        WHERE d.symbol = %(symbol)s AND d.date <= %(end)s
          AND (r.history_start IS NULL OR d.date >= r.history_start)
          AND NOT (d.layer = 'legacy' AND EXISTS (
              SELECT FROM bar_dates c
              WHERE c.symbol = d.symbol AND c.date = d.date AND c.layer = 'clean'
                AND c.state = 'complete' AND c.source = 'databento_api'))
    )
    SELECT date, 'UNFINISHED', layer || ' bars' AS what, source FROM history
    WHERE state = 'writing'
    UNION ALL
    SELECT h.date, 'ANOTHER_LEAD_CONTRACT', l.lead_contract, l.stored_contract
    FROM history h
    JOIN lead_contract_doubts l ON l.symbol = h.symbol AND l.date = h.date
    WHERE h.layer = 'legacy'
    UNION ALL
    SELECT h.date, 'OLDER_LEGACY_VERSION', NULL, NULL
    FROM history h
    JOIN ({stale}) AS stale ON stale.symbol = h.symbol AND stale.date = h.date
    WHERE h.layer = 'clean'
    UNION ALL
    SELECT date, 'SIGNAL_IN_DOUBT', reason, NULL FROM signal_dates_in_doubt
    WHERE symbol = %(symbol)s AND date BETWEEN %(start)s AND %(end)s
    UNION ALL
    SELECT date, 'SIGNAL_IN_DOUBT', 'it was computed by another version of the rules', NULL
    FROM signal_dates
    WHERE symbol = %(symbol)s AND date BETWEEN %(start)s AND %(end)s AND logic_version <> %(logic)s
    ORDER BY 1, 2
""").format(stale=STALE)


def _doubt(symbol: str, day: date, kind: str, what: str | None, other: str | None) -> UpstreamDoubt:
    command = "reingest" if other == "databento_api" else "backfill"
    again = f"trisignal {command} {symbol} --start {day} --end {day}"
    refresh = f"trisignal refresh {symbol}"
    match UpstreamKind(kind):
        case UpstreamKind.UNFINISHED as known:
            return UpstreamDoubt(day, known, f"the writing of its {what} is not finished", again)
        case UpstreamKind.ANOTHER_LEAD_CONTRACT as known:
            reason = f"its bars are of {other}, but by the files {what} leads"
            return UpstreamDoubt(day, known, reason, refresh)
        case UpstreamKind.OLDER_LEGACY_VERSION as known:
            reason = "its clean bars were made from an older version of its legacy bars"
            return UpstreamDoubt(day, known, reason, refresh)
        case known:
            return UpstreamDoubt(day, known, f"its stored signal: {what}", refresh)
