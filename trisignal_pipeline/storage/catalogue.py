"""The catalogue of raw files: what each one holds, and which of them can be used for a date.

A file is read once, when it is new, and again only if it changed. One that left the raw folder
stays in the catalogue: what it traded still tells later dates which contract leads, as long as no
other file holds those dates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from trisignal_pipeline.market.contracts import root_of
from trisignal_pipeline.market.dates import DateRange, utc
from trisignal_pipeline.market.lead_contract import Traded
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.sources.batch_job import BatchJob, delivery_order, read_batch_job
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile
from trisignal_pipeline.sources.raw_folder import (
    Seen,
    as_written,
    beside,
    candidate_files,
    changed_files,
    is_there,
    job_folders,
)
from trisignal_pipeline.sources.verification import SETTLE_SECONDS, Verified, verify
from trisignal_pipeline.storage import conditions
from trisignal_pipeline.storage.connection import Connection, Database, rows, scalar
from trisignal_pipeline.storage.locks import catalogue_lock


@dataclass(frozen=True, slots=True)
class CataloguedFile:
    """A file of the raw folder with its verdict; `reason` is None for a verified one.

    `promised` are the dates it was made to hold; None where that can't be told. `folder` is the raw
    folder, out of which `path` must not lead when it is opened. `in_time_order` is False for a file
    that was verified before anybody looked at the order of its bars.
    """

    id: int
    path: Path
    size: int
    mtime_ns: int
    sha256: str
    reason: str | None
    promised: DateRange | None
    folder: Path
    in_time_order: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which files of the raw folder can serve a market on each date of a range."""

    verified: tuple[CataloguedFile, ...] = ()
    refused: tuple[CataloguedFile, ...] = ()

    def files(self, day: date) -> list[CataloguedFile]:
        """Verified files that cover `day`, in the order in which later ones overrule earlier."""
        return [file for file in self.verified if _promises(file, day)]

    def refusals(self, day: date) -> list[CataloguedFile]:
        """Refused files that were to cover `day`, or might have been: nobody can tell."""
        return [file for file in self.refused if file.promised is None or _promises(file, day)]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a look at the raw folder found."""

    files: int
    read: int
    refused: tuple[CataloguedFile, ...]


def refresh(database: Database, raw_dir: Path, settle_seconds: float = SETTLE_SECONDS) -> Refreshed:
    """Bring the catalogue up to date with `raw_dir`: read what is new or changed, nothing else.

    A file that is being written is refused for that, and looked at again the next time; a file
    without a form that shows its end is given `settle_seconds` to be seen to stand still.

    Raises:
        ConfigurationError: the folder can't be read.
    """
    with catalogue_lock(database), database.connect("catalogue", autocommit=True) as connection:
        paths = candidate_files(raw_dir)
        changed = _unread(connection, paths)
        # Reading a large file takes long: no transaction is held open meanwhile.
        for verified in verify(changed, raw_dir, settle_seconds):
            with connection.transaction():
                _record(connection, verified)
        _record_deliveries(connection, raw_dir)
        # One that went away meanwhile is missing now, not the next time.
        paths = [path for path in paths if is_there(path)]
        connection.execute(
            """
            UPDATE raw_files SET missing_since = CASE WHEN path = ANY(%(paths)s) THEN NULL
                                                      ELSE coalesce(missing_since, now()) END
            WHERE starts_with(path, %(folder)s)
              AND (missing_since IS NULL) <> (path = ANY(%(paths)s))
            """,
            {"paths": [str(as_written(path)) for path in paths], "folder": f"{raw_dir}/"},
        )
        return Refreshed(len(paths), len(changed), tuple(refused_files(connection, raw_dir)))


def unread_files(connection: Connection, raw_dir: Path) -> list[Seen]:
    """What `refresh` would read: files that are new or changed. Looks at them, opens none.

    Raises:
        ConfigurationError: the folder can't be read.
    """
    return _unread(connection, candidate_files(raw_dir))


def coverage(connection: Connection, raw_dir: Path, market: Market, dates: DateRange) -> Coverage:
    """The files of `raw_dir` made to hold `market` on any of `dates`.

    A file of a continuous symbol serves only the market whose roll rule and rank it follows. Files
    of later jobs come later, see `delivery_order`: where two disagree, the later one is believed.
    """
    found = rows(
        connection,
        """
        SELECT * FROM raw_files
        WHERE starts_with(path, %(folder)s) AND missing_since IS NULL
          AND coalesce(start_ts < %(end)s, true) AND coalesce(end_ts > %(start)s, true)
        """,
        folder=f"{raw_dir}/",
        start=utc(dates.start_ns),
        end=utc(dates.end_ns),
    )
    found.sort(key=lambda row: delivery_order(row["job_id"], _relative(row, raw_dir)))
    files = [(row, _file(row, raw_dir)) for row in found]
    return Coverage(
        verified=tuple(file for row, file in files if file.reason is None and _serves(row, market)),
        refused=tuple(
            file
            for row, file in files
            if file.reason is not None and (not row["roots"] or market.symbol.root in row["roots"])
        ),
    )


def traded(
    connection: Connection, raw_dir: Path, market: Market, dates: DateRange | None = None
) -> list[Traded]:
    """What every catalogued file knows of the market's instruments, on `dates` or on all dates.

    Files that left the folder count on the dates no other file holds.
    """
    found = connection.execute(
        """
        WITH known AS (
            SELECT c.*, f.missing_since IS NULL AS present
            FROM raw_file_contracts c JOIN raw_files f ON f.id = c.file_id
            WHERE c.root = %(root)s AND f.dataset = %(dataset)s AND f.verdict = 'verified'
              AND starts_with(f.path, %(folder)s)
              AND c.date BETWEEN coalesce(%(first)s, '-infinity'::date)
                             AND coalesce(%(last)s, 'infinity'::date)
        )
        SELECT date, contract, volume, (extract(epoch FROM first_ts) * 1000000000)::bigint,
               (extract(epoch FROM last_ts) * 1000000000)::bigint, continuous
        FROM known k
        WHERE present OR NOT EXISTS (SELECT FROM known p WHERE p.date = k.date AND p.present)
        """,
        {
            "root": market.symbol.root,
            "dataset": market.symbol.dataset,
            "folder": f"{raw_dir}/",
            "first": dates.start if dates else None,
            "last": dates.end if dates else None,
        },
    )
    return [Traded(*row) for row in found]


def refused_files(connection: Connection, raw_dir: Path) -> list[CataloguedFile]:
    """Every file of `raw_dir` that can't be used, with its reason, in order of path."""
    found = rows(
        connection,
        """
        SELECT * FROM raw_files
        WHERE verdict = 'refused' AND missing_since IS NULL AND starts_with(path, %s) ORDER BY path
        """,
        f"{raw_dir}/",
    )
    return [_file(row, raw_dir) for row in found]


