"""Downloads as folders of their own, laid out as the vendor's batch jobs are.

A job is made in a hidden folder beside the others and takes its place when its file is verified, in
one step: nobody sees half of one. What a process that was killed left there is completed if its
file turns out to be whole, so that what was paid for isn't bought again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trisignal_pipeline.errors import ConfigurationError, MissingFileError, WrongDeliveryError
from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.market.dates import DateRange, date_of_ns, utc
from trisignal_pipeline.sources.databento_api import STYPE_IN, Order
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, inspect
from trisignal_pipeline.sources.raw_folder import CONDITIONS, MANIFEST, METADATA
from trisignal_pipeline.sources.records import SCHEMA

_UNFINISHED, _REFUSED, _LOCK = ".unfinished", ".refused", ".lock"


@dataclass(frozen=True, slots=True)
class Job:
    """One download. Ids of one dataset sort by the time they were given at.

    folder   where the job's files are, at the moment
    """

    id: str
    order: Order
    folder: Path

    @property
    def path(self) -> Path:
        """The file of bars."""
        order = self.order
        parts = (*order.dataset.split("."), *order.symbol.split("."))
        first, last = f"{order.dates.start:%Y%m%d}", f"{order.dates.end:%Y%m%d}"
        return self.folder / f"{'-'.join(parts).lower()}-{first}-{last}.{SCHEMA}.dbn.zst"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep every other process out of the jobs of `folder`, which is made; waits as long as needed.

    The lock is the file system's and ends with the process.

    Raises:
        ConfigurationError: something there can't be written, now or later in the block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ConfigurationError(
            f"downloads can't be written to {folder} ({error.strerror}); make room for them, or "
            "let the user who runs this write there, or name another place with TRISIGNAL_RAW_DIR "
            "or TRISIGNAL_API_DIR; what came whole is not bought again"
        ) from error


def begin(folder: Path, order: Order, conditions: Sequence[DayCondition]) -> Job:
    """A job that is still hidden, with what is known before its download.

    `conditions` are those of the order's days; others are left out.
    """
    now = datetime.now(UTC)
    job_id = f"{order.dataset.partition('.')[0]}-{now:%Y%m%d-%H%M%S%f}"
    job = Job(job_id, order, folder / _UNFINISHED / job_id)
    job.folder.mkdir(parents=True)
    _write(job.folder / METADATA, {"version": 1, "job_id": job_id, "query": _query(order)})
    _write(
        job.folder / CONDITIONS,
        [
            {
                "date": str(one.day),
                "condition": one.condition,
                "last_modified_date": str(one.last_modified) if one.last_modified else None,
            }
            for one in conditions
            if one.day in order.dates
        ],
    )
    return job


def keep(folder: Path, job: Job, *, may_be_empty: bool) -> DbnFile:
    """Verify what `job` downloaded and give it its place in `folder`.

    `may_be_empty`: if the market didn't trade on the order's dates, or nothing was paid. A file
    that isn't what was ordered is kept apart, hidden, as evidence.

    Raises:
        WrongDeliveryError: it isn't what was ordered; the message says in what, and where it is.
    """
    file = inspect(job.path)
    faults = [file.reason] if isinstance(file, RefusedFile) else _strange_in(file, job.order)
    if not faults and isinstance(file, DbnFile) and (file.record_count or may_be_empty):
        _place(folder, job)
        return file
    apart = folder / _REFUSED / job.id
    apart.parent.mkdir(exist_ok=True)
    job.folder.rename(apart)
    told = "; ".join(faults) or "it holds no bars, though the market traded and they have a price"
    raise WrongDeliveryError(
        f"what Databento sent for {job.order} is not what was ordered: {told}; it is kept in "
        f"{apart} and not used; run the same again, or ask Databento"
    )


def discard(job: Job) -> None:
    """Delete a job that came to nothing."""
    shutil.rmtree(job.folder, ignore_errors=True)


def complete_unfinished(folder: Path) -> list[Job]:
    """Keep the hidden jobs whose files are whole and discard the others; returns those kept.

    Call it `alone_in` the folder: another process's download looks just like one that was killed.
    """
    completed = []
    for job in _jobs(folder / _UNFINISHED):
        with suppress(MissingFileError):
            file = inspect(job.path)
            if isinstance(file, DbnFile) and file.record_count and not _strange_in(file, job.order):
                _place(folder, job)
                completed.append(job)
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    return completed


def kept_jobs(folder: Path, dataset: str, symbol: str) -> list[Job]:
    """The jobs of `folder` that bought `symbol` of `dataset`, in order of their ids."""
    wanted = (dataset, symbol)
    return [job for job in _jobs(folder) if (job.order.dataset, job.order.symbol) == wanted]


def lend(job: Job, folder: Path) -> None:
    """Let `folder` have `job` as well: its files linked where one file system holds both."""
    hidden = folder / _UNFINISHED / job.id
    shutil.copytree(job.folder, hidden, copy_function=_link)
    hidden.rename(folder / job.id)
    _to_disk(folder)


def _strange_in(file: DbnFile, order: Order) -> list[str]:
    """In what a verified file differs from what was ordered."""
    told = [
        ("dataset", file.dataset, order.dataset),
        ("symbology", file.stype_in, STYPE_IN),
        ("symbol", ", ".join(file.symbols), order.symbol),
        ("start", utc(file.start_ns), utc(order.dates.start_ns)),
        ("end", file.end_ns and utc(file.end_ns), utc(order.dates.end_ns)),
    ]
    strange = [f"its {what} is {held}, not {due}" for what, held, due in told if held != due]
    others = {day.continuous or day.contract for day in file.days} - {order.symbol}
    if others:
        strange.append(f"it holds bars of {', '.join(sorted(others))}")
    return strange


def _place(folder: Path, job: Job) -> None:
    listed = [job.path, job.folder / METADATA, job.folder / CONDITIONS]
    described = [_described(path) for path in listed]
    _write(job.folder / MANIFEST, {"job_id": job.id, "files": described})
    for path in (*listed, job.folder / MANIFEST, job.folder):
        _to_disk(path)
    job.folder.rename(folder / job.id)
    _to_disk(folder)


def _jobs(folder: Path) -> Iterator[Job]:
    for path in sorted(folder.glob(f"*/{METADATA}")):
        # Not every folder is one of ours, nor every metadata.json what we would have written.
        with suppress(OSError, ValueError, KeyError, TypeError):
            metadata = json.loads(path.read_bytes())
            query = metadata["query"]
            [symbol] = query["symbols"]
            start, end = date_of_ns(query["start"]), date_of_ns(query["end"] - 1)
            order = Order(query["dataset"], symbol, DateRange(start, end))
            if query == _query(order) and metadata["job_id"] == path.parent.name:
                yield Job(metadata["job_id"], order, path.parent)


def _query(order: Order) -> dict[str, Any]:
    return {
        "dataset": order.dataset,
        "schema": SCHEMA,
        "symbols": [order.symbol],
        "stype_in": STYPE_IN,
        "stype_out": "instrument_id",
        "start": order.dates.start_ns,
        "end": order.dates.end_ns,
        "encoding": "dbn",
        "compression": "zstd",
    }


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"filename": path.name, "size": len(content), "hash": f"sha256:{digest}", "urls": {}}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
