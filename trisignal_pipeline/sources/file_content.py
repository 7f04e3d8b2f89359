"""Reading the bytes of a file that somebody else may be writing, replacing or deleting."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from trisignal_pipeline.errors import ConfigurationError, FileChangedError, MissingFileError
from trisignal_pipeline.sources.records import DbnStream, is_zstd
from trisignal_pipeline.sources.zstd_frames import ZstdFrames

_SIGNATURE_BYTES = 12
_HASH_BYTES = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[tuple[FileIO, os.stat_result]]:
    """The regular file at `path` and its status, with the system's errors in our words.

    Raises:
        MissingFileError: it is gone.
        ConfigurationError: it isn't a regular file, or can't be read by this user.
    """
    try:
        # Opening a named pipe would wait for a writer that may never come.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{path} is not a file; take it out of the raw folder")
        with path.open("rb", buffering=0) as handle:
            yield handle, os.fstat(handle.fileno())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({error.strerror}); give the user who runs this permission to "
            "read it, or take it out of the raw folder"
        ) from error


def signature(handle: FileIO) -> bytes:
    """The bytes that tell what kind of file it is; `handle` is back at its start afterwards."""
    start = handle.read(_SIGNATURE_BYTES)
    handle.seek(0)
    return start


def require_unchanged(path: Path, size: int, mtime_ns: int) -> None:
    """Raise unless the file at `path` still has this size and time of writing.

    Raises:
        FileChangedError: it was written to or replaced.
        MissingFileError: it is gone.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    if (found.st_size, found.st_mtime_ns) != (size, mtime_ns):
        raise FileChangedError(
            f"{path} is not the file that was looked at: {size:,} bytes became "
            f"{found.st_size:,}, or it was written again; wait until nothing writes to it, then "
            "catalogue the raw folder again"
        )


def _missing(path: Path) -> MissingFileError:
    return MissingFileError(
        f"{path} is gone; put it back, or catalogue the raw folder again, which marks it as missing"
    )


class FileContent:
    """The bytes of a file, hashed and their compression followed as they are read."""

    def __init__(self, handle: FileIO) -> None:
        self._handle = handle
        self._sha256 = hashlib.sha256()
        self._frames: ZstdFrames | None = None

    def stream(self) -> DbnStream:
        """The file as DBN; may be asked for once, before anything is read."""
        compressed = is_zstd(signature(self._handle))
        if compressed:
            self._frames = ZstdFrames()
        return DbnStream(self, compressed=compressed)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        data = self._handle.read(size)
        self._sha256.update(data)
        if self._frames is not None:
            self._frames.feed(data)
        return data

    def finish(self) -> str:
        """Read what is left; the SHA-256 of the whole file."""
        while self.read(_HASH_BYTES):
            pass
        return self._sha256.hexdigest()

    def fault(self) -> str | None:
        """What is wrong with the compression, once everything was read."""
        return None if self._frames is None else self._frames.fault()