def _unread(connection: Connection, paths: Iterable[Path]) -> list[Seen]:
    known = {
        Path(row["path"]): (row["size_bytes"], row["mtime_ns"], row["beside"])
        for row in rows(connection, "SELECT path, size_bytes, mtime_ns, beside FROM raw_files")
    }
    return changed_files(paths, known)


def _record(connection: Connection, looked_into: Verified) -> None:
    inspected = looked_into.file
    verified = inspected if isinstance(inspected, DbnFile) else None
    refused = inspected if isinstance(inspected, RefusedFile) else None
    start_ns, end_ns = inspected.start_ns, inspected.end_ns
    if refused is not None and refused.name_dates is not None:
        start_ns, end_ns = refused.name_dates.start_ns, refused.name_dates.end_ns
    path = str(as_written(inspected.path))
    connection.execute("DELETE FROM raw_files WHERE path = %s", (path,))
    file_id = scalar(
        connection,
        """
        INSERT INTO raw_files (path, size_bytes, mtime_ns, sha256, verdict, reason, dataset, schema,
            stype_in, dbn_version, start_ts, end_ts, first_ts, last_ts, in_time_order,
            record_count, symbols, roots, job_id, listed, beside)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
                %s)
        RETURNING id
        """,
        path,
        inspected.size,
        inspected.mtime_ns,
        inspected.sha256,
        "refused" if refused else "verified",
        refused.reason if refused else None,
        inspected.dataset,
        inspected.schema,
        inspected.stype_in,
        inspected.dbn_version,
        _moment(start_ns),
        _moment(None if end_ns is None else end_ns + _ROUNDED_UP_NS),
        _moment(verified.first_ns) if verified else None,
        _moment(verified.last_ns) if verified else None,
        verified.in_time_order if verified else None,
        verified.record_count if verified else None,
        list(inspected.symbols),
        _roots(inspected),
        looked_into.job_id,
        looked_into.listed,
        looked_into.beside,
    )
    if verified is not None:
        _record_days(connection, file_id, verified)


