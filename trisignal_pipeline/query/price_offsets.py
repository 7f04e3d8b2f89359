"""Back-adjusted charts: one constant price offset for each contract, found from the bars.

A continuous chart that is back-adjusted shifts every price of a past contract by what the price
stepped at the rolls since. Open, high, low and close of all the contract's bars are shifted alike,
so the offset is the difference most of them have; a bar with another one differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trisignal_pipeline.market.bars import Bars, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY

# Raw symbols come round every ten years; the same one long after is another contract.
_NEXT_DECADE_NS = 5 * 365 * NS_PER_DAY

SEVERAL = -1


@dataclass(frozen=True, slots=True)
class PriceOffset:
    """What a chart adds to the prices of one contract, in units of 1e-9.

    bars      how many of its bars it was found from
    agreeing  how many of their prices, four a bar, it makes equal
    """

    contract: str
    offset: int
    bars: int
    agreeing: int


@dataclass(frozen=True, slots=True, eq=False)
class ContractStretches:
    """Which contract each minute is of. `code` is int64 [n], an index into `names`."""

    code: Int64s
    names: tuple[str, ...]

    def of_bars(self, first: Int64s, after: Int64s) -> Int64s:
        """The one contract of bars made of the minutes [first, after); `SEVERAL` for a mixture."""
        changes = np.cumsum(np.diff(self.code, prepend=self.code[:1]) != 0)
        alike = changes[first] == changes[after - 1]
        return np.where(alike, self.code[first], SEVERAL)


def contract_stretches(minutes: Bars) -> ContractStretches:
    """The contracts of `minutes`, the same symbol a decade later taken for another one."""
    code = np.empty(len(minutes), np.int64)
    names: list[str] = []
    for number in np.unique(minutes.contract).tolist():
        rows = np.flatnonzero(minutes.contract == number)
        later = np.cumsum(np.diff(minutes.ts[rows], prepend=minutes.ts[rows[0]]) > _NEXT_DECADE_NS)
        code[rows] = later + len(names)
        names += [minutes.contracts[number]] * (int(later[-1]) + 1)
    return ContractStretches(code, tuple(names))


def price_offsets(
    chart: Int64s, stored: Int64s, contract: Int64s, names: Sequence[str]
) -> dict[int, PriceOffset]:
    """The offset of each contract that has a say, by its code; 0 where most prices share none.

    Args:
        chart, stored: int64 [4, n], open, high, low and close of the same bars.
        contract: int64 [n], index into `names`, or `SEVERAL`; such bars have no say.
        names: the contracts.
    """
    found = {}
    for code, name in enumerate(names):
        rows = contract == code
        values, counts = np.unique(chart[:, rows] - stored[:, rows], return_counts=True)
        if not len(values):
            continue
        # Of two offsets equally common the smaller one is the likelier.
        best = max(range(len(values)), key=lambda at: (counts[at], -abs(int(values[at]))))
        shared = 2 * int(counts[best]) > int(counts.sum())
        offset = int(values[best]) if shared else 0
        agreeing = int(counts[values == offset].sum())
        found[code] = PriceOffset(name, offset, int(rows.sum()), agreeing)
    return found
