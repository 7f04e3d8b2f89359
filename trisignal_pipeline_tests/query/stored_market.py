"""A generated market in a database of a test's own: clean bars, and the signals made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from trisignal_pipeline.market.bars import PRICE_UNIT, Bars
from trisignal_pipeline.market.dates import DateRange, day_number
from trisignal_pipeline.market.deliveries import Delivered
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.market.sessions import Sessions, sessions
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.schemas import clean_bar
from trisignal_pipeline.screening import screen
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.replay import replay
from trisignal_pipeline.storage.selection import selected_dates
from trisignal_pipeline.storage.signals import replace_signals
from trisignal_pipeline_tests.signal.generated_bars import session_minutes, walk

NQ = "GLBX.MDP3:NQ"
CHICAGO = ZoneInfo("America/Chicago")

HOLIDAY_WEEK = DateRange(date(2024, 11, 26), date(2024, 12, 3))
"""Thanksgiving, whose minutes belong to Friday's daily bar, and the half day after it."""

ROLL = date(2024, 11, 29)
ROLL_STEP = 237 * PRICE_UNIT + PRICE_UNIT // 4


@dataclass(frozen=True, slots=True)
class StoredMarket:
    """A database, the bars in it, and the sessions they lie in."""

    database: Database
    bars: Bars
    sessions: Sessions


def chicago_ns(text: str) -> int:
    """`2024-11-28 11:59` on a clock in Chicago, in nanoseconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * 10**9


def utc_ns(text: str) -> int:
    """`2024-11-28 17:59` UTC, in nanoseconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def generated(dates: DateRange, *, share: float = 1.0, seed: int = 1) -> Bars:
    """A walk over a share of the minutes that the market is open on the UTC `dates`."""
    # The evening that opens a session lies on the date before its trade date.
    of = sessions("cme_equity", dates.start, dates.end + timedelta(days=1))
    minutes = session_minutes(of, share, seed)
    inside = (minutes >= dates.start_ns) & (minutes < dates.end_ns)
    return walk(minutes[inside], seed)


def with_roll(bars: Bars, on: date = ROLL) -> Bars:
    """The same bars, of NQH5 and a step higher from the UTC date `on`."""
    later = bars.day_numbers() >= day_number(on)
    step = later * ROLL_STEP
    return Bars(
        bars.ts,
        bars.open + step,
        bars.high + step,
        bars.low + step,
        bars.close + step,
        bars.volume,
        later.astype(np.int32),
        ("NQZ4", "NQH5"),
    )


def store_clean(database: Database, bars: Bars, dates: DateRange, symbol: str = NQ) -> None:
    """Write clean bars and call `dates` finished, as the asset does."""
    with (
        symbol_lock(database, symbol) as held,
        ingest_run(
            database,
            asset="clean_bars",
            symbol=symbol,
            dates=dates,
            source="legacy",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        delivery = screen(clean_bar(HygieneThresholds(price_floor=0)), Delivered.of_one(bars))
        write_range(held, run, CLEAN, dates, delivery, source="legacy", batch_rows=200_000)


def store_signals(database: Database, dates: DateRange, symbol: str = NQ) -> None:
    """Compute and write the biases and triangles of the stored bars, as the asset does."""
    with database.connect("test", autocommit=True) as connection:
        known = selected_dates(connection, symbol)
        for part in replay(connection, market(database, symbol), known, dates):
            rows, described = part.of(part.window)
            with connection.transaction():
                replace_signals(connection, symbol, part.window, rows, described)


def market(database: Database, symbol: str = NQ) -> Market:
    """The registry's row for a symbol."""
    with database.connect("test") as connection:
        return registry.market(connection, symbol)


def anchor_to_utc(database: Database) -> None:
    """Count NQ's higher bars from midnight UTC."""
    with database.connect("test") as connection:
        registry.set_symbol(connection, NQ, {"higher_timeframe_anchor": "utc"})
