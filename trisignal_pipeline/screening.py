"""Telling delivered bars apart: those that stand, and those that break a rule or give way."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandera.pandas as pa

from trisignal_pipeline.market.bars import Bars, Bools, Int32s
from trisignal_pipeline.market.deliveries import Delivered, copied_later, shared_minutes
from trisignal_pipeline.market.hygiene import Rule
from trisignal_pipeline.schemas import bar_frame, broken_rows


def _nowhere() -> Int32s:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """Delivered bars told apart: those that stand, and those that break a rule.

    broken        for each rule a mask over `rejected`; a bar may break several
    origin        for each rejected bar, the delivery it comes from
    overruled_by  the delivery whose bar stands in its place, where it is
                  `SUPERSEDED_BY_LATER_FILE`; -1 elsewhere
    """

    accepted: Bars
    rejected: Bars
    broken: dict[str, Bools]
    origin: Int32s = field(default_factory=_nowhere)
    overruled_by: Int32s = field(default_factory=_nowhere)

    def between(self, start_ns: int, end_ns: int) -> Screened:
        """What was delivered of [start_ns, end_ns), by the OPEN, and the rules broken in it."""
        rows = slice(*np.searchsorted(self.rejected.ts, [start_ns, end_ns]).tolist())
        return Screened(
            self.accepted.between(start_ns, end_ns),
            self.rejected.take(rows),
            {name: mask[rows] for name, mask in self.broken.items() if mask[rows].any()},
            self.origin[rows],
            self.overruled_by[rows],
        )


def screen(schema: pa.DataFrameSchema, delivered: Delivered) -> Screened:
    """Tell the bars that break a check of `schema` from those that stand.

    Of several for one minute that break no other rule the last one stands. The others are rejected:
    as SUPERSEDED_BY_LATER_FILE where a later delivery says otherwise, as DUPLICATE_MINUTE within
    one delivery. A bar that later deliveries have just as it is counts once.
    """
    bars, origin = delivered.bars, delivered.origin
    masks = broken_rows(schema, bar_frame(bars))
    masks.pop("UNIQUE", None)
    unfit = np.logical_or.reduce(list(masks.values()))
    whole, broken = np.flatnonzero(~unfit), np.flatnonzero(unfit)
    shared = shared_minutes(bars.take(whole), origin[whole])
    copied = np.zeros(len(bars), np.bool_)
    copied[whole[shared.copied]] = True
    copied[broken[copied_later(bars.take(broken), origin[broken])]] = True
    overruled_by = np.full(len(bars), -1, np.int32)
    overruled_by[whole] = shared.overruled_by
    repeated = np.zeros(len(bars), np.bool_)
    repeated[whole[shared.repeated]] = True
    masks[Rule.DUPLICATE_MINUTE.value] = repeated
    masks[Rule.SUPERSEDED_BY_LATER_FILE.value] = overruled_by >= 0
    rejected = (unfit | repeated | (overruled_by >= 0)) & ~copied
    return Screened(
        bars.take(~rejected & ~copied),
        bars.take(rejected),
        {name: mask[rejected] for name, mask in masks.items() if mask[rejected].any()},
        origin[rejected],
        overruled_by[rejected],
    )
