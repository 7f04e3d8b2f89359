"""Small files in perfect order, of every shape the vendor delivers: what the campaign damages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, midnight_ns
from trisignal_pipeline_tests.conftest import SHARED_DATA
from trisignal_pipeline_tests.sources.dbn_encoder import (
    Intervals,
    RecordArray,
    compress,
    encode,
    records,
)
from trisignal_pipeline_tests.tiny_market import TICK

FIRST = date(2024, 6, 17)
SECOND = FIRST + timedelta(days=1)
END = FIRST + timedelta(days=2)

VERSIONS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Specimen:
    """A file, unpacked: the header's bytes and those of the records that follow it."""

    name: str
    header: bytes
    records: bytes

    @property
    def content(self) -> bytes:
        """The whole file, without compression."""
        return self.header + self.records


@cache
def generated() -> tuple[Specimen, ...]:
    """One of each symbology and version; no two have the same bars."""
    return tuple(
        _generated(name, version, header, ids)
        for version in VERSIONS
        for name, header, ids in _SHAPES
    )


@cache
def vendor_files() -> tuple[Specimen, ...]:
    """The small real files, where this machine has them."""
    paths = [path for folder in ("tiny_es", "two_roots") for path in _files(folder)]
    return tuple(_unpacked(path) for path in paths)


@cache
def unusable_files() -> tuple[bytes, ...]:
    """The real files that were never to be used, where this machine has them."""
    return tuple(path.read_bytes() for path in _files("unusable"))


def whole_header(**said: Any) -> bytes:
    """The bytes of a header over both dates, where it says nothing else."""
    return encode(
        **{"start": midnight_ns(FIRST), "end": midnight_ns(END), "mapping": NAMED, **said}
    )


def bars(seed: int, ids: tuple[int, ...], count: int = 40) -> RecordArray:
    """`count` bars on both dates, of each of `ids` in turn: a walk in ticks near 20,000 points."""
    rng = np.random.default_rng(seed)
    close = 80_000 + np.cumsum(rng.integers(-20, 21, count))
    open_ = close + rng.integers(-8, 9, count)
    minutes = np.sort(rng.integers(0, 2 * 1440, count))
    return records(
        minutes,
        [ids[row % len(ids)] for row in range(count)],
        ts_event=midnight_ns(FIRST) + minutes * NS_PER_MINUTE,
        open=open_ * TICK,
        high=(np.maximum(open_, close) + rng.integers(0, 8, count)) * TICK,
        low=(np.minimum(open_, close) - rng.integers(0, 8, count)) * TICK,
        close=close * TICK,
        volume=rng.integers(1, 500, count),
    )


def one_day(day: date, root: str) -> bytes:
    """A whole file of one date and one contract."""
    made = bars(day.toordinal(), (9,))
    made["ts_event"] = made["ts_event"] % NS_PER_DAY // NS_PER_MINUTE * NS_PER_MINUTE
    made["ts_event"] += midnight_ns(day)
    end = day + timedelta(days=1)
    contract = f"{root}U4"
    return compress(
        encode(
            made,
            start=midnight_ns(day),
            end=midnight_ns(end),
            symbols=(contract,),
            mapping={contract: [(day, end, "9")]},
        )
    )


NAMED: dict[str, Intervals] = {"NQM4": [(FIRST, END, "1")]}

_SHAPES: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...] = (
    ("raw", {}, (1,)),
    (
        "parent",
        {
            "stype_in": "parent",
            "symbols": ["ES.FUT", "NQ.FUT"],
            "mapping": {
                "NQM4": [(FIRST, END, "1")],
                "NQU4": [(FIRST, END, "2")],
                "NQM4-NQU4": [(FIRST, END, "3")],
                "ESU4": [(FIRST, END, "4")],
            },
        },
        (1, 2, 1, 3, 2, 4),
    ),
    (
        "reused",
        {
            "symbols": ["NQM4", "NQU4"],
            "mapping": {"NQM4": [(FIRST, SECOND, "7")], "NQU4": [(SECOND, END, "7")]},
        },
        (7,),
    ),
    (
        "continuous",
        {
            "stype_in": "continuous",
            "symbols": ["NQ.v.0"],
            "mapping": {"NQ.v.0": [(FIRST, END, "5")]},
        },
        (5,),
    ),
    (
        "by_id",
        {
            "stype_in": "instrument_id",
            "stype_out": "raw_symbol",
            "symbols": ["1", "2"],
            "mapping": {"1": [(FIRST, END, "NQM4")], "2": [(FIRST, END, "NQU4")]},
        },
        (1, 2),
    ),
)


def _generated(name: str, version: int, header: dict[str, Any], ids: tuple[int, ...]) -> Specimen:
    made = bars(version * 10 + len(name), ids)
    return Specimen(f"{name} v{version}", whole_header(version=version, **header), bytes(made))


def _files(folder: str) -> list[Path]:
    return sorted(path for path in (SHARED_DATA / folder).glob("*") if path.is_file())


def _unpacked(path: Path) -> Specimen:
    content = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    end = 8 + int.from_bytes(content[4:8], "little")
    return Specimen(path.name, content[:end], content[end:])
