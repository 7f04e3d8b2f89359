"""The raw folder: which files lie in it, and which of them have to be looked at again.

Nothing here opens a file. What a file is, its content tells, not its name; the name only decides
whether it is worth opening.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trisignal_pipeline.errors import ConfigurationError

_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart")

# A link that is broken or leads to itself, and a file that went away since it was listed.
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as the folder shows it: size in bytes, time of writing in ns since the epoch."""

    path: Path
    size: int
    mtime_ns: int


def candidate_files(raw_dir: Path) -> list[Path]:
    """Every file below `raw_dir` that looks like DBN by its name, in order of path.

    That is a name with `.dbn` in it, or one that ends in `.dbz` (to be refused with a reason, not
    passed over in silence). Hidden files and folders are left out, and so are names of downloads
    that aren't finished (`.part`, `.tmp`, ...). Links to folders are not followed, and links to
    files only where they stay inside `raw_dir`.

    Raises:
        ConfigurationError: `raw_dir`, or a folder below it, isn't there or can't be read; a name
            can't be written down.
    """
    try:
        if not stat.S_ISDIR(raw_dir.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(raw_dir))
        found = sorted(_candidates(raw_dir, raw_dir.resolve()))
    except OSError as error:
        place = error.filename or raw_dir
        raise ConfigurationError(
            f"the raw folder {raw_dir} can't be read: {place}: {error.strerror}; create it or give "
            "the user who runs this permission to read it, or name another one with "
            "TRISIGNAL_RAW_DIR"
        ) from error
    for path in found:
        _require_text(path)
    return found


def changed_files(paths: Iterable[Path], known: Mapping[Path, tuple[int, int]]) -> list[Seen]:
    """The files that are new, or differ from what is known of them, in the given order.

    `known` has the size and mtime_ns that each path was last inspected with. A file that went away
    since it was listed is left out.
    """
    changed = []
    for path in paths:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if known.get(path) != (found.st_size, found.st_mtime_ns):
            changed.append(Seen(path, found.st_size, found.st_mtime_ns))
    return changed


def _candidates(raw_dir: Path, root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(raw_dir, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if _looks_like_dbn(name) and _is_file_inside(path, root):
                yield path


def _looks_like_dbn(name: str) -> bool:
    lower = name.lower()
    if lower.startswith((".", "~")) or lower.endswith((*_UNFINISHED, "~")):
        return False
    return ".dbn" in lower or lower.endswith(".dbz")


def _is_file_inside(path: Path, root: Path) -> bool:
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return False
        raise


def _require_text(path: Path) -> None:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"the name of {os.fsencode(path)!r} in the raw folder is not UTF-8; rename it"
        ) from error


def _raise(error: OSError) -> None:
    raise error
