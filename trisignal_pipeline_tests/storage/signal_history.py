"""A symbol's stored history and its signals: made in any order, and what one pass over it gives.

The one pass is plain: SQL that reads what is there, hygiene bar by bar, and the slow engine of
`signal.plain_signal`. It shares with the product no code that replays, selects, saves or vouches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import (
    NS_PER_MINUTE,
    DateRange,
    date_of_ns,
    from_day_number,
    midnight_ns,
    utc,
)
from trisignal_pipeline.market.hygiene import HygieneThresholds, Rule
from trisignal_pipeline.market.sessions import sessions, utc_days
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.doubts import Doubt, doubts
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.signal_computation import ComputedPart, compute_signals
from trisignal_pipeline_tests.signal.generated_bars import session_rows
from trisignal_pipeline_tests.signal.plain_signal import plain_all, plain_triangles
from trisignal_pipeline_tests.storage.stored_bars import NQ, TICK, Bar, store

SOURCE_TABLE = {"legacy": LEGACY.name, "clean": CLEAN.name}
ROLL = date(2024, 1, 16)
"""From this date on generated bars are of another contract, at another price."""


def bars_of(day: date, seed: int, version: int = 0) -> list[Bar]:
    """A day's bars: some minutes of a random walk, with a bad one now and then; none on a Saturday.

    A later version of the same day is the same day corrected: a bar changed, one gone, one more.
    """
    if day.weekday() == 5:
        return []
    rng = np.random.default_rng([seed, day.toordinal()])
    minutes = np.unique(np.sort(rng.integers(0, 1440, 22)))
    rolled = day >= ROLL
    level = int(80_000 + 400 * np.sin(day.toordinal() / 9)) + 600 * rolled
    steps = rng.integers(-60, 61, len(minutes))
    close = level + np.cumsum(steps)
    # Now and then the market jumps further than the rules for legacy bars believe, and stays there.
    if rng.random() < 0.2:
        close[rng.integers(len(close)) :] += int(rng.choice([-1, 1])) * 900
    opened = close - steps
    high = np.maximum(opened, close) + rng.integers(0, 30, len(minutes))
    low = np.minimum(opened, close) - rng.integers(0, 30, len(minutes))
    rows = [
        Bar(
            midnight_ns(day) + int(minute) * NS_PER_MINUTE,
            *(int(price) * TICK for price in prices),
            int(rng.integers(1, 99)),
            "NQH4" if rolled else "NQZ3",
        )
        for minute, *prices in zip(minutes, opened, high, low, close, strict=True)
    ]
    return _corrected(rows, seed, version) if version else rows


def _corrected(rows: list[Bar], seed: int, version: int) -> list[Bar]:
    rng = np.random.default_rng([seed, rows[0].ts // NS_PER_MINUTE, version])
    changed = int(rng.integers(len(rows)))
    old = rows[changed]
    if version % 3 == 0:
        # What the bias does not look at: often it leaves no trace.
        new = old._replace(open=old.close, volume=old.volume + 1)
    else:
        shift = int(rng.integers(-200, 201)) * TICK
        new = old._replace(**{name: getattr(old, name) + shift for name in old._fields[1:5]})
    rows = [*rows[:changed], new, *rows[changed + 1 :]]
    if version % 2:
        del rows[int(rng.integers(len(rows)))]
    return rows


def write(
    database: Database,
    rows: Iterable[Bar],
    dates: DateRange,
    table: BarsTable,
    symbol: str = NQ,
    batch_rows: int = 500,
) -> None:
    """Write `rows` as all there is of `dates`, as the assets do."""
    store(database, rows, dates, symbol=symbol, table=table, batch_rows=batch_rows)


def compute(
    database: Database,
    dates: Iterable[date],
    symbol: str = NQ,
    *,
    only_in_doubt: bool = False,
    on_span: Callable[[DateRange], None] = lambda _span: None,
) -> list[ComputedPart]:
    """Compute the signals of `dates`, as the asset does."""
    with (
        symbol_lock(database, symbol),
        database.connect("signals", autocommit=True) as connection,
    ):
        market = registry.market(connection, symbol)
        return list(
            compute_signals(connection, market, dates, only_in_doubt=only_in_doubt, on_span=on_span)
        )


def refresh(database: Database, symbol: str = NQ) -> list[ComputedPart]:
    """Compute again what is in doubt, as the run does that the sensor requests."""
    parts: list[ComputedPart] = []
    before = None
    while (doubt := doubt_of(database, symbol)) is not None:
        assert doubt != before, "a refresh changed nothing of what is in doubt"
        before = doubt
        parts += compute(database, DateRange(doubt.first, doubt.last), symbol, only_in_doubt=True)
    return parts


def doubt_of(database: Database, symbol: str = NQ) -> Doubt | None:
    """What is in doubt, if anything is."""
    with database.connect("test") as connection:
        return next((doubt for doubt in doubts(connection) if doubt.symbol == symbol), None)


Rows = dict[Any, tuple[Any, ...]]
Signals = tuple[Rows, Rows, Rows]
"""Bias rows by minute, triangles by minute and direction, and what is said of each date."""


def stored_signals(connection: Connection, symbol: str = NQ) -> Signals:
    """All there is of a symbol's signals, but for ids and times of writing."""
    bias = connection.execute(
        "SELECT ts, bias_1m, bias_5m, bias_15m, bias_1h, bias_4h, bias_1d, source_table, "
        "logic_version FROM bias_series_1m_v1 WHERE symbol = %s",
        (symbol,),
    ).fetchall()
    triangles = connection.execute(
        "SELECT ts, direction, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, bias_d1, htf_bullish, "
        "htf_bearish, engulfing, sweep_engulfing, require_engulfing, require_sweep_engulfing, "
        "htf_aligned_only, source_table, contract, logic_version FROM triangle_events_v1 "
        "WHERE symbol = %s",
        (symbol,),
    ).fetchall()
    dates = connection.execute(
        "SELECT date, source_table, bar_count, triangle_count, history_fingerprint, rules, "
        "logic_version, locked_out, longest_lock_out, locked_out_since, locked_out_by "
        "FROM signal_dates WHERE symbol = %s AND NOT withdrawn",
        (symbol,),
    ).fetchall()
    return (
        {row[0]: row[1:] for row in bias},
        {row[:2]: row[2:] for row in triangles},
        {row[0]: row[1:] for row in dates},
    )


