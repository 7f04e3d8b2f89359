"""A market that never was, with the manners of a real one.

Quarterly index futures as a vendor delivers them: several contract months and calendar spreads in
one stream, rows within a minute in no useful order, quiet hours with missing minutes, CME's short
sessions, a roll each quarter where trading moves to the next contract and the price steps. What it
looks like on disk is the business of `sample_files`.

The same seed gives the same market, on any machine: prices walk in whole ticks, made from uniform
random numbers by nothing but exact or correctly rounded arithmetic.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from trisignal_pipeline.errors import SymbolError
from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.contracts import MONTH_CODES
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    DateRange,
)
from trisignal_pipeline.market.sessions import Sessions, sessions
from trisignal_pipeline.sources.records import OHLCV_1M_KIND, RECORD, Records

Float64s = npt.NDArray[np.float64]
_Quarter = TypeVar("_Quarter", int, Int64s)

PROFILE = "cme_equity"
_CHICAGO = ZoneInfo("America/Chicago")
_MINUTES_PER_DAY = 1440
_SESSION_OPENS = 17 * 60  # minute of the day in Chicago
_MINUTES_PER_QUARTER = _MINUTES_PER_DAY * 365 // 4

_OUTRIGHTS = 4  # contract months that trade at once
_ID_CYCLE = 12  # quarters after which an instrument id is given to another contract
_SPREAD_IDS = 100

# Volume moves from the front contract to the next one between these times before expiry, so that
# on the Monday of the week of expiry the next one is ahead.
_ROLL_STARTS_NS = 13 * NS_PER_DAY // 2
_ROLL_TAKES_NS = 4 * NS_PER_DAY
_NEXT_SHARE = 0.005
_FAR_SHARES = (0.0003, 0.00002)


@dataclass(frozen=True, slots=True)
class SampleRoot:
    """What is particular to one root. Prices and ticks in int64 units of 1e-9.

    number         what its instrument ids start with
    tick, spread_tick   the step of an outright's price and of a spread's
    level, floor   where the index starts, and below which it never falls, in ticks
    swing          how far the index moves in a minute of the busiest hour, in ticks
    carry          what a contract costs more than the one a quarter nearer, in ticks
    volume         contracts a minute in the busiest hour
    """

    root: str
    number: int
    tick: int
    spread_tick: int
    level: int
    floor: int
    swing: int
    carry: int
    volume: int


SAMPLE_ROOTS = {
    root.root: root
    for root in (
        SampleRoot("NQ", 1, 250_000_000, 50_000_000, 78_000, 16_000, 36, 960, 1_500),
        SampleRoot("ES", 2, 250_000_000, 50_000_000, 21_800, 6_000, 8, 236, 4_000),
    )
}


def sample_root(root: str) -> SampleRoot:
    """The sample root of that name.

    Raises:
        SymbolError: the sample market doesn't trade it.
    """
    if root not in SAMPLE_ROOTS:
        raise SymbolError(
            f"the sample market has no root {root!r}; it has {', '.join(SAMPLE_ROOTS)}"
        )
    return SAMPLE_ROOTS[root]


def sample_records(root: SampleRoot, dates: DateRange, seed: int) -> Iterator[tuple[date, Records]]:
    """The root's bars on the UTC `dates`, a calendar month at a time: (its first date, records).

    In order of time, without order within a minute. A month's bars depend on the seed and on the
    month that `dates` start in, on nothing else.
    """
    level = root.level
    for month in _months(dates):
        minutes = _Minutes.of(month)
        rng = np.random.default_rng([seed, root.number, month.start.year, month.start.month])
        index = _walk(root, minutes, level, rng)
        if len(index):
            level = int(index[-1])
        records = _records(root, minutes, index, rng)
        inside = (records["ts"] >= dates.start_ns) & (records["ts"] < dates.end_ns)
        yield max(month.start, dates.start), records[inside]


def symbol_mapping(root: SampleRoot, dates: DateRange) -> dict[str, list[tuple[date, date, int]]]:
    """Raw symbol -> (first date, date after the last, instrument id), within `dates`.

    Raw symbols come round after ten years, as the exchange's do; ids already after three.
    """
    mapping: dict[str, list[tuple[date, date, int]]] = {}

    def listed(symbol: str, first: date, end: date, instrument_id: int) -> None:
        start, stop = max(first, dates.start), min(end, dates.end + timedelta(days=1))
        if start < stop:
            mapping.setdefault(symbol, []).append((start, stop, instrument_id))

    front = _quarter_of(dates.start)
    for quarter in range(front, _quarter_of(dates.end) + _OUTRIGHTS + 1):
        end = _expiry_date(quarter) + timedelta(days=1)
        name = _raw_symbol(root, quarter)
        outright_from = _expiry_date(quarter - _OUTRIGHTS)
        listed(name, outright_from, end, _instrument_id(root, quarter))
        far = f"{name}-{_raw_symbol(root, quarter + 1)}"
        # Only the spreads of the two nearest contracts trade.
        listed(far, _expiry_date(quarter - 2), end, _instrument_id(root, quarter) + _SPREAD_IDS)
    return mapping


@dataclass(frozen=True, slots=True, eq=False)
class _Minutes:
    """The minutes a market is open, in columns of one length.

    ts         int64, ns since the epoch (UTC), the minute's start
    activity   float64, 1.0 in the busiest minute of the day
    front      int64, the quarter of the nearest contract that has not expired
    to_expiry  int64, ns until that contract's last trade
    """

    ts: Int64s
    activity: Float64s
    front: Int64s
    to_expiry: Int64s

    @classmethod
    def of(cls, dates: DateRange) -> _Minutes:
        """The minutes that lie on the UTC `dates`."""
        # The evening that opens a session lies on the date before its trade date.
        around = sessions(PROFILE, dates.start, dates.end + timedelta(days=1))
        ts, since_open = _session_minutes(around)
        inside = (ts >= dates.start_ns) & (ts < dates.end_ns)
        ts, since_open = ts[inside], since_open[inside]
        first_quarter = _quarter_of(dates.start)
        expiries = np.array(
            [_expiry_ns(q) for q in range(first_quarter, _quarter_of(dates.end) + 2)], np.int64
        )
        nearest = np.searchsorted(expiries, ts, side="right")
        of_day = (_SESSION_OPENS + since_open) % _MINUTES_PER_DAY
        return cls(
            ts, _activity_by_minute()[of_day], first_quarter + nearest, expiries[nearest] - ts
        )


def _session_minutes(around: Sessions) -> tuple[Int64s, Int64s]:
    """Start of each minute of the sessions (ns), and how many minutes after the open it lies."""
    counts = (around.close_ns - around.open_ns) // NS_PER_MINUTE
    ends = np.cumsum(counts)
    since_open = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
    ts = np.repeat(around.open_ns, counts) + since_open * NS_PER_MINUTE
    paused = (ts >= np.repeat(around.pause_start_ns, counts)) & (
        ts < np.repeat(around.pause_end_ns, counts)
    )
    return ts[~paused], since_open[~paused]


def _walk(root: SampleRoot, minutes: _Minutes, level: int, rng: np.random.Generator) -> Int64s:
    """The index at the end of each minute, in ticks, starting from `level`."""
    count = len(minutes.ts)
    push = rng.random(count) + rng.random(count) + rng.random(count) - 1.5
    news = np.where(rng.random(count) < 0.0004, 5.0, 1.0)
    steps = np.rint(push * news * np.sqrt(minutes.activity) * (2 * root.swing)).astype(np.int64)
    return root.floor + np.abs(level - root.floor + np.cumsum(steps))


def _records(
    root: SampleRoot, minutes: _Minutes, index: Int64s, rng: np.random.Generator
) -> Records:
    count = len(index)
    opens = np.concatenate((index[:1], index[:-1]))
    next_share = np.clip(
        (_ROLL_STARTS_NS - minutes.to_expiry) / _ROLL_TAKES_NS, _NEXT_SHARE, 1 - _NEXT_SHARE
    )
    outright_shares = [1 - next_share, next_share, *(np.full(count, s) for s in _FAR_SHARES)]
    spread_shares = [0.0005 + 0.1 * next_share * (1 - next_share), np.full(count, 0.00005)]

    parts: list[Records] = []
    rows: list[Int64s] = []
    for months_out, share in enumerate(outright_shares):
        traded, volume = _trades(root, minutes, share, rng)
        left = minutes.to_expiry[traded] // NS_PER_MINUTE + months_out * _MINUTES_PER_QUARTER
        basis = root.carry * left // _MINUTES_PER_QUARTER
        part = _bars(opens[traded] + basis, index[traded] + basis, volume, rng)
        _price(part, root.tick)
        part["instrument_id"] = _instrument_id(root, minutes.front[traded] + months_out)
        parts.append(part)
        rows.append(traded)
    ticks = root.carry * root.tick // root.spread_tick
    for months_out, share in enumerate(spread_shares):
        traded, volume = _trades(root, minutes, share, rng)
        # Near less far, as metals and grains are quoted: below zero where carry costs money.
        near, far = (rng.integers(-ticks // 50, ticks // 50, len(traded)) - ticks for _ in "oc")
        part = _bars(near, far, volume, rng)
        _price(part, root.spread_tick)
        ids = _instrument_id(root, minutes.front[traded] + months_out)
        part["instrument_id"] = ids + _SPREAD_IDS
        parts.append(part)
        rows.append(traded)

    records, row = np.concatenate(parts), np.concatenate(rows)
    records["ts"] = minutes.ts[row]
    shuffled = row << 16 | rng.integers(0, 1 << 16, len(row))
    ordered: Records = records[np.argsort(shuffled, kind="stable")]
    return ordered


def _trades(
    root: SampleRoot, minutes: _Minutes, share: Float64s, rng: np.random.Generator
) -> tuple[Int64s, Int64s]:
    """The rows of `minutes` in which an instrument trades, and how many contracts."""
    expected = root.volume * minutes.activity * share
    traded = np.flatnonzero(rng.random(len(expected)) < expected / (expected + 0.4))
    luck = rng.random(len(traded))
    return traded, 1 + (expected[traded] * (0.3 + 2.1 * luck * luck)).astype(np.int64)


def _bars(open_: Int64s, close: Int64s, volume: Int64s, rng: np.random.Generator) -> Records:
    """Records with prices in ticks. A bar of one contract has one price."""
    part: Records = np.zeros(len(open_), RECORD)
    part["kind"] = OHLCV_1M_KIND
    part["publisher_id"] = 1
    single = volume == 1
    open_ = np.where(single, close, open_ + rng.integers(-1, 2, len(open_)))
    reach = np.where(single, 0, 2 + np.abs(close - open_))
    part["open"] = open_
    part["high"] = np.maximum(open_, close) + (rng.random(len(open_)) * reach).astype(np.int64)
    part["low"] = np.minimum(open_, close) - (rng.random(len(open_)) * reach).astype(np.int64)
    part["close"] = close
    part["volume"] = volume
    return part


def _price(part: Records, tick: int) -> None:
    for name in ("open", "high", "low", "close"):
        part[name] *= tick


@cache
def _activity_by_minute() -> Float64s:
    """By minute of the day in Chicago: busiest at the stock market's open and before its close."""
    corners = {0: 3, 120: 10, 480: 16, 509: 22, 510: 100, 570: 62, 690: 38, 840: 50, 899: 95}
    corners |= {900: 20, 960: 9, 1020: 8, 1080: 4, 1440: 3}
    percent = np.interp(np.arange(_MINUTES_PER_DAY), list(corners), list(corners.values()))
    return np.rint(percent * 10) / 1000


