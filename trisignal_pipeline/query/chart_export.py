"""A chart as TradingView exports it: a CSV file of bars, and of what indicators plot on them.

    time,open,high,low,close,Volume,Bias 1m,…,Bias 1d,Bull Triangle,Bear Triangle

- `time` is the start of a bar: ISO 8601 with an offset, or Unix seconds. A daily export may write
  bare dates; those are trade dates.
- A bias column is called `Bias` and a timeframe: 1m, 5m, 15m, 1h, 4h, 1d. 1 is Bullish, -1 Bearish
  and 0 Neutral; the names do as well, and so does an empty cell or NaN for Neutral.
- A triangle is there where its cell is neither empty nor NaN, 0 or false.

Case and spaces around names don't matter. Other columns are named in `ignored`. What the bars are
held against is the business of `parity`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TextIO, TypeVar

import numpy as np

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.market.bars import PRICE_UNIT, Bools, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND, midnight_ns
from trisignal_pipeline.market.prices import units
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.rules import BEARISH, BULLISH, NEUTRAL, PERIOD_NS, TIMEFRAMES

PRICES = ("open", "high", "low", "close")
VOLUME = "volume"
TRIANGLES = {"bull triangle": BULLISH, "bear triangle": BEARISH}

_TIME = "time"
_BIASES = {f"bias {timeframe}": timeframe for timeframe in TIMEFRAMES}
_KNOWN = (_TIME, *PRICES, VOLUME, *_BIASES, *TRIANGLES)

_NOTHING = ("", "nan", "na")
_BIAS_CODES = {"bullish": BULLISH, "bearish": BEARISH, "neutral": NEUTRAL}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LATEST_SECOND = 2**33  # the year 2242; Unix milliseconds lie beyond

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, eq=False)
class ChartExport:
    """The bars of an export, in columns of one length.

    timeframe  one of `TIMEFRAMES`, found from the spacing of the bars
    ts         int64, start of each bar, nanoseconds since the epoch (UTC); with `trade_dates` the
               midnight of the date that names a daily bar
    prices     int64 [4, n], open, high, low, close in units of 1e-9
    volume     int64, or None where the export has none
    bias       codes of `rules`, int8, for each timeframe that has a column
    triangles  for each direction (code of `rules`) that has a column: on which bars there is one
    line       int64, line of the file
    ignored    names of the columns that are none of these
    """

    timeframe: str
    ts: Int64s
    trade_dates: bool
    prices: Int64s
    volume: Int64s | None
    bias: dict[str, Int8s]
    triangles: dict[int, Bools]
    line: Int64s
    ignored: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ts)

    def between(self, start_ns: int, end_ns: int) -> ChartExport:
        """The bars that start in [start_ns, end_ns), nanoseconds since the epoch."""
        first, after = np.searchsorted(self.ts, [start_ns, end_ns])
        rows = slice(int(first), int(after))
        return ChartExport(
            self.timeframe,
            self.ts[rows],
            self.trade_dates,
            self.prices[:, rows],
            None if self.volume is None else self.volume[rows],
            {timeframe: codes[rows] for timeframe, codes in self.bias.items()},
            {direction: there[rows] for direction, there in self.triangles.items()},
            self.line[rows],
            self.ignored,
        )


def read_chart_export(path: Path) -> ChartExport:
    """Read a chart export.

    Raises:
        RefusedFileError: it can't be read, lacks a column, holds a cell that is not what its column
            must be (the message names line and column), is out of order, or its bars have the
            spacing of no timeframe.
    """
    columns = _Columns.of(path)
    times = columns.parsed(_TIME, _instant)
    dated = [isinstance(value, date) for value in times]
    if any(dated) and not all(dated):
        row = dated.index(not dated[0])
        raise columns.refusal(row, _TIME, "is written another way than the times before it")
    ts = np.array([midnight_ns(v) if isinstance(v, date) else v for v in times], np.int64)
    columns.require_ascending(ts)
    prices = np.array([columns.parsed(name, units) for name in PRICES], np.int64)
    volume = np.array(columns.parsed(VOLUME, _volume), np.int64)
    bias = {
        timeframe: np.array(columns.parsed(name, _bias_code), np.int8)
        for name, timeframe in _BIASES.items()
        if name in columns.cells
    }
    triangles = {
        direction: np.array(columns.parsed(name, _is_there), np.bool_)
        for name, direction in TRIANGLES.items()
        if name in columns.cells
    }
    return ChartExport(
        _timeframe(path, ts),
        ts,
        dated[0],
        prices,
        volume if VOLUME in columns.cells else None,
        bias,
        triangles,
        np.array(columns.lines, np.int64),
        columns.ignored,
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """The cells of the known columns as texts, and the line each row stands on."""

    path: Path
    titles: dict[str, str]
    cells: dict[str, list[str]]
    lines: list[int]
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> _Columns:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                return cls._read(path, file)
        except OSError as error:
            raise RefusedFileError(f"{path}: can't be read: {error.strerror}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise RefusedFileError(f"{path}: is not a CSV file of text: {error}") from None

    @classmethod
    def _read(cls, path: Path, file: TextIO) -> _Columns:
        reader = csv.reader(file, strict=True)
        header = [title.strip() for title in next(reader, [])]
        places: dict[str, int] = {}
        for place, title in enumerate(header):
            name = " ".join(title.lower().split())
            if name in places:
                raise RefusedFileError(
                    f"{path}: line 1: two columns are called {title!r}; export the chart with one "
                    "indicator of that name"
                )
            if name in _KNOWN:
                places[name] = place
        absent = [name for name in (_TIME, *PRICES) if name not in places]
        if absent:
            raise RefusedFileError(
                f"{path}: line 1: there is no column {', '.join(absent)}; a chart export has time, "
                "open, high, low and close"
            )
        rows, lines = [], []
        for row in reader:
            if not any(row):
                continue
            if len(row) != len(header):
                raise RefusedFileError(
                    f"{path}: line {reader.line_num}: {len(row)} cells under {len(header)} columns"
                )
            rows.append(row)
            lines.append(reader.line_num)
        if not rows:
            raise RefusedFileError(f"{path}: holds no bars")
        cells = {name: [row[place].strip() for row in rows] for name, place in places.items()}
        known = set(places.values())
        ignored = tuple(title for place, title in enumerate(header) if place not in known)
        titles = {name: header[place] for name, place in places.items()}
        return cls(path, titles, cells, lines, ignored)

    def parsed(self, name: str, parse: Callable[[str], Value]) -> list[Value]:
        """The values of a column; an absent one has none."""
        values = []
        for row, cell in enumerate(self.cells.get(name, ())):
            try:
                values.append(parse(cell))
            except ValueError as error:
                raise self.refusal(row, name, str(error)) from None
        return values

    def require_ascending(self, ts: Int64s) -> None:
        late = np.flatnonzero(np.diff(ts) <= 0)
        if len(late):
            row = int(late[0]) + 1
            before = self.cells[_TIME][row - 1]
            raise self.refusal(row, _TIME, f"{self.cells[_TIME][row]} does not come after {before}")

    def refusal(self, row: int, name: str, reason: str) -> RefusedFileError:
        """The error that names line and column of a cell."""
        return RefusedFileError(
            f"{self.path}: line {self.lines[row]}, column {self.titles[name]}: {reason}"
        )


def _timeframe(path: Path, ts: Int64s) -> str:
    if len(ts) < 2:
        raise RefusedFileError(
            f"{path}: holds one bar; it takes two to tell the timeframe, export more of the chart"
        )
    # Missing bars only widen the spacing, so the narrowest one is the timeframe's.
    spacing = int(np.diff(ts).min())
    for timeframe, period_ns in ((TIMEFRAMES[0], NS_PER_MINUTE), *PERIOD_NS.items()):
        if spacing == period_ns:
            return timeframe
    # Sessions open 23 to 25 hours apart where the clocks change.
    if abs(spacing - NS_PER_DAY) <= NS_PER_DAY // 24:
        return TIMEFRAMES[-1]
    minutes = spacing // NS_PER_MINUTE
    raise RefusedFileError(
        f"{path}: the bars lie {minutes} minutes apart or more, which is the spacing of no "
        f"timeframe; export a chart of {', '.join(TIMEFRAMES)}"
    )


def _instant(text: str) -> int | date:
    """Nanoseconds since the epoch, or the date where there is nothing more."""
    if text.isdecimal():
        seconds = int(text)
        if seconds >= _LATEST_SECOND:
            raise ValueError(f"{text} is too large for Unix seconds")
        ns = seconds * NS_PER_SECOND
    elif _DATE.fullmatch(text):
        return date.fromisoformat(text)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither ISO 8601 nor Unix seconds") from None
        if moment.tzinfo is None:
            raise ValueError(f"{text!r} has no offset from UTC")
        ns = round(moment.timestamp() * 1_000_000) * 1_000
    if ns % NS_PER_MINUTE:
        raise ValueError(f"{text} is not the start of a minute")
    return ns


def _volume(text: str) -> int:
    try:
        contracts, rest = divmod(units(text), PRICE_UNIT)
    except ValueError:
        contracts, rest = -1, 0
    if contracts < 0 or rest:
        raise ValueError(f"{text!r} is not a number of contracts")
    return contracts


def _bias_code(text: str) -> int:
    word = text.lower()
    if word in _NOTHING:
        return NEUTRAL
    if word in _BIAS_CODES:
        return _BIAS_CODES[word]
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if number not in (BULLISH, NEUTRAL, BEARISH):
        raise ValueError(f"{text!r} is not a bias; it is 1, 0, -1, Bullish, Neutral or Bearish")
    return int(number)


def _is_there(text: str) -> bool:
    if text.lower() in (*_NOTHING, "false"):
        return False
    try:
        return float(text) != 0
    except ValueError:
        return True