@dataclass(slots=True)
class _Judge:
    """The hygiene rules for legacy bars, one bar at a time, and what they have just rejected."""

    limits: HygieneThresholds
    last_good: tuple[int, str] | None = None
    rejected: int = 0
    since: int = 0
    rule: str = ""

    def accepts(self, bar: Bar) -> bool:
        broken = self._broken(bar)
        if broken is None:
            self.believe(bar)
            return True
        self.rejected += 1
        if self.rejected == 1:
            self.since, self.rule = bar.ts, broken
        return False

    def believe(self, bar: Bar) -> None:
        self.last_good, self.rejected = (bar.close, bar.contract), 0

    def _broken(self, bar: Bar) -> str | None:
        limits = self.limits
        if limits.price_floor is not None and min(bar[1:5]) < limits.price_floor:
            return Rule.PRICE_FLOOR.value
        if self.last_good is None or self.last_good[1] != bar.contract:
            return None
        gap = abs(bar.close - self.last_good[0])
        if limits.discontinuity is not None and gap > limits.discontinuity:
            return Rule.DISCONTINUITY.value
        small = limits.small_range is not None and bar.high - bar.low <= limits.small_range
        if small and limits.big_gap is not None and gap >= limits.big_gap:
            return Rule.SMALL_RANGE_BIG_GAP.value
        flat = bar.open == bar.high == bar.low == bar.close
        if flat and limits.flat_discontinuity is not None and gap > limits.flat_discontinuity:
            return Rule.FLAT_DISCONTINUITY.value
        return None


