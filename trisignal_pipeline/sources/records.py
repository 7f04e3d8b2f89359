"""OHLCV-1m records as they lie in a DBN file, and reading them block by block.

A record is 56 bytes in every DBN version: a header of 16 and five numbers. Memory stays at a few
blocks, whatever the size of the file and however well it is compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Protocol, cast

import numpy as np
import numpy.typing as npt
import zstandard

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.sources.dbn_header import (
    PRELUDE_BYTES,
    DbnHeader,
    decode_header,
    metadata_length,
)

RECORD = np.dtype(
    [
        ("kind", "<u2"),  # length in words of 4 bytes, then the record type: one comparison
        ("publisher_id", "<u2"),
        ("instrument_id", "<u4"),
        ("ts", "<i8"),  # ts_event, the bar's open
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<i8"),
    ]
)
Records = npt.NDArray[np.void]

OHLCV_1M_RTYPE = 33
OHLCV_1M_KIND = RECORD.itemsize // 4 | OHLCV_1M_RTYPE << 8
SCHEMA = "ohlcv-1m"

BLOCK_RECORDS = 1 << 16
"""3.5 MB: small enough for the processor's cache to help, large enough for numpy to pay."""

_ZSTD_READ_BYTES = 1 << 18
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC_END = b"\x2a\x4d\x18"
_DBZ = b"DBZ"


class Readable(Protocol):
    """Anything bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


def is_zstd(start: bytes) -> bool:
    """Whether a file that begins with `start` (12 bytes) is zstd-compressed.

    Raises:
        RefusedFileError: it is DBZ, which dresses its header up as a zstd frame to be skipped.
    """
    skippable = start[1:4] == _SKIPPABLE_MAGIC_END and start[:1] and start[0] & 0xF0 == 0x50
    if skippable and start[8:11] == _DBZ:
        raise RefusedFileError(
            "it is DBZ, the format that DBN replaced in 2023; download the data again as DBN"
        )
    return start.startswith(_ZSTD_MAGIC) or bool(skippable)


class DbnStream:
    """A DBN file, read from front to back: its header, then its records in blocks.

    Raises `RefusedFileError`, here and while blocks are read, for content that can't be decoded.
    """

    def __init__(self, source: Readable, *, compressed: bool) -> None:
        self._source: Readable = source
        if compressed:
            self._source = zstandard.ZstdDecompressor().stream_reader(
                cast("IO[bytes]", source),  # of which it uses nothing but read()
                read_size=_ZSTD_READ_BYTES,
                read_across_frames=True,
                closefd=False,
            )
        prelude = self._read(PRELUDE_BYTES)
        length = metadata_length(prelude)
        metadata = self._read(length)
        if len(metadata) < length:
            raise RefusedFileError("it is cut short within its header; download it again")
        self.header: DbnHeader = decode_header(prelude, metadata)

    def blocks(self) -> Iterator[Records]:
        """The records that follow the header, up to `BLOCK_RECORDS` at a time, in file order."""
        count = 0
        while data := self._read(BLOCK_RECORDS * RECORD.itemsize):
            whole, rest = divmod(len(data), RECORD.itemsize)
            count += whole
            if rest:
                raise RefusedFileError(
                    f"it is cut short: {rest} bytes of a record of {RECORD.itemsize} follow "
                    f"record {count:,}; download it again"
                )
            yield np.frombuffer(data, RECORD)

    def _read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        missing = size
        while missing:
            try:
                piece = self._source.read(min(missing, BLOCK_RECORDS * RECORD.itemsize))
            except zstandard.ZstdError as error:
                raise RefusedFileError(
                    f"its compressed data is damaged ({error}); download it again"
                ) from error
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
