"""What a job of the vendor leaves beside its files: manifest, metadata, conditions of the days.

The manifest vouches for the files: how long each is, and its SHA-256. The metadata names the job,
and so fixes which of two files came later. What can't be read vouches for nothing: a copy that is
still under way looks the same, so the files beside it have to wait.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from trisignal_pipeline.errors import (
    ConfigurationError,
    FileChangedError,
    MissingFileError,
    RefusedFileError,
)
from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, refuse
from trisignal_pipeline.sources.file_content import opened
from trisignal_pipeline.sources.raw_folder import (
    CONDITIONS,
    MANIFEST,
    METADATA,
    beside,
    is_text,
    looks_like_dbn,
)

MOST_BYTES = 16 * 1024 * 1024
"""A manifest of 30 years in a file a day has some 3 MB."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_JOB_DATE = re.compile(r"(?<![0-9])[0-9]{8}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the manifest has it: bytes, and SHA-256 in hexadecimal, if that is its hash."""

    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class BatchJob:
    """What lies in one folder of the job that filled it.

    beside       sizes and times of writing of what was read; see `raw_folder.beside`
    files        the manifest's; None without a manifest
    conditions   of the days of `dataset`
    reason       what is wrong with it, if something is: the files beside it can't be believed
    """

    folder: Path
    beside: str
    job_id: str | None = None
    dataset: str | None = None
    files: Mapping[str, Listed] | None = None
    conditions: tuple[DayCondition, ...] = ()
    reason: str | None = None

    @property
    def dbn_files(self) -> list[str]:
        """The names of the DBN files that the manifest lists."""
        return sorted(name for name in self.files or () if looks_like_dbn(name))

    def lists(self, name: str) -> bool | None:
        """Whether the manifest lists the file of that name; None without a manifest."""
        return None if self.files is None else name in self.files

    def job_of(self, name: str) -> str | None:
        """The job that the file of that name came from: not this one, if the manifest omits it."""
        return None if self.lists(name) is False else self.job_id

    def judge(self, file: DbnFile | RefusedFile) -> DbnFile | RefusedFile:
        """`file`, refused if it isn't what the manifest lists, or if nobody can tell.

        One that was not even read stays refused for that.
        """
        if file.sha256 is None:
            return file
        reason = self.reason or self._disagreement(file)
        return file if reason is None else refuse(file, reason)

    def _disagreement(self, file: DbnFile | RefusedFile) -> str | None:
        listed = (self.files or {}).get(file.path.name)
        if listed is None:
            return None
        if file.size != listed.size:
            return (
                f"it has {file.size:,} bytes, but {MANIFEST} beside it says {listed.size:,}; wait "
                "until it is complete, or download it again"
            )
        if file.sha256 != (listed.sha256 or file.sha256):
            return (
                f"its SHA-256 is {file.sha256}, but {MANIFEST} beside it says {listed.sha256}; "
                "download it again"
            )
        return None


def read_batch_job(folder: Path, raw_dir: Path | None = None) -> BatchJob:
    """What a job left in `folder`; nothing of all that where no job left anything.

    With `raw_dir` nothing outside of it is read, wherever links lead.
    """
    # Before the reading: what changes meanwhile is another signature the next time.
    signature = beside(folder)
    if not is_text(folder):
        return BatchJob(folder, signature, reason="the name of its folder is not UTF-8; rename it")
    try:
        manifest = _json(folder / MANIFEST, raw_dir)
        metadata = _json(folder / METADATA, raw_dir)
        conditions = _json(folder / CONDITIONS, raw_dir)
        job_id, files = _manifest(manifest)
        metadata_job_id, dataset = _metadata(metadata)
        return BatchJob(
            folder,
            signature,
            job_id or metadata_job_id,
            dataset,
            files,
            _conditions(conditions),
        )
    except RefusedFileError as refusal:
        return BatchJob(folder, signature, reason=str(refusal))


def condition_of(entry: Any) -> DayCondition:
    """One day's condition as the vendor writes it, in a job's file and in an answer of its API.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is written in another way.
    """
    modified = entry.get("last_modified_date")
    return DayCondition(
        date.fromisoformat(entry["date"]),
        _word(entry["condition"]),
        None if modified is None else date.fromisoformat(modified),
    )


def delivery_order(job_id: str | None, relative: Path) -> tuple[str, str, str, str]:
    """What files are sorted by: of two that disagree the later one is believed.

    By the job's date and id (files without a job first), then by name, then by folder, as the
    files themselves have it: neither where the raw folder lies nor when they arrived matters.
    """
    dated = _JOB_DATE.search(job_id or "")
    return (dated.group() if dated else "", job_id or "", relative.name, str(relative))


def _json(path: Path, raw_dir: Path | None) -> Any:
    """What is written in the file at `path`; None if there is none.

    Raises:
        RefusedFileError: it can't be read.
    """
    try:
        decoded = json.loads(_content(path, raw_dir))
    except MissingFileError:
        return None
    except (ValueError, RecursionError) as error:
        raise _unusable(path.name, f"it is no JSON: {error}") from error
    except (RefusedFileError, ConfigurationError, FileChangedError) as error:
        raise _unusable(path.name, str(error)) from error
    if decoded is None:
        raise _unusable(path.name, "it holds nothing")
    return decoded


def _content(path: Path, raw_dir: Path | None) -> bytes:
    with opened(path, raw_dir) as (handle, found):
        if found.st_size > MOST_BYTES:
            raise RefusedFileError(f"{found.st_size:,} bytes are more than any job writes")
        return handle.read(MOST_BYTES)


def _manifest(manifest: Any) -> tuple[str | None, Mapping[str, Listed] | None]:
    if manifest is None:
        return None, None
    try:
        files = {_file_name(entry): _listed(entry) for entry in manifest["files"]}
        return _job_id(manifest), files
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(MANIFEST, "it doesn't list files with their sizes") from error


def _file_name(entry: Any) -> str:
    name = entry["filename"]
    if not name.isprintable() or Path(name).name != name:
        raise ValueError(name)
    return str(name)


def _listed(entry: Any) -> Listed:
    size = entry["size"]
    if type(size) is not int or size < 0:
        raise ValueError(size)
    algorithm, _, digest = str(entry.get("hash")).partition(":")
    if algorithm != "sha256":
        return Listed(size, None)
    if _SHA256.fullmatch(digest) is None:
        raise ValueError(digest)
    return Listed(size, digest)


def _metadata(metadata: Any) -> tuple[str | None, str | None]:
    if metadata is None:
        return None, None
    try:
        dataset = (metadata.get("query") or {}).get("dataset")
        return _job_id(metadata), None if dataset is None else _word(dataset)
    except (TypeError, ValueError, AttributeError) as error:
        raise _unusable(METADATA, "it doesn't describe a job") from error


def _job_id(described: Any) -> str | None:
    job_id = described.get("job_id")
    return None if job_id is None else _word(job_id)


def _word(value: Any) -> str:
    if _WORD.fullmatch(value) is None:
        raise ValueError(value)
    return str(value)


def _conditions(conditions: Any) -> tuple[DayCondition, ...]:
    try:
        return () if conditions is None else tuple(map(condition_of, conditions))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(CONDITIONS, "it doesn't list dates with their condition") from error


def _unusable(name: str, what: str) -> RefusedFileError:
    return RefusedFileError(
        f"{name} beside it can't be used: {what}; wait until it is complete, download it again, or "
        "take it out of the folder"
    )
