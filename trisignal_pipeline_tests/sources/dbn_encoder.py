"""A small encoder of DBN files, apart from the product's own, for files right and wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn
import numpy as np
import numpy.typing as npt
import zstandard

from trisignal_pipeline.market.dates import NS_PER_MINUTE, NS_PER_SECOND, midnight_ns

DAY = date(2024, 6, 17)
END = DAY + timedelta(days=3)
MIDNIGHT = midnight_ns(DAY)

Intervals = Sequence[tuple[date, date, str]]
RecordArray = npt.NDArray[np.void]

_RECORD = np.dtype(
    [
        ("length", "u1"),
        ("rtype", "u1"),
        ("publisher_id", "<u2"),
        ("instrument_id", "<u4"),
        ("ts_event", "<u8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<u8"),
    ]
)


def records(minutes: Sequence[int], ids: int | Sequence[int] = 1, **fields: Any) -> RecordArray:
    """Bars of instruments `ids` that open `minutes` after midnight of `DAY`."""
    made = np.zeros(len(minutes), _RECORD)
    made["length"], made["rtype"], made["publisher_id"] = 14, 33, 1
    made["instrument_id"] = ids
    made["ts_event"] = MIDNIGHT + np.array(minutes, np.int64) * NS_PER_MINUTE
    made["open"] = 100 + np.arange(len(minutes))
    made["high"], made["low"] = made["open"] + 5, made["open"] - 5
    made["close"] = made["open"] + 1
    made["volume"] = 10
    for name, value in fields.items():
        made[name] = value
    return made


def encode(
    made: RecordArray | bytes = b"",
    *,
    mapping: Mapping[str, Intervals] | None = None,
    symbols: Sequence[str] = ("NQM4",),
    stype_in: str | None = "raw_symbol",
    stype_out: str = "instrument_id",
    schema: str | None = "ohlcv-1m",
    dataset: str = "GLBX.MDP3",
    version: int = 3,
    start: int = MIDNIGHT,
    end: int | None = midnight_ns(END),
    ts_out: bool = False,
) -> bytes:
    """A header and records as an uncompressed file; NQM4 is instrument 1 unless told otherwise."""
    mappings = [
        SimpleNamespace(
            raw_symbol=name,
            intervals=[
                SimpleNamespace(start_date=first, end_date=last, symbol=symbol)
                for first, last, symbol in intervals
            ],
        )
        for name, intervals in (mapping or {"NQM4": [(DAY, END, "1")]}).items()
    ]
    metadata = databento_dbn.Metadata(
        dataset=dataset,
        start=start,
        end=end,
        stype_in=None if stype_in is None else databento_dbn.SType(stype_in),
        stype_out=databento_dbn.SType(stype_out),
        schema=None if schema is None else databento_dbn.Schema(schema),
        symbols=list(symbols),
        mappings=mappings,
        version=version,
        ts_out=ts_out,
    )
    return metadata.encode() + bytes(made)


def compress(content: bytes) -> bytes:
    """`content` as one zstd frame with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def write(path: Path, content: bytes) -> Path:
    """`content` at `path`, compressed if the name says so; complete for an hour, by its time."""
    path.write_bytes(compress(content) if path.suffix == ".zst" else content)
    written = time.time_ns() - 3600 * NS_PER_SECOND
    os.utime(path, ns=(written, written))
    return path
