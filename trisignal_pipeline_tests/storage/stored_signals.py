"""Signals computed and stored as the assets do it, and what the tables say of them."""

from __future__ import annotations

from datetime import date
from typing import Any

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, BarsTable
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.replay import replay
from trisignal_pipeline.storage.selection import selected_dates
from trisignal_pipeline.storage.signal_keeping import keep
from trisignal_pipeline_tests.storage.stored_bars import NQ, Bar, all_rows, store

BIAS = "ts, bias_1m, bias_5m, bias_15m, bias_1h, bias_4h, bias_1d, source_table, logic_version"
TRIANGLE = (
    "ts, direction, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1, htf_bullish, "
    "htf_bearish, engulfing, sweep_engulfing, require_engulfing, require_sweep_engulfing, "
    "htf_aligned_only, contract, source_table, logic_version"
)


def store_days(
    database: Database,
    rows: list[Bar],
    dates: DateRange,
    table: BarsTable = CLEAN,
    symbol: str = NQ,
) -> None:
    """Make the bars of `rows` that open on `dates` all there is of them."""
    inside = [row for row in rows if dates.start_ns <= row.ts < dates.end_ns]
    store(database, inside, dates, table=table, symbol=symbol, batch_rows=100_000)


def compute(connection: Connection, dates: DateRange, symbol: str = NQ) -> None:
    """Compute and keep the signals of `dates`."""
    market = registry.market(connection, symbol)
    known = selected_dates(connection, symbol)
    for part in replay(connection, market, known, dates):
        keep(connection, part, dates, known)


def stored_bias(url: str, *extra: str, symbol: str = NQ) -> list[tuple[Any, ...]]:
    """The bias rows, by plain SQL."""
    columns = ", ".join((BIAS, *extra))
    return all_rows(
        url, f"SELECT {columns} FROM bias_series_1m_v1 WHERE symbol = %s ORDER BY ts", symbol
    )


def stored_triangles(url: str, *extra: str, symbol: str = NQ) -> list[tuple[Any, ...]]:
    """The triangles, by plain SQL."""
    columns = ", ".join((TRIANGLE, *extra))
    return all_rows(
        url,
        f"SELECT {columns} FROM triangle_events_v1 WHERE symbol = %s ORDER BY ts, direction",
        symbol,
    )


def of_dates(rows: list[tuple[Any, ...]], dates: DateRange) -> list[tuple[Any, ...]]:
    """Those of `rows` whose first column lies on one of `dates`."""
    return [row for row in rows if row[0].date() in dates]


def described(url: str, symbol: str = NQ) -> dict[date, tuple[Any, ...]]:
    """What is said of each date that has a signal, but for times."""
    rows = all_rows(
        url,
        "SELECT date, source_table, bar_count, triangle_count, history_fingerprint, rules, "
        "logic_version FROM signal_dates WHERE symbol = %s AND NOT withdrawn ORDER BY date",
        symbol,
    )
    return {row[0]: row[1:] for row in rows}
