"""Where two series of bars that should say the same don't."""

from __future__ import annotations

import numpy as np

from trisignal_pipeline.market.bars import Bars, Bools, Int64s
from trisignal_pipeline.market.prices import points

COLUMNS = ("open", "high", "low", "close", "volume", "contract")


def positions(wanted: Int64s, among: Int64s) -> tuple[Int64s, Bools]:
    """Where each of `wanted` stands in `among`, and whether it does: both ascending int64."""
    if not len(among):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    found = np.minimum(np.searchsorted(among, wanted), len(among) - 1)
    return found, among[found] == wanted


def differences(ours: Bars, theirs: Bars) -> dict[str, Int64s]:
    """On which minutes (OPEN, nanoseconds) two series differ; both are in order of time.

    Returns:
        `MISSING` minutes that only `theirs` has, `SUPERFLUOUS` ones that only `ours` has, and those
        of both on which a column differs, under `OTHER_` and its name. What never occurs is left
        out. A contract known by its id alone (`#4711`) is not held against one known by its name.
    """
    place, common = positions(ours.ts, theirs.ts)
    _, known = positions(theirs.ts, ours.ts)
    found = {"MISSING": theirs.ts[~known], "SUPERFLUOUS": ours.ts[~common]}
    if common.any():
        mine, other = ours.take(common), theirs.take(place[common])
        for name in COLUMNS:
            differs = (
                _of_other_contracts(mine, other)
                if name == "contract"
                else getattr(mine, name) != getattr(other, name)
            )
            found[f"OTHER_{name.upper()}"] = mine.ts[differs]
    return {name: minutes for name, minutes in found.items() if len(minutes)}


def _of_other_contracts(ours: Bars, theirs: Bars) -> Bools:
    """Where two series of one length are of other contracts; a name and an id may be the same."""
    differ = np.array(
        [
            [
                one != other and one.startswith("#") == other.startswith("#")
                for other in theirs.contracts
            ]
            for one in ours.contracts
        ]
    )
    return differ[ours.contract, theirs.contract]


def bar_in_words(bars: Bars, ts: int) -> str:
    """The bar that opens at `ts` (nanoseconds): its prices in points, its volume, its contract."""
    row = int(np.searchsorted(bars.ts, ts))
    if row == len(bars) or bars.ts[row] != ts:
        return "no bar"
    prices = (points(int(getattr(bars, name)[row])) for name in ("open", "high", "low", "close"))
    return f"{' '.join(prices)}, {bars.volume[row]} of {bars.contracts[bars.contract[row]]}"
