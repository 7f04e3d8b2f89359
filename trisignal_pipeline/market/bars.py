"""Bars as columns.

In memory a bar's `ts` is always its OPEN. Where a table stamps bars by their close, the conversion
happens as rows enter or leave that table and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, iso_minute

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

PRICE_UNIT = 1_000_000_000
"""How many of the int64 price units make 1.0: Databento's fixed point of 1e-9."""

UNDEFINED_PRICE = 2**63 - 1
"""What Databento writes for a price that isn't there: the largest int64."""


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """1-minute bars in columns of one length.

    ts        int64, nanoseconds since the epoch (UTC), the bar's OPEN
    open, high, low, close   int64, units of 1e-9
    volume    int64
    contract  int32, index into `contracts`: which instrument traded
    """

    ts: Int64s
    open: Int64s
    high: Int64s
    low: Int64s
    close: Int64s
    volume: Int64s
    contract: Int32s
    contracts: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise InvalidBarsError(f"the columns of a bar series differ in length: {lengths}")
        for name in _COLUMNS:
            require_whole_numbers(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.ts)

    @classmethod
    def empty(cls) -> Self:
        """No bars at all."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, none, none, np.empty(0, np.int32), ())

    def take(self, rows: Int64s | Bools | slice) -> Bars:
        """The bars at `rows`: positions, a mask, or a slice."""
        return Bars(
            self.ts[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            self.contract[rows],
            self.contracts,
        )

    def between(self, start_ns: int, end_ns: int) -> Bars:
        """Bars that open in [start_ns, end_ns); the series must be in order of time."""
        first, after = np.searchsorted(self.ts, [start_ns, end_ns])
        return self.take(slice(int(first), int(after)))

    def day_numbers(self) -> Int64s:
        """The UTC date each bar opens on, in days since 1970-01-01."""
        return self.ts // NS_PER_DAY

    def contract_names(self) -> list[str]:
        """The distinct contracts that occur, in order of their first bar."""
        codes, first = np.unique(self.contract, return_index=True)
        return [self.contracts[code] for code in codes[np.argsort(first)]]


_COLUMNS = ("ts", "open", "high", "low", "close", "volume", "contract")


def concatenate(parts: Iterable[Bars]) -> Bars:
    """The bars of `parts`, one after the other, with their contract codes reconciled."""
    series = [part for part in parts if len(part)]
    if not series:
        return Bars.empty()
    names: dict[str, int] = {}
    codes: list[Int32s] = []
    for part in series:
        lookup = np.array([names.setdefault(c, len(names)) for c in part.contracts], np.int32)
        codes.append(lookup[part.contract])
    return Bars(
        **{
            name: np.concatenate([getattr(part, name) for part in series])
            for name in _COLUMNS
            if name != "contract"
        },
        contract=np.concatenate(codes),
        contracts=tuple(names),
    )


def require_whole_numbers(name: str, column: npt.NDArray[Any]) -> None:
    """Raise `InvalidBarsError` unless the column `name` holds integers: no fraction, no NaN."""
    if column.dtype.kind != "i":
        raise InvalidBarsError(
            f"the column {name} holds {column.dtype}, not whole numbers: prices are int64 units of "
            "1e-9, and one that is missing is UNDEFINED_PRICE, never NaN"
        )


def require_ascending(ts: Int64s, where: Sequence[str] = ()) -> None:
    """Raise `InvalidBarsError` unless `ts` is strictly ascending and aligned to the minute."""
    place = " ".join(where)
    unaligned = np.flatnonzero(ts % NS_PER_MINUTE)
    if len(unaligned):
        raise InvalidBarsError(
            f"{place or 'bars'}: {iso_minute(int(ts[unaligned[0]]))} is not the start of a minute"
        )
    late = np.flatnonzero(np.diff(ts) <= 0)
    if len(late):
        raise InvalidBarsError(
            f"{place or 'bars'}: {iso_minute(int(ts[late[0] + 1]))} does not come after "
            f"{iso_minute(int(ts[late[0]]))}"
        )
