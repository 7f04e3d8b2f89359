"""Verdicts: what a schema finds in the rows of each date, counted, with a few of them quoted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrorReason, SchemaErrors

from trisignal_pipeline.market.bars import Bools, Int64s
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    DateRange,
    day_number,
    from_day_number,
    iso_minute,
)
from trisignal_pipeline.market.hygiene import nearest_tick
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.schemas import PRICES, bar_on_its_ticks, broken_rows

MOST_FAILURE_CASES = 20
"""How many failing rows a verdict quotes. The counts are always whole."""


_STRUCTURAL = {
    SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME,
    SchemaErrorReason.COLUMN_NOT_IN_SCHEMA,
    SchemaErrorReason.WRONG_DATATYPE,
    SchemaErrorReason.SERIES_CONTAINS_NULLS,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a schema found in a frame: how many rows fail, by which check, and a few of them."""

    rows: int
    failed: int
    by_check: dict[str, int] = field(default_factory=dict)
    cases: tuple[dict[str, str], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every row is what the schema says."""
        return not self.by_check

    def along_with(self, other: Verdict) -> Verdict:
        """This verdict and another one, on other checks of the same rows."""
        return Verdict(
            self.rows,
            self.failed + other.failed,
            {**self.by_check, **other.by_check},
            (*self.cases, *other.cases)[:MOST_FAILURE_CASES],
        )


def judge(schema: pa.DataFrameSchema, frame: pd.DataFrame, dates: DateRange) -> dict[date, Verdict]:
    """Hold a frame against `schema` at once, and say what was found on each date.

    A column that is missing, superfluous, of another type or has gaps fails every row; anything
    else fails the rows it is true of.
    """
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        broken = {
            f"{error.reason_code.name}: {error.schema.name}": np.ones(len(frame), np.bool_)
            for error in errors.schema_errors
            if error.reason_code in _STRUCTURAL
        } or broken_rows(schema, frame)
    else:
        broken = {}
    return verdicts(frame, broken, dates)


def verdicts(
    frame: pd.DataFrame, broken: Mapping[str, Bools], dates: DateRange
) -> dict[date, Verdict]:
    """What `broken`, a mask over the rows of `frame` for each check, says of each date."""
    day = frame["ts"].to_numpy() // NS_PER_DAY - day_number(dates.start)
    failed = np.zeros(len(frame), np.bool_)
    for mask in broken.values():
        failed |= mask
    row_counts = np.bincount(day, minlength=len(dates)).tolist()
    found = {}
    for number, date_ in enumerate(dates):
        rows = np.flatnonzero(failed & (day == number)) if failed.any() else np.empty(0, np.int64)
        found[date_] = Verdict(
            row_counts[number],
            len(rows),
            {name: int(mask[rows].sum()) for name, mask in broken.items() if mask[rows].any()},
            tuple(_cases(frame, broken, rows[:MOST_FAILURE_CASES])),
        )
    return found


def minute_verdicts(
    judged: Int64s,
    broken: Mapping[str, Int64s],
    dates: DateRange,
    quote: Callable[[int], Mapping[str, str]] = lambda _ts: {},
) -> dict[date, Verdict]:
    """What is wrong with single minutes, date by date.

    Args:
        judged: int64 nanoseconds, the minutes that were judged.
        broken: for each rule the minutes that break it, ascending: judged ones, or such as should
            be there.
        dates: hold all of these minutes.
        quote: what there is to say of a minute that breaks a rule.
    """
    first = day_number(dates.start)
    rows = np.bincount(judged // NS_PER_DAY - first, minlength=len(dates)).tolist()
    found = {day: Verdict(count, 0) for day, count in zip(dates, rows, strict=True)}
    if not broken:
        return found
    failing = np.unique(np.concatenate(list(broken.values())))
    for number in np.unique(failing // NS_PER_DAY).tolist():
        day = from_day_number(number)
        of_day = _on_day(failing, number)
        by_rule = {name: _on_day(ts, number) for name, ts in broken.items()}
        found[day] = Verdict(
            found[day].rows,
            len(of_day),
            {name: len(ts) for name, ts in by_rule.items() if len(ts)},
            tuple(
                {
                    "ts": iso_minute(ts),
                    **quote(ts),
                    "broken": ", ".join(name for name, minutes in by_rule.items() if ts in minutes),
                }
                for ts in of_day[:MOST_FAILURE_CASES].tolist()
            ),
        )
    return found


def _on_day(ts: Int64s, number: int) -> Int64s:
    """Those of ascending `ts` (nanoseconds) that lie `number` days after 1970-01-01."""
    first, after = np.searchsorted(ts, [number * NS_PER_DAY, (number + 1) * NS_PER_DAY])
    return ts[first:after]


def off_tick_verdicts(
    frame: pd.DataFrame, tick: int | None, dates: DateRange
) -> dict[date, Verdict]:
    """Which bars of each date are off the tick (int64 units of 1e-9), and the ticks nearest."""
    found = verdicts(frame, broken_rows(bar_on_its_ticks(tick), frame), dates)
    if tick is None:
        return found
    return {
        day: replace(verdict, cases=tuple(_with_ticks(case, tick) for case in verdict.cases))
        for day, verdict in found.items()
    }


def _with_ticks(case: Mapping[str, str], tick: int) -> dict[str, str]:
    prices = {name: int(Decimal(case[name]).scaleb(9)) for name in PRICES}
    nearest = (
        f"{name} {points(nearest_tick(price, tick))}"
        for name, price in prices.items()
        if price % tick
    )
    return {**case, "nearest_ticks": ", ".join(nearest)}


def _cases(
    frame: pd.DataFrame, broken: Mapping[str, Bools], rows: Int64s
) -> Iterator[dict[str, str]]:
    for row in rows.tolist():
        shown = {name: _shown(name, frame[name].iloc[row]) for name in frame.columns}
        shown["broken"] = ", ".join(name for name, mask in broken.items() if mask[row])
        yield shown


def _shown(name: str, value: object) -> str:
    if name == "ts":
        return iso_minute(int(value))  # type: ignore[call-overload]  # ts is a column of int64
    if name in PRICES and isinstance(value, (int, np.integer)):
        return points(int(value))
    return str(value)