def _record_days(connection: Connection, file_id: int, file: DbnFile) -> None:
    connection.execute(
        """
        INSERT INTO raw_file_contracts (file_id, date, root, contract, continuous, volume,
            bar_count, first_ts, last_ts)
        SELECT %s, d.* FROM unnest(%s::date[], %s::text[], %s::text[], %s::text[], %s::bigint[],
            %s::int[], %s::timestamptz[], %s::timestamptz[]) AS d
        """,
        (
            file_id,
            [day.date for day in file.days],
            [day.root for day in file.days],
            [day.contract for day in file.days],
            [day.continuous for day in file.days],
            [day.volume for day in file.days],
            [day.bar_count for day in file.days],
            [utc(day.first_ns) for day in file.days],
            [utc(day.last_ns) for day in file.days],
        ),
    )


def _record_deliveries(connection: Connection, raw_dir: Path) -> None:
    """Keep what jobs left in the folders, after the files beside it: a crash repeats it.

    What nobody can tell the dataset of yet is read every time: files may come that tell.
    """
    known = {
        Path(row["folder"]): (row["beside"], row["dataset"] is not None)
        for row in rows(connection, "SELECT folder, beside, dataset FROM raw_deliveries")
        if Path(row["folder"]).is_relative_to(raw_dir)
    }
    folders = job_folders(raw_dir)
    for folder in folders:
        if known.get(as_written(folder)) != (beside(folder), True):
            with connection.transaction():
                _record_delivery(connection, read_batch_job(folder, raw_dir), raw_dir)
    connection.execute(
        "DELETE FROM raw_deliveries WHERE folder = ANY(%s)",
        ([str(folder) for folder in known.keys() - set(map(as_written, folders))],),
    )


def _record_delivery(connection: Connection, job: BatchJob, raw_dir: Path) -> None:
    folder = as_written(job.folder)
    dataset = job.dataset or _only_dataset(connection, folder)
    connection.execute(
        """
        INSERT INTO raw_deliveries (folder, beside, job_id, dataset, reason, listed)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (folder) DO UPDATE SET beside = excluded.beside, job_id = excluded.job_id,
            dataset = excluded.dataset, reason = excluded.reason, listed = excluded.listed,
            catalogued_at = now()
        """,
        (str(folder), job.beside, job.job_id, dataset, job.reason, job.dbn_files),
    )
    if job.conditions and dataset is not None:
        origin = job.job_id or str(folder.relative_to(raw_dir))
        conditions.record(connection, dataset, job.conditions, origin)


def _only_dataset(connection: Connection, folder: Path) -> str | None:
    """The dataset of the files in `folder`, where no metadata.json names it and they agree."""
    found = {
        row["dataset"]
        for row in rows(
            connection,
            "SELECT path, dataset FROM raw_files WHERE verdict = 'verified' "
            "AND starts_with(path, %s)",
            f"{folder}/",
        )
        if Path(row["path"]).parent == folder
    }
    return found.pop() if len(found) == 1 else None


def _relative(row: dict[str, Any], raw_dir: Path) -> Path:
    return Path(row["path"]).relative_to(raw_dir)


def _file(row: dict[str, Any], raw_dir: Path) -> CataloguedFile:
    return CataloguedFile(
        row["id"],
        Path(row["path"]),
        row["size_bytes"],
        row["mtime_ns"],
        row["sha256"],
        row["reason"],
        _promised(row),
        raw_dir,
        bool(row["in_time_order"]),
    )


def _promised(row: dict[str, Any]) -> DateRange | None:
    """The dates a file was made to hold, by its header or, where that is broken, by its name."""
    if row["start_ts"] is None:
        return None
    end = row["end_ts"] or row["last_ts"]
    if end is None or end <= row["start_ts"]:
        return DateRange(row["start_ts"].date(), row["start_ts"].date())
    # The end is excluded: one that falls on midnight ends the date before.
    last = end - timedelta(microseconds=1) if row["end_ts"] else end
    return DateRange(row["start_ts"].date(), last.date())


def _promises(file: CataloguedFile, day: date) -> bool:
    return file.promised is not None and day in file.promised


def _serves(row: dict[str, Any], market: Market) -> bool:
    if row["dataset"] != market.symbol.dataset or market.symbol.root not in row["roots"]:
        return False
    return row["stype_in"] != "continuous" or market.continuous in row["symbols"]


def _roots(inspected: DbnFile | RefusedFile) -> list[str]:
    asked_for = {root_of(symbol) for symbol in inspected.symbols}
    return sorted({*inspected.roots, *(root for root in asked_for if root is not None)})


# The database's clock ticks in microseconds: an end that lies between two must not come earlier.
_ROUNDED_UP_NS = 999


def _moment(ts_ns: int | None) -> datetime | None:
    return None if ts_ns is None else utc(ts_ns)
