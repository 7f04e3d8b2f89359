"""Holding a chart export against the database: bars, biases and triangles, bar by bar.

Chart and database are compared over the export's own span. A bar agrees if both sides have it and
everything the export says of it is what the database says; prices may differ by the one offset of
their contract. What can't be compared is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    DateRange,
    contiguous_ranges,
    date_of_ns,
    from_day_number,
)
from trisignal_pipeline.market.sessions import Sessions
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.query.bars import (
    StoredMinutes,
    period_ends,
    read_minutes,
    whole_bars,
)
from trisignal_pipeline.query.chart_export import PRICES, VOLUME, ChartExport
from trisignal_pipeline.query.compared import (
    ComparedColumn,
    compared_bias,
    compared_prices,
    compared_triangles,
    compared_volume,
    triangle_column,
)
from trisignal_pipeline.query.price_offsets import (
    ContractStretches,
    PriceOffset,
    contract_stretches,
    price_offsets,
)
from trisignal_pipeline.query.seen_bias import bias_on_bars, stored_bias
from trisignal_pipeline.signal.rules import BEARISH, BULLISH, DIRECTION_NAMES, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import HigherBars
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline.storage.signals import read_triangles

# A bar whose last minute did not trade is finished by a later one, after a weekend at the latest;
# a bare trade date stands for a bar that opens on the evening before, or before a holiday.
_AROUND = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs. `line` is that of the export, `ts` the bar's start (ns, UTC)."""

    ts: int
    line: int
    column: str
    chart: str
    database: str


@dataclass(frozen=True, slots=True)
class ColumnAgreement:
    """How many bars of a column were compared, and how many agree."""

    column: str
    compared: int
    agreeing: int


@dataclass(frozen=True, slots=True, eq=False)
class Parity:
    """What a comparison found.

    span                           start of the export's first and last bar, ns since the epoch
    bars                           how many bars either side has
    agreeing                       how many of them agree in everything compared
    differing_values, differences  how many values differ, and the first of them
    only_chart, only_database      int64, starts of the bars that one side has alone
    not_compared                   what was not compared, and why
    """

    symbol: str
    timeframe: str
    span: tuple[int, int]
    bars: int
    agreeing: int
    columns: tuple[ColumnAgreement, ...]
    offsets: tuple[PriceOffset, ...]
    differing_values: int
    differences: tuple[Difference, ...]
    only_chart: Int64s
    only_database: Int64s
    not_compared: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def percent(self) -> float:
        """The agreement rate, cut to four decimals: 100 only where everything agrees."""
        return self.agreeing * 1_000_000 // self.bars / 10_000

    def reaches(self, percent: float) -> bool:
        """Whether the agreement rate is `percent` or more."""
        return self.agreeing * 100 >= percent * self.bars


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """Both sides, and the rows of the bars that both have."""

    export: ChartExport
    minutes: StoredMinutes
    stored: HigherBars
    starts: Int64s
    on_chart: Int64s
    on_stored: Int64s

    def stored_prices(self, of: HigherBars) -> Int64s:
        return np.array([getattr(of, name)[self.on_stored] for name in PRICES], np.int64)


def compare(connection: Connection, market: Market, export: ChartExport, shown: int) -> Parity:
    """Hold `export` against what is stored of `market`, quoting the first `shown` differences.

    Raises:
        RangeError: the export has no bars.
    """
    if not len(export):
        raise RangeError(f"{market.symbol}: no bar of the export lies on the dates asked for")
    sides = _sides(connection, market, export)
    offsets, priced = _priced(sides)
    compared = [*priced, *_signals(connection, market, sides)]
    agrees = np.ones(len(sides.on_chart), np.bool_)
    for column in compared:
        agrees &= column.agrees | ~column.held
    only_chart = np.delete(sides.starts, sides.on_chart)
    only_database = np.delete(sides.stored.ts, sides.on_stored)
    return Parity(
        str(market.symbol),
        export.timeframe,
        (int(sides.starts[0]), int(sides.starts[-1])),
        len(sides.on_chart) + len(only_chart) + len(only_database),
        int(agrees.sum()),
        tuple(
            ColumnAgreement(c.name, int(c.held.sum()), int((c.held & c.agrees).sum()))
            for c in compared
        ),
        tuple(offsets),
        sum(len(column.differing()) for column in compared),
        tuple(_first_differences(sides, compared, shown)),
        only_chart,
        only_database,
        tuple(_not_compared(export, compared)),
        tuple(_warnings(connection, market, sides)),
    )