def _months(dates: DateRange) -> Iterator[DateRange]:
    """The whole calendar months that `dates` touch."""
    start = dates.start.replace(day=1)
    while start <= dates.end:
        end = start.replace(day=calendar.monthrange(start.year, start.month)[1])
        yield DateRange(start, end)
        start = end + timedelta(days=1)


def _quarter_of(day: date) -> int:
    """Quarters since year 0 of the contract that is nearest at the start of `day`."""
    quarter = day.year * 4 + (day.month - 1) // 3
    return quarter if day <= _expiry_date(quarter) else quarter + 1


@cache
def _expiry_date(quarter: int) -> date:
    """The third Friday of March, June, September or December."""
    first = date(quarter // 4, quarter % 4 * 3 + 3, 1)
    return first + timedelta(days=(calendar.FRIDAY - first.weekday()) % 7 + 14)


def _expiry_ns(quarter: int) -> int:
    """The end of trading: 08:30 in Chicago on the day of expiry."""
    day = _expiry_date(quarter)
    last_trade = datetime(day.year, day.month, day.day, 8, 30, tzinfo=_CHICAGO)
    return int(last_trade.timestamp()) * NS_PER_SECOND


def _raw_symbol(root: SampleRoot, quarter: int) -> str:
    return f"{root.root}{MONTH_CODES[quarter % 4 * 3 + 2]}{quarter // 4 % 10}"


def _instrument_id(root: SampleRoot, quarter: _Quarter) -> _Quarter:
    return root.number * 1_000 + quarter % _ID_CYCLE
