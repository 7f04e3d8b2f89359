"""Bars of one market from several files, made one series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trisignal_pipeline.market.bars import Bars, concatenate


def merge_deliveries(deliveries: Sequence[Bars]) -> Bars:
    """The bars of `deliveries` in order of time, those for one minute in order of delivery.

    The same bar in two deliveries is one bar: of such copies the last is kept. Bars of one minute
    that differ, or that one delivery holds twice, all stay, for the hygiene rules to tell apart.
    """
    bars = concatenate(deliveries)
    delivery = np.repeat(np.arange(len(deliveries)), [len(part) for part in deliveries])
    order = np.argsort(bars.ts, kind="stable")
    bars, delivery = bars.take(order), delivery[order]
    if len(bars) < 2:
        return bars
    copied = delivery[1:] != delivery[:-1]
    for column in (bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume, bars.contract):
        copied &= column[1:] == column[:-1]
    return bars.take(np.concatenate((~copied, [True])))
