"""Writing bars as DBN: what the vendor sends, from records of our own making."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

import databento_dbn
import zstandard
from databento_dbn.metadata import MappingInterval

from trisignal_pipeline.sources.records import Records


# Not frozen: databento_dbn declares the attributes of both as ones that can be set.
@dataclass(slots=True)
class SymbolInterval:
    """A symbol or instrument id, from `start_date` to before `end_date`."""

    start_date: date
    end_date: date
    symbol: str


@dataclass(slots=True)
class SymbolIntervals:
    """What one symbol of the input stood for, over time."""

    raw_symbol: str
    intervals: Sequence[MappingInterval]


@dataclass(frozen=True, slots=True)
class Description:
    """What the header of a file says.

    start_ns, end_ns   what was asked for: [start, end), nanoseconds since the epoch, UTC
    symbols            as they are asked for, in the symbology `stype_in`
    mapping            raw symbol -> (first date, date after the last, instrument id)
    version            of DBN: 1, 2 or 3
    """

    dataset: str
    stype_in: str
    symbols: Sequence[str]
    start_ns: int
    end_ns: int | None
    mapping: Mapping[str, Sequence[tuple[date, date, int]]]
    schema: str = "ohlcv-1m"
    version: int = 3

    def encode(self) -> bytes:
        """The header's bytes."""
        mappings = [
            SymbolIntervals(name, [SymbolInterval(a, b, str(number)) for a, b, number in intervals])
            for name, intervals in sorted(self.mapping.items())
        ]
        return databento_dbn.Metadata(
            dataset=self.dataset,
            start=self.start_ns,
            end=self.end_ns,
            stype_in=databento_dbn.SType(self.stype_in),
            stype_out=databento_dbn.SType("instrument_id"),
            schema=databento_dbn.Schema(self.schema),
            symbols=list(self.symbols),
            mappings=mappings,
            version=self.version,
        ).encode()


def write_dbn(
    path: Path, description: Description, blocks: Iterable[Records], *, level: int = 3
) -> Path:
    """Write `blocks` under `description` as zstd-compressed DBN with a checksum.

    The file takes its name when it is complete: nobody can see half of it.
    """
    unfinished = path.with_name(f"{path.name}.part")
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(unfinished.open("wb"))
        compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        out = stack.enter_context(compressor.stream_writer(file, closefd=False))
        out.write(description.encode())
        for block in blocks:
            out.write(block.tobytes())
    return unfinished.replace(path)
