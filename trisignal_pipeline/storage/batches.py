"""A range of bars cut into slices of time, each small enough for one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trisignal_pipeline.market.dates import DateRange

if TYPE_CHECKING:
    from trisignal_pipeline.screening import Screened

DEFAULT_BATCH_ROWS = 500
MOST_BATCH_ROWS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What was delivered of bars that open in [start_ns, end_ns) (nanoseconds, UTC)."""

    delivery: Screened
    start_ns: int
    end_ns: int


def batches(delivery: Screened, dates: DateRange, batch_rows: int) -> Iterator[Batch]:
    """Slices of time that tile `dates`, each with at most `batch_rows` rows, rejected ones too.

    A minute is never cut: one that was delivered more often than that is a batch of its own.
    """
    ts = np.sort(np.concatenate((delivery.accepted.ts, delivery.rejected.ts)))
    starts = [dates.start_ns]
    row = 0
    while row + batch_rows < len(ts):
        after = int(np.searchsorted(ts, ts[row + batch_rows]))
        if after == row:
            after = int(np.searchsorted(ts, ts[row], side="right"))
        if after < len(ts):
            starts.append(int(ts[after]))
        row = after
    for start_ns, end_ns in pairwise([*starts, dates.end_ns]):
        yield Batch(delivery.between(start_ns, end_ns), start_ns, end_ns)
