"""A market small enough to be computed in a blink: a bar every five minutes, a file a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, midnight_ns
from trisignal_pipeline_tests.sources.dbn_encoder import RecordArray, encode, records, write

NQ, ES, YM = "GLBX.MDP3:NQ", "GLBX.MDP3:ES", "GLBX.MDP3:YM"

MONDAY, TUESDAY, WEDNESDAY = date(2024, 6, 24), date(2024, 6, 25), date(2024, 6, 26)
SATURDAY = date(2024, 6, 29)

TICK = PRICE_UNIT // 4

# From 21:00 to 22:00 UTC the market pauses, in summer.
MINUTES = [minute for minute in range(0, 24 * 60, 5) if minute // 60 != 21]
BARS = len(MINUTES)
FIRST_MINUTE, LAST_MINUTE = "00:00:00", "23:55:00"

IDS = {"NQ": 1, "ES": 2, "YM": 3}


def bars(day: date, root: str = "NQ", *, seed: int = 1) -> RecordArray:
    """The records of `root` on `day`: a random walk in ticks near 20,000 points for NQ, else 5,000.

    A day's bars depend on nothing but the arguments.
    """
    rng = np.random.default_rng([seed, IDS[root], day.toordinal()])
    level = 80_000 if root == "NQ" else 20_000
    close = level + np.cumsum(rng.integers(-20, 21, BARS))
    open_ = np.concatenate(([level], close[:-1]))
    return records(
        MINUTES,
        IDS[root],
        ts_event=midnight_ns(day) + np.array(MINUTES) * NS_PER_MINUTE,
        open=open_ * TICK,
        high=(np.maximum(open_, close) + rng.integers(0, 8, BARS)) * TICK,
        low=(np.minimum(open_, close) - rng.integers(0, 8, BARS)) * TICK,
        close=close * TICK,
        volume=rng.integers(1, 500, BARS),
    )


def file_of(folder: Path, day: date, root: str = "NQ") -> Path:
    """Where the file of `day` lies."""
    return folder / f"{root.lower()}-{day:%Y%m%d}.ohlcv-1m.dbn.zst"


def write_day(
    folder: Path,
    day: date,
    root: str = "NQ",
    delivered: RecordArray | None = None,
    month: str = "U4",
) -> Path:
    """Write the file of one day, with `delivered` in place of its own bars."""
    folder.mkdir(parents=True, exist_ok=True)
    contract = f"{root}{month}"
    start = midnight_ns(day)
    content = encode(
        bars(day, root) if delivered is None else delivered,
        mapping={contract: [(day, date.fromordinal(day.toordinal() + 1), str(IDS[root]))]},
        symbols=(contract,),
        start=start,
        end=start + NS_PER_DAY,
    )
    return write(file_of(folder, day, root), content)


def write_days(folder: Path, days: Iterable[date], roots: Sequence[str] = ("NQ",)) -> list[Path]:
    """Write the files of `days` and `roots`."""
    return [write_day(folder, day, root) for day in days for root in roots]


def changed(made: RecordArray, row: int | slice, **fields: Any) -> RecordArray:
    """`made` with other values in `row`."""
    copy = made.copy()
    for name, value in fields.items():
        copy[name][row] = value
    return copy


def flat(price: int) -> Mapping[str, int]:
    """The four prices of a bar that traded at `price` alone."""
    return dict.fromkeys(("open", "high", "low", "close"), price)
