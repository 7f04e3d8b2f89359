"""The raw folder: which files lie in it, and which of them have to be looked at again.

Nothing here opens a file. What a file is, its content tells, not its name; the name only decides
whether it is worth opening.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trisignal_pipeline.errors import ConfigurationError

MANIFEST, METADATA, CONDITIONS = "manifest.json", "metadata.json", "condition.json"
"""What a job of the vendor leaves beside its files."""

_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart")

# A link that is broken or leads to itself, and a file that went away since it was listed.
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as the folder shows it: size in bytes, time of writing in ns since the epoch.

    `beside` stands for what a job of the vendor left in the same folder.
    """

    path: Path
    size: int
    mtime_ns: int
    beside: str = ""


def candidate_files(raw_dir: Path) -> list[Path]:
    """Every file below `raw_dir` that looks like DBN by its name, in order of path.

    That is a name with `.dbn` in it, or one that ends in `.dbz` (to be refused with a reason, not
    passed over in silence). Hidden files and folders are left out, and so are names of downloads
    that aren't finished (`.part`, `.tmp`, ...). Links to folders are not followed. Links that lead
    out of `raw_dir` are listed, those to folders as well: to be refused.

    Raises:
        ConfigurationError: `raw_dir`, or a folder below it, isn't there or can't be read; its own
            name can't be written down.
    """
    if not is_text(raw_dir):
        raise ConfigurationError(
            f"the name of the raw folder {as_written(raw_dir)} is not UTF-8; rename it, or name "
            "another one with TRISIGNAL_RAW_DIR"
        )
    with _readable(raw_dir):
        return sorted(_candidates(raw_dir, raw_dir.resolve()))


def job_folders(raw_dir: Path) -> list[Path]:
    """`raw_dir` and the folders below it in which a job of the vendor left something.

    Raises:
        ConfigurationError: as `candidate_files` does.
    """
    with _readable(raw_dir):
        return sorted(folder for folder, _, _ in _folders(raw_dir) if beside(folder))


def beside(folder: Path) -> str:
    """What a job of the vendor left in `folder`, by size and time of writing; empty if nothing."""
    seen = []
    for name in (MANIFEST, METADATA, CONDITIONS):
        try:
            found = (folder / name).stat()
        except OSError:
            continue
        seen.append(f"{name} {found.st_size} {found.st_mtime_ns}")
    return ", ".join(seen)


def changed_files(paths: Iterable[Path], known: Mapping[Path, tuple[int, int, str]]) -> list[Seen]:
    """The files that are new, or differ from what is known of them, in the given order.

    `known` has the size, the mtime_ns and `beside` that each path, as it is written, was last
    inspected with. A file that went away since it was listed is left out.
    """
    left_in: dict[Path, str] = {}
    changed = []
    for path in paths:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            # A link to where this user may not look: there is still the link to be refused.
            found = path.lstat()
        if path.parent not in left_in:
            left_in[path.parent] = beside(path.parent)
        seen = Seen(path, found.st_size, found.st_mtime_ns, left_in[path.parent])
        if known.get(as_written(path)) != (seen.size, seen.mtime_ns, seen.beside):
            changed.append(seen)
    return changed


def is_there(path: Path) -> bool:
    """Whether something has that name: a link counts, wherever it leads."""
    return os.path.lexists(path)


@contextmanager
def _readable(raw_dir: Path) -> Iterator[None]:
    try:
        if not stat.S_ISDIR(raw_dir.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(raw_dir))
        yield
    except OSError as error:
        place = as_written(Path(error.filename or raw_dir))
        raise ConfigurationError(
            f"the raw folder {raw_dir} can't be read: {place}: {error.strerror}; create it or give "
            "the user who runs this permission to read it, or name another one with "
            "TRISIGNAL_RAW_DIR"
        ) from error


def _folders(raw_dir: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder that isn't hidden, with the folders and the other names in it."""
    for folder, subfolders, names in os.walk(raw_dir, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield Path(folder), subfolders, names


def _candidates(raw_dir: Path, root: Path) -> Iterator[Path]:
    for folder, subfolders, names in _folders(raw_dir):
        for name in names:
            path = folder / name
            if looks_like_dbn(name) and (_leads_out(path, root) or _is_file(path)):
                yield path
        yield from (folder / name for name in subfolders if _leads_out(folder / name, root))


def looks_like_dbn(name: str) -> bool:
    """Whether a file of this name is worth opening."""
    lower = name.lower()
    if lower.startswith((".", "~")) or lower.endswith((*_UNFINISHED, "~")):
        return False
    return ".dbn" in lower or lower.endswith(".dbz")


def as_written(path: Path) -> Path:
    """`path` as text can hold it: each byte that isn't UTF-8 becomes four characters, `\\xff`."""
    return Path(os.fsencode(path).decode(errors="backslashreplace"))


def is_text(path: Path) -> bool:
    """Whether `path` can be written down as it is."""
    return as_written(path) == path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether what `path` leads to, wherever links point, lies below `folder`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _leads_out(path: Path, root: Path) -> bool:
    return path.is_symlink() and not is_inside(path, root)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return False
        raise


def _raise(error: OSError) -> None:
    raise error
