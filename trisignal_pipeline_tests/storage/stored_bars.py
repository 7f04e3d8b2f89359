"""Bars to store, by hand and by chance, and what a table holds, read by plain SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import psycopg
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import PRICE_UNIT, Bars
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, midnight_ns, utc
from trisignal_pipeline.market.deliveries import Delivered
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.schemas import legacy_bar
from trisignal_pipeline.screening import Screened, screen
from trisignal_pipeline.storage.audit import IngestFile, ingest_run
from trisignal_pipeline.storage.bars import LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock

NQ = "GLBX.MDP3:NQ"
DAY = date(2024, 6, 17)
TICK = PRICE_UNIT // 4


class Bar(NamedTuple):
    """One bar as it is delivered: `ts` its OPEN in ns, prices in units of 1e-9."""

    ts: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    contract: str


def bar(minute: int, close: int = 20_000 * PRICE_UNIT, day: date = DAY, **other: Any) -> Bar:
    """A whole bar that opens `minute` minutes after midnight of `day`."""
    return Bar(
        ts=midnight_ns(day) + minute * NS_PER_MINUTE,
        open=other.get("open", close),
        high=other.get("high", close + TICK),
        low=other.get("low", close - TICK),
        close=close,
        volume=other.get("volume", 7),
        contract=other.get("contract", "NQM4"),
    )


def columns(rows: Iterable[Bar]) -> Bars:
    """The bars of `rows`, as they come."""
    rows = list(rows)
    contracts = tuple(dict.fromkeys(row.contract for row in rows))
    return Bars(
        **{
            name: np.array([getattr(row, name) for row in rows], np.int64)
            for name in Bar._fields
            if name != "contract"
        },
        contract=np.array([contracts.index(row.contract) for row in rows], np.int32),
        contracts=contracts,
    )


def delivered(rows: Iterable[Bar], floor: int = 0) -> Screened:
    """The bars of `rows`, screened as legacy bars of a market whose prices lie above `floor`."""
    schema = legacy_bar(HygieneThresholds(price_floor=floor))
    return screen(schema, Delivered.of_one(columns(sorted(rows, key=lambda row: row.ts))))


def walk(dates: DateRange, seed: int, *, share: float = 0.02, contract: str = "NQM4") -> list[Bar]:
    """A random walk over some of the minutes of `dates`."""
    rng = np.random.default_rng(seed)
    ts = np.arange(dates.start_ns, dates.end_ns, NS_PER_MINUTE)
    ts = ts[rng.random(len(ts)) < share]
    close = 80_000 + np.cumsum(rng.integers(-8, 9, len(ts)))
    open_ = np.concatenate(([80_000], close[:-1]))
    high = np.maximum(open_, close) + rng.integers(0, 4, len(ts))
    low = np.minimum(open_, close) - rng.integers(0, 4, len(ts))
    volume = rng.integers(1, 99, len(ts))
    prices = (column * TICK for column in (open_, high, low, close))
    made = np.column_stack((ts, *prices, volume)).tolist()
    return [Bar._make((*row, contract)) for row in made]


def store(
    database: Database,
    rows: Iterable[Bar],
    dates: DateRange,
    *,
    symbol: str = NQ,
    table: BarsTable = LEGACY,
    batch_rows: int = 500,
    on_batch: Callable[[int], None] = lambda _bars: None,
) -> int:
    """Write `rows` as the assets do, under an audit row of its own, whose id is returned."""
    return store_delivery(
        database,
        delivered(rows),
        dates,
        symbol=symbol,
        table=table,
        batch_rows=batch_rows,
        on_batch=on_batch,
    )


def store_delivery(
    database: Database,
    delivery: Screened,
    dates: DateRange,
    *,
    symbol: str = NQ,
    table: BarsTable = LEGACY,
    files: Sequence[IngestFile] = (),
    batch_rows: int = 500,
    on_batch: Callable[[int], None] = lambda _bars: None,
) -> int:
    """Write a screened delivery as the assets do; the id of its audit row."""
    with (
        symbol_lock(database, symbol) as held,
        ingest_run(
            database,
            asset=f"{table.layer}_bars",
            symbol=symbol,
            dates=dates,
            source="legacy",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        write_range(
            held,
            run,
            table,
            dates,
            delivery,
            source="legacy",
            files=files,
            batch_rows=batch_rows,
            on_batch=on_batch,
        )
    return run.id


def by_hand(url: str, statement: str, *parameters: object) -> None:
    """Execute a statement as the owner of the tables, who may do what the product's roles may not.

    Several statements in one text take no parameters.
    """
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode(), parameters or None)


def table_rows(url: str, table: BarsTable, symbol: str = NQ, *extra: str) -> list[tuple[Any, ...]]:
    """(ts as stamped, open, high, low, close, volume, contract, *extra) by plain SQL, in order."""
    more = "".join(f", {name}" for name in extra)
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, open, high, low, close, volume, "
            f"contract{more} FROM {table.name} WHERE symbol = %s ORDER BY ts",
            (symbol,),
        ).fetchall()


def expected_rows(rows: Iterable[Bar], table: BarsTable) -> list[tuple[Any, ...]]:
    """What `table_rows` must say of a table that holds `rows`."""
    return [
        (
            table.stamp(row.ts),
            *(Decimal(price).scaleb(-9) for price in row[1:5]),
            row.volume,
            row.contract,
        )
        for row in sorted(rows)
    ]


def one_row(url: str, query: str, *parameters: object) -> tuple[Any, ...]:
    """The only row of a query."""
    [row] = all_rows(url, query, *parameters)
    return row


def all_rows(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with psycopg.connect(url) as connection:
        return connection.execute(query, parameters).fetchall()


def whole_bars(days: Sequence[date], minutes: Sequence[int]) -> st.SearchStrategy[list[Bar]]:
    """Bars on some of `minutes` of some of `days`, with values so few that they often agree."""
    return st.lists(
        st.builds(
            lambda day, minute, low, open_, close, volume, contract: bar(
                minute,
                close * PRICE_UNIT,
                day,
                open=open_ * PRICE_UNIT,
                low=low * PRICE_UNIT,
                high=12 * PRICE_UNIT,
                volume=volume,
                contract=contract,
            ),
            st.sampled_from(days),
            st.sampled_from(minutes),
            st.sampled_from((9, 10)),
            st.sampled_from((10, 11)),
            st.sampled_from((10, 12)),
            st.sampled_from((0, 5)),
            st.sampled_from(("NQM4", "NQU4")),
        ),
        unique_by=lambda row: row.ts,
        max_size=10,
    ).map(sorted)


def days_from(first: date, count: int) -> DateRange:
    """`count` dates from `first` on."""
    return DateRange(first, first + timedelta(days=count - 1))


def moment(minute: int, day: date = DAY) -> Any:
    """The instant `minute` minutes after midnight of `day`, as the database tells it."""
    return utc(midnight_ns(day) + minute * NS_PER_MINUTE)
