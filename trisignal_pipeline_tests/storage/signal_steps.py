"""Things that are done to a symbol's history and its signals, one at a time or in other processes.

Run as a program it takes some of them, chosen by a seed: URL SYMBOL SEED COUNT PART, where PART is
which half of the dates its bars may be of (0 or 1).
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from datetime import date
from typing import Any

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import CLEAN, LEGACY, BarsTable
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.signal_history import (
    bars_of,
    compute,
    one_pass,
    refresh,
    stored_signals,
    write,
)
from trisignal_pipeline_tests.storage.stored_bars import days_from

HISTORY = days_from(date(2023, 12, 20), 42)
DAYS = list(HISTORY)

THRESHOLDS = {
    "price_floor": "1000",
    "discontinuity_points": "150",
    "small_range_points": "5",
    "big_gap_points": "40",
    "flat_discontinuity_points": "20",
}
SETTINGS: list[dict[str, Any]] = [
    {"require_engulfing": True},
    {"require_engulfing": False},
    {"htf_aligned_only": True, "aligned_timeframes": ["5m", "1h"]},
    {"htf_aligned_only": False},
    {"higher_timeframe_anchor": "utc"},
    {"higher_timeframe_anchor": "session"},
    {"discontinuity_points": "60"},
    {"discontinuity_points": "150"},
    {"history_start": date(2023, 12, 27)},
    {"history_start": None},
]


@dataclass(frozen=True, slots=True)
class Write:
    """Bars of a range of dates; `version` tells how often they were corrected."""

    dates: DateRange
    table: BarsTable
    version: int
    batch_rows: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Signals of a range of dates."""

    dates: DateRange


@dataclass(frozen=True, slots=True)
class Refresh:
    """Everything that is in doubt."""


@dataclass(frozen=True, slots=True)
class Set:
    """Other rules."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judge:
    """A verdict on the stored bars of a date."""

    day: date
    table: BarsTable
    passed: bool


Step = Write | Compute | Refresh | Set | Judge


def take(database: Database, symbol: str, step: Step) -> None:
    """Do what `step` says."""
    match step:
        case Write(dates, table, version, batch_rows):
            rows = [row for day in dates for row in bars_of(day, 1, version)]
            write(database, rows, dates, table, symbol, batch_rows)
        case Compute(dates):
            compute(database, dates, symbol)
        case Refresh():
            refresh(database, symbol)
        case Set(values):
            with database.connect("test") as connection:
                registry.set_symbol(connection, symbol, values)
        case Judge(day, table, passed):
            with database.connect("test") as connection:
                connection.execute(
                    """
                    INSERT INTO data_quality_results AS known
                        (symbol, date, asset, check_name, severity, passed)
                    VALUES (%s, %s, %s, 'judged', 'ERROR', %s)
                    ON CONFLICT (symbol, date, asset, check_name)
                    DO UPDATE SET passed = excluded.passed
                    """,
                    (symbol, day, f"{table.layer}_bars", passed),
                )


def require_one_pass(database: Database, symbol: str) -> set[date]:
    """Every stored signal that is not said to be in doubt is what one pass gives; their dates."""
    with database.connect("test") as connection:
        bias, triangles, dates = stored_signals(connection, symbol)
        doubted = {
            row[0]
            for row in connection.execute(
                "SELECT date FROM signal_dates_in_doubt WHERE symbol = %s", (symbol,)
            )
        }
        trusted = set(dates) - doubted
        expected = one_pass(connection, symbol, trusted)
    assert {ts: row for ts, row in bias.items() if ts.date() not in doubted} == expected[0]
    found = {key: row for key, row in triangles.items() if key[0].date() not in doubted}
    assert found == expected[1]
    assert {day: row for day, row in dates.items() if day in trusted} == expected[2]
    return trusted


def selected_days(database: Database, symbol: str) -> set[date]:
    """The dates that have bars the signal may read."""
    with database.connect("test") as connection:
        found = connection.execute(
            "SELECT date FROM selected_bar_dates WHERE symbol = %s", (symbol,)
        )
        return {row[0] for row in found}


def chosen_steps(seed: int, count: int, part: int) -> list[Step]:
    """Some steps, those that write bars on dates of one half of the history alone."""
    choose = random.Random(seed)
    half = DAYS[part * 21 : part * 21 + 21]
    steps: list[Step] = []
    for _ in range(count):
        first, length = choose.randrange(21), choose.choice((1, 3, 9))
        kind = choose.randrange(6)
        if kind < 3:
            dates = DateRange(half[first], half[min(first + length, 21) - 1])
            table = choose.choice((CLEAN, LEGACY))
            steps.append(Write(dates, table, choose.randrange(4), choose.choice((30, 500))))
        elif kind == 3:
            start = choose.randrange(42)
            steps.append(Compute(DateRange(DAYS[start], DAYS[min(start + length, 42) - 1])))
        elif kind == 4:
            steps.append(Refresh())
        else:
            steps.append(Set(choose.choice(SETTINGS)))
    return steps


def main(url: str, symbol: str, seed: str, count: str, part: str) -> None:
    """Take the steps that the arguments name."""
    for step in chosen_steps(int(seed), int(count), int(part)):
        take(Database(url), symbol, step)


if __name__ == "__main__":
    main(*sys.argv[1:])
