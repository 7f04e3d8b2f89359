"""A chart's export made by lists and loops from minutes alone: what TradingView would write.

It shares no code with the product. Bars and biases come from `plain_signal`; what a bar of a higher
timeframe shows of the timeframes above is folded from bars of that chart, as a chart does, and not
looked up on minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from trisignal_pipeline_tests.signal.plain_signal import (
    MINUTE,
    PlainBar,
    PlainBias,
    PlainSession,
    merged,
    period,
    plain_all,
    plain_biases,
    plain_higher,
    plain_triangles,
)

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")
PRICES = ("open", "high", "low", "close")
CODES = {"Bullish": "1", "Neutral": "0", "Bearish": "-1"}

Row = dict[str, str]


def plain_export(
    minutes: Sequence[PlainBar], timeframe: str, sessions: Sequence[PlainSession]
) -> list[Row]:
    """The rows of an export, one for each bar, all of it from the first minute on."""
    if timeframe == "1m":
        bars = list(minutes)
        seen = plain_all(bars, sessions)
    else:
        bars = plain_higher(minutes, timeframe, sessions)[1]
        seen = _seen_on_chart(bars, timeframe, sessions)
    shown = TIMEFRAMES[TIMEFRAMES.index(timeframe) :]
    rows = [
        {"time": str(bar[0] // 10**9)}
        | {name: price_text(value) for name, value in zip(PRICES, bar[1:], strict=True)}
        | {f"Bias {name}": CODES[bias] for name, bias in zip(shown, biases, strict=True)}
        for bar, biases in zip(bars, seen, strict=True)
    ]
    if timeframe == "1m":
        events = {(ts, direction) for ts, direction, *_ in plain_triangles(bars, seen)}
        for bar, row in zip(bars, rows, strict=True):
            row["Bull Triangle"] = "1" if (bar[0], "BULL") in events else "0"
            row["Bear Triangle"] = "1" if (bar[0], "BEAR") in events else ""
    return rows


def _seen_on_chart(
    bars: Sequence[PlainBar], timeframe: str, sessions: Sequence[PlainSession]
) -> list[tuple[str, ...]]:
    columns = [plain_biases(bars)]
    for above in TIMEFRAMES[TIMEFRAMES.index(timeframe) + 1 :]:
        series, column = PlainBias(), []
        inside: list[PlainBar] = []
        current: tuple[int, int] | None = None
        for bar in bars:
            its_own = period(bar[0], timeframe, sessions)
            its_period = period(bar[0], above, sessions)
            assert its_own is not None
            assert its_period is not None
            if current is not None and current != its_period:
                series.add(merged(current[0], inside))
                inside.clear()
            current = its_period
            inside.append(bar)
            if its_own[1] == its_period[1]:
                series.add(merged(current[0], inside))
                inside.clear()
                current = None
            column.append(series.bias)
        columns.append(column)
    return list(zip(*columns, strict=True))


def price_text(price: int) -> str:
    """A price in units of 1e-9 as charts write it, here with two decimals."""
    assert price % 10_000_000 == 0
    return f"{price // 10**9}.{price % 10**9 // 10_000_000:02d}"


def iso_time(row: Row, offset: str = "Z") -> str:
    """The row's time in ISO 8601, UTC."""
    moment = datetime.fromtimestamp(int(row["time"]), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + offset


def write_export(path: Path, rows: Sequence[Row]) -> Path:
    """The rows as a CSV file; a column that a row lacks is empty there."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names)]
    lines += [",".join(row.get(name, "") for name in names) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def minute_of(row: Row) -> int:
    """When the row's bar starts, in nanoseconds since the epoch."""
    start = int(row["time"]) * 10**9
    assert start % MINUTE == 0
    return start
