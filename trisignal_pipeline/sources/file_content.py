"""Reading the bytes of a file that somebody else may be writing, replacing or deleting."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from trisignal_pipeline.errors import (
    ConfigurationError,
    FileChangedError,
    MissingFileError,
    RefusedFileError,
)
from trisignal_pipeline.sources.raw_folder import is_inside
from trisignal_pipeline.sources.records import DbnStream, is_zstd
from trisignal_pipeline.sources.zstd_frames import ZstdFrames

_SIGNATURE_BYTES = 12
_HASH_BYTES = 1 << 20


@contextmanager
def opened(path: Path, folder: Path | None = None) -> Iterator[tuple[FileIO, os.stat_result]]:
    """The regular file at `path` and its status, with the system's errors in our words.

    What is opened lies below `folder`, wherever `path` or links on its way lead.

    Raises:
        MissingFileError: it is gone.
        ConfigurationError: it isn't a regular file, or can't be read by this user.
        RefusedFileError: it lies outside of `folder`.
    """
    try:
        _require_inside(path, folder)
        with FileIO(path, "rb", opener=_open_at_once) as handle:
            found = os.fstat(handle.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigurationError(f"{path} is not a file; take it out of the raw folder")
            # The name may have come to lead elsewhere before it was opened.
            _require_inside(path, folder)
            if not os.path.samestat(found, path.stat()):
                raise _changed(path)
            yield handle, found
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
        raise _changed(path)


def _require_inside(path: Path, folder: Path | None) -> None:
    if folder is not None and not is_inside(path, folder):
        raise RefusedFileError(
            "it leads out of the raw folder, by a link or by '..', and is not followed; put the "
            "file itself there, or name the folder it lies in with TRISIGNAL_RAW_DIR"
        )


def _open_at_once(path: str, flags: int) -> int:
    # Opening a named pipe would wait for a writer that may never come.
    return os.open(path, flags | os.O_NONBLOCK)


def _changed(path: Path) -> FileChangedError:
    return FileChangedError(
        f"{path} is not the file that was looked at: it was written to, or replaced; wait until "
        "nothing writes to it, then catalogue the raw folder again"
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

    @property
    def is_closed(self) -> bool:
        """Whether nothing can follow what was read, by its form: it is one whole zstd frame.

        What isn't compressed, or in frames of its own, looks the same when it is half written.
        """
        return self._frames is not None and self._frames.complete_frames == 1

    def fault(self) -> str | None:
        """What is wrong with the compression, once everything was read."""
        return None if self._frames is None else self._frames.fault()
