"""What a file holds of each contract on each date, told record by record.

The one place where records are held against the header of their file: nothing is counted that is
not what the header promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.market.bars import Bools, Int64s
from trisignal_pipeline.market.contracts import parse_outright
from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    from_day_number,
    iso_minute,
)
from trisignal_pipeline.market.lead_contract import Traded
from trisignal_pipeline.market.symbols import parse_continuous
from trisignal_pipeline.sources.dbn_header import DbnHeader
from trisignal_pipeline.sources.records import OHLCV_1M_KIND, OHLCV_1M_RTYPE, Records

_VOLUME_LIMIT = 10**12
"""Contracts a minute. No market trades that many; sums of what is below stay exact in int64."""

MOST_BARS_A_DAY = 5 * 24 * 60
"""Of one contract. It has one a minute; a year of what holds five of them still fits in memory."""

MOST_INSTRUMENT_DAYS = 500_000
"""A month of everything CME trades. What is held of each is what bounds the memory."""

_ID_BITS = 32


@dataclass(frozen=True, slots=True)
class ContractDay(Traded):
    """`Traded`, with the root it belongs to and how many bars there are."""

    root: str = field(kw_only=True)
    bar_count: int = field(kw_only=True)


@dataclass(slots=True)
class _Tally:
    """Sums over the bars of one instrument on one date."""

    bar_count: int
    volume: int
    first_ns: int
    last_ns: int

    def add(self, other: _Tally) -> None:
        self.bar_count += other.bar_count
        self.volume += other.volume
        self.first_ns = min(self.first_ns, other.first_ns)
        self.last_ns = max(self.last_ns, other.last_ns)


class ContractDays:
    """Checks the records of one file, block by block, and sums them by contract and date.

    Holds one small sum for each contract and date, never the records; and a bounded number of both,
    since a file of some kilobytes may unpack to more than any machine holds.
    """

    def __init__(self, header: DbnHeader) -> None:
        self._header = header
        self._names = header.names()
        self._market: dict[int, tuple[str | None, str, str | None]] = {}
        self._tallies: dict[tuple[int, str], _Tally] = {}
        self.record_count = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.in_time_order = True

    def add(self, records: Records) -> None:
        """Check and count the file's next records.

        Raises:
            RefusedFileError: a record that is not an ohlcv-1m bar, opens off the minute or outside
                the header's range, has no symbol, or an impossible volume; more bars or more
                instruments than there can be.
        """
        ts: Int64s = np.ascontiguousarray(records["ts"], np.int64)
        volume: Int64s = np.ascontiguousarray(records["volume"], np.int64)
        self._check(records, ts, volume)

        day = ts // NS_PER_DAY
        key = day << _ID_BITS | records["instrument_id"].astype(np.int64)
        order = np.argsort(key, kind="stable")
        grouped = key[order]
        starts = np.flatnonzero(np.concatenate(([True], grouped[1:] != grouped[:-1])))
        columns = (
            grouped[starts],
            np.diff(starts, append=len(order)),
            np.add.reduceat(volume[order], starts),
            np.minimum.reduceat(ts[order], starts),
            np.maximum.reduceat(ts[order], starts),
        )
        for pair, *sums in zip(*(column.tolist() for column in columns), strict=True):
            self._add(pair, _Tally(*sums))

        if ts[0] < (self.last_ns or ts[0]) or (np.diff(ts) < 0).any():
            self.in_time_order = False
        first_ns, last_ns = int(ts.min()), int(ts.max())
        self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(self.last_ns, last_ns)
        self.record_count += len(records)

    def days(self) -> tuple[ContractDay, ...]:
        """Every outright and every continuous symbol's instrument, by date and contract."""
        market = {(pair >> _ID_BITS, m[1]): m for pair, m in self._market.items()}
        return tuple(
            ContractDay(
                from_day_number(day),
                contract,
                tally.volume,
                tally.first_ns,
                tally.last_ns,
                market[day, contract][2],
                root=root,
                bar_count=tally.bar_count,
            )
            for (day, contract), tally in sorted(self._tallies.items())
            if (root := market[day, contract][0]) is not None
        )

    def _add(self, pair: int, tally: _Tally) -> None:
        if pair not in self._market:
            if len(self._market) == MOST_INSTRUMENT_DAYS:
                raise RefusedFileError(
                    f"it has bars of more than {MOST_INSTRUMENT_DAYS:,} instruments and dates; "
                    "download it in several files, of fewer symbols or shorter ranges"
                )
            self._market[pair] = self._resolve(pair, tally.first_ns)
        day, contract = pair >> _ID_BITS, self._market[pair][1]
        known = self._tallies.setdefault((day, contract), tally)
        if known is not tally:
            known.add(tally)
        if known.bar_count > MOST_BARS_A_DAY:
            raise RefusedFileError(
                f"it has more than {MOST_BARS_A_DAY:,} bars of {contract} on "
                f"{from_day_number(day)}, a date of {24 * 60:,} minutes; the file is damaged, "
                "download it again"
            )

    def _resolve(self, pair: int, ts: int) -> tuple[str | None, str, str | None]:
        """Root, contract and continuous symbol of an (instrument, day); no root for a spread."""
        instrument_id, day = pair & (1 << _ID_BITS) - 1, pair >> _ID_BITS
        name = self._names.name(instrument_id, day)
        if name is None:
            raise RefusedFileError(
                f"its symbol mapping has no name for instrument {instrument_id} on "
                f"{from_day_number(day)} (bar of {iso_minute(ts)}); download it again, with "
                "symbology mapped"
            )
        if outright := parse_outright(name):
            return outright.root, name, None
        if self._header.stype_in != "continuous":
            return None, name, None
        if (continuous := parse_continuous(name)) is None:
            raise RefusedFileError(
                f"it was asked for by continuous symbols, but its symbol mapping calls instrument "
                f"{instrument_id} {name}, which is none; the file is damaged, download it again"
            )
        return continuous[0], f"#{instrument_id}", name

    def _check(self, records: Records, ts: Int64s, volume: Int64s) -> None:
        header = self._header
        kind = records["kind"]
        if (row := self._first(kind != OHLCV_1M_KIND)) is not None:
            raise RefusedFileError(
                f"{self._place(row)} is no ohlcv-1m bar: rtype {int(kind[row]) >> 8} with "
                f"{int(kind[row] & 0xFF) * 4} bytes instead of rtype {OHLCV_1M_RTYPE} with "
                f"{records.dtype.itemsize}; the file is damaged or was spliced, download it again"
            )
        outside = ts < header.start_ns
        if header.end_ns is not None:
            outside |= ts >= header.end_ns
        if (row := self._first(outside)) is not None:
            end = "open" if header.end_ns is None else iso_minute(header.end_ns)
            raise RefusedFileError(
                f"{self._place(row)} opens {iso_minute(int(ts[row]))}, outside the range of the "
                f"file's header, {iso_minute(header.start_ns)} to {end}; the file is damaged or "
                "was spliced, download it again"
            )
        if (row := self._first(ts % NS_PER_MINUTE != 0)) is not None:
            raise RefusedFileError(
                f"{self._place(row)} opens {int(ts[row]) % NS_PER_MINUTE:,} ns after "
                f"{iso_minute(int(ts[row] - ts[row] % NS_PER_MINUTE))}, but 1-minute bars open on "
                "the minute; the file is damaged, download it again"
            )
        if (row := self._first((volume < 0) | (volume > _VOLUME_LIMIT))) is not None:
            raise RefusedFileError(
                f"{self._place(row)} ({iso_minute(int(ts[row]))}) has a volume of "
                f"{int(volume[row]) % 2**64:,}, which can't be; the file is damaged, "
                "download it again"
            )

    def _place(self, row: int) -> str:
        return f"record {self.record_count + row + 1:,}"

    @staticmethod
    def _first(wrong: Bools) -> int | None:
        row = int(np.argmax(wrong))
        return row if wrong[row] else None
