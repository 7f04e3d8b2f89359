"""A verdict on each of many files, whatever becomes of any one of them meanwhile.

Files lie where others write, replace and delete them. One that is being written gets no verdict on
its content, one that went away gets none at all, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trisignal_pipeline.errors import (
    ConfigurationError,
    FileChangedError,
    MissingFileError,
    RefusedFileError,
)
from trisignal_pipeline.market.dates import NS_PER_SECOND
from trisignal_pipeline.sources.batch_job import BatchJob, read_batch_job
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, inspect, refuse_unread
from trisignal_pipeline.sources.file_content import require_unchanged
from trisignal_pipeline.sources.raw_folder import Seen, is_text, is_there, job_folders

SETTLE_SECONDS = 3.0
"""How long a file must have stood still before its end is believed to be its end."""

NEVER_READ_NS = -1
"""The time of writing that stands for none: a file that couldn't be read is looked at every time,
since nothing about it tells when it can be."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A file's verdict, and what the job says of it that left something beside it.

    job_id   the job it came from, where one is known
    listed   whether a manifest vouches for it; None without a manifest
    beside   what lay beside it: another value, and the verdict may be another one
    """

    file: DbnFile | RefusedFile
    job_id: str | None
    listed: bool | None
    beside: str


def verify(
    seen: Iterable[Seen], folder: Path | None, settle_seconds: float = SETTLE_SECONDS
) -> Iterator[Verified]:
    """The verdicts on files, in the given order, those that have to settle last.

    A file that could go on, by its form, and that no manifest vouches for, must have stood still
    for `settle_seconds`: all such files are waited for at once, at the end. A file that is gone
    has no verdict.

    Args:
        seen: files as the folder showed them.
        folder: what they must not lead out of; None for files that may lie anywhere.
        settle_seconds: how long a file may take between two writes.
    """
    jobs: dict[Path, BatchJob] = {}
    unsettled: list[Verified] = []
    for one in seen:
        inspected = _inspect(one, folder)
        if inspected is None:
            continue
        job = jobs.get(one.path.parent)
        if job is None:
            job = jobs[one.path.parent] = read_batch_job(one.path.parent, folder)
        name = one.path.name
        verdict = Verified(job.judge(inspected), job.job_of(name), job.lists(name), one.beside)
        if _may_go_on(verdict) and _age_seconds(verdict) < settle_seconds:
            unsettled.append(verdict)
        else:
            yield verdict
    if unsettled:
        youngest = min(map(_age_seconds, unsettled))
        # A time of writing in the future tells no age.
        time.sleep(min(settle_seconds, settle_seconds - youngest))
    for verdict in unsettled:
        file = verdict.file
        try:
            require_unchanged(file.path, file.size, file.mtime_ns)
        except MissingFileError:
            continue
        except FileChangedError:
            yield replace(verdict, file=_being_written(file))
        else:
            yield verdict


def absent_files(folder: Path) -> list[Path]:
    """The DBN files that manifests below `folder` list and that aren't there."""
    listed = [
        each / name
        for each in job_folders(folder)
        for name in read_batch_job(each, folder).dbn_files
    ]
    return [path for path in listed if not is_there(path)]


def _inspect(seen: Seen, folder: Path | None) -> DbnFile | RefusedFile | None:
    if not is_text(seen.path):
        return refuse_unread(
            seen.path,
            seen.size,
            seen.mtime_ns,
            "its name, or that of a folder it lies in, is not UTF-8; rename it",
        )
    try:
        return inspect(seen.path, folder)
    except MissingFileError:
        return None
    except FileChangedError:
        return _being_written(seen)
    except RefusedFileError as error:
        return refuse_unread(seen.path, seen.size, seen.mtime_ns, str(error))
    except ConfigurationError as error:
        return refuse_unread(seen.path, seen.size, NEVER_READ_NS, str(error))


def _being_written(seen: Seen | DbnFile | RefusedFile) -> RefusedFile:
    # With the time of writing that is known: it is another one by now, so it is looked at again.
    return refuse_unread(
        seen.path,
        seen.size,
        seen.mtime_ns,
        "it is being written: it changed while it was looked at; catalogue the raw folder again "
        "when it is complete",
    )


def _may_go_on(verdict: Verified) -> bool:
    return isinstance(verdict.file, DbnFile) and not (verdict.file.is_closed or verdict.listed)


def _age_seconds(verdict: Verified) -> float:
    return (time.time_ns() - verdict.file.mtime_ns) / NS_PER_SECOND