def one_pass(connection: Connection, symbol: str, stored: Iterable[date]) -> Signals:
    """What `stored_signals` must be where signals of the dates `stored` are stored."""
    market = registry.market(connection, symbol)
    layers, rows = _layers(connection, symbol, market), _rows(connection, symbol)
    judge = _Judge(market.hygiene)
    bars: list[Bar] = []
    said: dict[date, tuple[Any, ...]] = {}
    history = 0
    for day, (layer, fingerprint) in layers.items():
        delivered = rows.get((layer, day), [])
        history += fingerprint
        out, longest, since, rule = 0, 0, None, None
        for bar in delivered:
            if layer == "clean":
                judge.believe(bar)
            elif not judge.accepts(bar):
                out += 1
                if judge.rejected > longest:
                    longest, since, rule = judge.rejected, utc(judge.since), judge.rule
                continue
            bars.append(bar)
        said[day] = (
            SOURCE_TABLE[layer], len(delivered), 0, history, market.rules, LOGIC_VERSION,
            out, longest, since, rule,
        )  # fmt: skip
    wanted = set(stored) & set(layers)
    bias, triangles = _plain(market, bars, {day: layers[day][0] for day in layers})
    bias = {ts: row for ts, row in bias.items() if ts.date() in wanted}
    triangles = {key: row for key, row in triangles.items() if key[0].date() in wanted}
    counts = {day: sum(ts.date() == day for ts, _ in triangles) for day in wanted}
    return bias, triangles, {day: (*said[day][:2], counts[day], *said[day][3:]) for day in wanted}


def _plain(market: Market, bars: Sequence[Bar], layers: dict[date, str]) -> tuple[Rows, Rows]:
    """Bias rows and triangles of a whole history."""
    if not bars:
        return {}, {}
    first, last = date_of_ns(bars[0].ts), from_day_number(bars[-1].ts // 86_400_000_000_000 + 4)
    around = (
        utc_days(first, last)
        if market.anchor == Anchor.UTC
        else sessions(market.session_profile, first, last)
    )
    rows = [bar[:5] for bar in bars]
    biases = plain_all(rows, session_rows(around))
    filters = market.filters
    settings = (
        filters.require_engulfing, filters.require_sweep_engulfing, filters.htf_aligned_only
    )  # fmt: skip
    names = ("5m", "15m", "1h", "4h", "1d")
    by_ts = {bar.ts: (bar, six) for bar, six in zip(bars, biases, strict=True)}
    triangles = {}
    for ts, direction, engulfs, sweeps in plain_triangles(
        rows,
        biases,
        require_engulfing=filters.require_engulfing,
        require_sweep_engulfing=filters.require_sweep_engulfing,
        htf_aligned_only=filters.htf_aligned_only,
        aligned_timeframes=filters.aligned_timeframes,
    ):
        bar, six = by_ts[ts]
        higher = dict(zip(names, six[1:], strict=True))
        agree = {higher[name] for name in filters.aligned_timeframes}
        triangles[utc(ts), direction] = (
            *six, agree <= {"Bullish"}, agree <= {"Bearish"}, engulfs, sweeps, *settings,
            SOURCE_TABLE[layers[date_of_ns(ts)]], bar.contract, LOGIC_VERSION,
        )  # fmt: skip
    return {
        utc(ts): (*six, SOURCE_TABLE[layers[date_of_ns(ts)]], LOGIC_VERSION)
        for ts, (_, six) in by_ts.items()
    }, triangles


def _layers(connection: Connection, symbol: str, market: Market) -> dict[date, tuple[str, int]]:
    """The layer and the fingerprint of each date that the signal may read, in order."""
    broken = set(
        connection.execute(
            "SELECT date, asset FROM data_quality_results "
            "WHERE symbol = %s AND NOT passed AND severity = 'ERROR'",
            (symbol,),
        )
    )
    found: dict[date, tuple[str, int]] = {}
    for day, layer, fingerprint in connection.execute(
        "SELECT date, layer, fingerprint FROM bar_dates "
        "WHERE symbol = %s AND state = 'complete' ORDER BY date, layer DESC",
        (symbol,),
    ):
        if market.history_start is not None and day < market.history_start:
            continue
        if (day, "legacy_bars") not in broken and (day, f"{layer}_bars") not in broken:
            found[day] = layer, fingerprint
    return found


def _rows(connection: Connection, symbol: str) -> dict[tuple[str, date], list[Bar]]:
    """All stored bars, by layer and date."""
    found: dict[tuple[str, date], list[Bar]] = {}
    for layer, table in SOURCE_TABLE.items():
        stamp = LEGACY.stamp_ns if layer == "legacy" else 0
        for ts, *prices, volume, contract in connection.execute(
            "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, open, high, low, close, volume, "
            f"contract FROM {table} WHERE symbol = %s ORDER BY ts".encode(),
            (symbol,),
        ):
            units = (int(price * PRICE_UNIT) for price in prices)
            bar = Bar(ts - stamp, *units, volume, contract)
            found.setdefault((layer, date_of_ns(bar.ts)), []).append(bar)
    return found
