"""Whether compressed data is whole.

A zstd decoder that is handed half a file returns half the content and no error: to it, more may
still come. The frames themselves tell: each is a header, blocks with their sizes, and a last block
that is marked (RFC 8878, section 3.1). Following the sizes costs nothing beside decompression, and
shows where data ends in mid-frame and where something follows that is not a frame.
"""

from __future__ import annotations

from collections.abc import Callable

_FRAME_MAGIC = 0xFD2FB528
_SKIPPABLE_MAGIC = 0x184D2A50
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RLE_BLOCK = 1
_RESERVED_BLOCK = 3


class ZstdFrames:
    """Follows the frames of a zstd file, of which the bytes are fed in pieces of any size.

    Holds a few bytes, whatever the size of the file. Nothing is decompressed: a damaged block is
    the decoder's to find.
    """

    def __init__(self) -> None:
        self._position = 0
        self._field = b""
        self._wanted = 4
        self._skip = 0
        self._next: Callable[[int], None] = self._magic
        self._has_checksum = False
        self._complete_frames = 0
        self._fault: str | None = None

    def feed(self, data: bytes) -> None:
        """Follow the next bytes of the file."""
        at = 0
        while at < len(data) and self._fault is None:
            step = min(self._skip or self._wanted - len(self._field), len(data) - at)
            if self._skip:
                self._skip -= step
            else:
                self._field += data[at : at + step]
            at += step
            self._position += step
            if len(self._field) == self._wanted:
                field, self._field = int.from_bytes(self._field, "little"), b""
                self._next(field)

    @property
    def complete_frames(self) -> int:
        """How many frames with data came to their end."""
        return self._complete_frames

    def fault(self) -> str | None:
        """What is wrong with all that was fed, taken as a complete file; None if it is whole."""
        if self._fault is not None:
            return self._fault
        if self._next == self._magic and not self._skip:
            if self._field:
                return self._not_a_frame(self._position - len(self._field))
            return None if self._complete_frames else "it holds no zstd frame with data"
        return f"it is cut short: the compressed data stops in mid-frame at byte {self._position:,}"

    def _expect(self, step: Callable[[int], None], wanted: int, skip: int = 0) -> None:
        self._next, self._wanted, self._skip = step, wanted, skip

    def _magic(self, magic: int) -> None:
        if magic == _FRAME_MAGIC:
            self._expect(self._descriptor, 1)
        elif magic & 0xFFFFFFF0 == _SKIPPABLE_MAGIC:
            self._expect(self._skippable_size, 4)
        else:
            self._fault = self._not_a_frame(self._position - 4)

    @staticmethod
    def _not_a_frame(position: int) -> str:
        return f"something that is not zstd data follows the compressed data at byte {position:,}"

    def _skippable_size(self, size: int) -> None:
        self._expect(self._magic, 4, skip=size)

    def _descriptor(self, descriptor: int) -> None:
        single_segment = bool(descriptor & 0x20)
        self._has_checksum = bool(descriptor & 0x04)
        content_size = _CONTENT_SIZE_BYTES[descriptor >> 6]
        if single_segment and not content_size:
            content_size = 1
        window = 0 if single_segment else 1
        rest = window + _DICTIONARY_ID_BYTES[descriptor & 3] + content_size
        self._expect(self._block, 3, skip=rest)

    def _block(self, header: int) -> None:
        kind, size = header >> 1 & 3, header >> 3
        if kind == _RESERVED_BLOCK:
            self._fault = f"the compressed data is damaged near byte {self._position:,}"
            return
        content = 1 if kind == _RLE_BLOCK else size
        if header & 1:
            self._complete_frames += 1
            self._expect(self._magic, 4, skip=content + (4 if self._has_checksum else 0))
        else:
            self._expect(self._block, 3, skip=content)