def _sides(connection: Connection, market: Market, export: ChartExport) -> _Sides:
    first, last = date_of_ns(int(export.ts[0])), date_of_ns(int(export.ts[-1]))
    around = DateRange(first - _AROUND, last + _AROUND)
    minutes = read_minutes(connection, market, export.timeframe, around)
    starts = _session_opens(export.ts, minutes.sessions) if export.trade_dates else export.ts
    whole = whole_bars(minutes, export.timeframe, int(starts[0]), int(starts[-1]) + 1)
    _, on_chart, on_stored = np.intersect1d(
        starts, whole.bars.ts, assume_unique=True, return_indices=True
    )
    return _Sides(export, minutes, whole.bars, starts, on_chart, on_stored)


def _session_opens(midnights: Int64s, of: Sessions) -> Int64s:
    """Where the daily bars named by these dates open; the midnight of one that names none."""
    days, first = np.unique(of.daily_bar, return_index=True)
    place = np.minimum(np.searchsorted(days, midnights // NS_PER_DAY), len(days) - 1)
    named = days[place] == midnights // NS_PER_DAY
    return np.where(named, of.daily_open_ns[first[place]], midnights)


def _priced(sides: _Sides) -> tuple[list[PriceOffset], list[ComparedColumn]]:
    """Prices, shifted by the offsets found, and volume."""
    chart = sides.export.prices[:, sides.on_chart]
    raw = sides.stored_prices(sides.stored)
    stretches = contract_stretches(sides.minutes.bars)
    found = price_offsets(chart, raw, _contracts(sides, stretches), stretches.names)
    by_code = np.zeros(len(stretches.names), np.int64)
    for code, offset in found.items():
        by_code[code] = offset.offset
    # A bar across a roll holds prices of two contracts: minutes are shifted, then folded again.
    shift = by_code[stretches.code]
    minutes = sides.minutes
    shifted = replace(
        minutes.bars, **{name: getattr(minutes.bars, name) + shift for name in PRICES}
    )
    span = (int(sides.starts[0]), int(sides.starts[-1]) + 1)
    moved = StoredMinutes(shifted, minutes.sessions, minutes.missing)
    adjusted = sides.stored_prices(whole_bars(moved, sides.export.timeframe, *span).bars)
    compared = [
        compared_prices(name, chart[place], raw[place], adjusted[place])
        for place, name in enumerate(PRICES)
    ]
    if sides.export.volume is not None:
        stored = sides.stored.volume[sides.on_stored]
        compared.append(compared_volume(VOLUME, sides.export.volume[sides.on_chart], stored))
    return list(found.values()), compared


def _contracts(sides: _Sides, stretches: ContractStretches) -> Int64s:
    starts = sides.stored.ts[sides.on_stored]
    ends = period_ends(starts, sides.export.timeframe, sides.minutes.sessions)
    ts = sides.minutes.bars.ts
    return stretches.of_bars(np.searchsorted(ts, starts), np.searchsorted(ts, ends))


def _signals(connection: Connection, market: Market, sides: _Sides) -> Iterator[ComparedColumn]:
    export = sides.export
    visible = TIMEFRAMES[TIMEFRAMES.index(export.timeframe) :]
    wanted = [timeframe for timeframe in visible if timeframe in export.bias]
    if wanted:
        codes = stored_bias(connection, str(market.symbol), sides.minutes)
    for timeframe in wanted:
        stored, held = bias_on_bars(codes, sides.minutes, sides.stored, export.timeframe, timeframe)
        yield compared_bias(
            timeframe,
            export.bias[timeframe][sides.on_chart],
            stored[sides.on_stored],
            held[sides.on_stored],
        )
    if export.timeframe == TIMEFRAMES[0] and export.triangles:
        dates = DateRange(date_of_ns(int(sides.starts[0])), date_of_ns(int(sides.starts[-1])))
        events = read_triangles(connection, str(market.symbol), dates)
        for direction, on_chart in export.triangles.items():
            of_direction = (events["direction"] == DIRECTION_NAMES[direction]).to_numpy(np.bool_)
            stored_ts = events["ts"].to_numpy(np.int64)[of_direction]
            yield compared_triangles(
                direction,
                on_chart[sides.on_chart],
                np.isin(sides.starts[sides.on_chart], stored_ts),
            )


def _first_differences(
    sides: _Sides, compared: Sequence[ComparedColumn], shown: int
) -> Iterator[Difference]:
    found = [
        (row, place)
        for place, column in enumerate(compared)
        for row in column.differing()[:shown].tolist()
    ]
    for row, place in sorted(found)[:shown]:
        at, column = sides.on_chart[row], compared[place]
        yield Difference(
            int(sides.starts[at]),
            int(sides.export.line[at]),
            column.name,
            column.chart(row),
            column.database(row),
        )


def _not_compared(export: ChartExport, compared: Sequence[ComparedColumn]) -> Iterator[str]:
    absent = "the export has no such column"
    own = TIMEFRAMES.index(export.timeframe)
    if export.volume is None:
        yield f"{VOLUME}: {absent}"
    for timeframe in TIMEFRAMES[:own]:
        if timeframe in export.bias:
            yield (
                f"Bias {timeframe}: bars of {export.timeframe} don't show it, only Bias "
                f"{export.timeframe} and those above"
            )
    for timeframe in TIMEFRAMES[own:]:
        if timeframe not in export.bias:
            yield f"Bias {timeframe}: {absent}"
    on_minutes = export.timeframe == TIMEFRAMES[0]
    for direction in (BULLISH, BEARISH):
        if on_minutes and direction not in export.triangles:
            yield f"{triangle_column(direction)}: {absent}"
        elif not on_minutes and direction in export.triangles:
            yield f"{triangle_column(direction)}: triangles lie on minutes; export a 1m chart"
    for column in compared:
        unseen = int((~column.held).sum())
        if unseen:
            yield f"{column.name} of {unseen} bars: no stored minute shows what they ended with"
    if export.ignored:
        yield f"columns of other names: {', '.join(export.ignored)}"


def _warnings(connection: Connection, market: Market, sides: _Sides) -> Iterator[str]:
    symbol = market.symbol
    dates = DateRange(date_of_ns(int(sides.starts[0])), date_of_ns(int(sides.starts[-1])))
    calendar = calendar_warning(market, dates)
    if calendar:
        yield calendar
    if market.anchor == Anchor.UTC:
        yield (
            f"{symbol}: the registry counts higher bars from midnight UTC, TradingView from the "
            "session's open; they are other bars"
        )
    missing = [day for day in map(from_day_number, sides.minutes.missing.tolist()) if day in dates]
    for part in contiguous_ranges(missing):
        yield (
            f"{symbol}: there are no finished clean bars of {part}; make them with: trisignal "
            f"backfill {symbol} --start {part.start} --end {part.end}"
        )
    if sides.export.bias or sides.export.triangles:
        doubtful = [day for day in dates_in_doubt(connection, str(symbol)) if day in dates]
        for part in contiguous_ranges(doubtful):
            yield (
                f"{symbol}: the stored signals of {part} are in doubt, bars or rules have changed; "
                f"compute them again with: trisignal refresh {symbol}"
            )
