"""What jobs left beside their files, in the catalogue: order, conditions, what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market, parse_internal
from trisignal_pipeline.query.files import catalogued_files
from trisignal_pipeline.storage import conditions
from trisignal_pipeline.storage.catalogue import coverage, refresh
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.sources.dbn_encoder import DAY, END
from trisignal_pipeline_tests.sources.job_files import (
    JOB,
    entry_of,
    write_conditions,
    write_manifest,
    write_metadata,
)
from trisignal_pipeline_tests.storage.raw_files import write_file
from trisignal_pipeline_tests.storage.stored_bars import all_rows

DATES = DateRange(DAY, DAY)
NQ = Market(parse_internal("GLBX.MDP3:NQ"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def write_job(raw: Path, folder: str, job_id: str, names: Iterable[str] = ("a.dbn",)) -> Path:
    """A folder that a job filled."""
    made = raw / folder
    made.mkdir()
    for name in names:
        write_file(made, name)
    write_manifest(made, job_id=job_id)
    write_metadata(made, job_id)
    return made


def order(connection: Connection, raw: Path) -> list[str]:
    """The files of the day, the one that is believed last."""
    files = coverage(connection, raw, NQ, DATES).files(DAY)
    return [str(file.path.relative_to(raw)) for file in files]


def listed(connection: Connection, raw: Path, **options: bool) -> dict[str, dict[str, Any]]:
    """What `trisignal files` lists, by file."""
    with connection.transaction():
        table = catalogued_files(connection, raw, **options)
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {row["file"]: row for row in rows}


def test_files_are_ordered_by_their_jobs_wherever_the_folder_lies(
    database: Database, connection: Connection, raw: Path, tmp_path: Path
) -> None:
    write_job(raw, "a", "GLBX-20240902-LATE")
    write_job(raw, "b", "GLBX-20240901-EARLY", ["z.dbn", "y.dbn"])
    write_job(raw, "c", "GLBX-20240902-LATE")
    write_file(raw, "zz.dbn")
    elsewhere = tmp_path / "another" / "place"
    shutil.copytree(raw, elsewhere)
    for number, path in enumerate(sorted(elsewhere.rglob("*.dbn"), reverse=True)):
        os.utime(path, ns=(number, number))

    refresh(database, elsewhere)
    refresh(database, raw)

    assert order(connection, raw) == ["zz.dbn", "b/y.dbn", "b/z.dbn", "a/a.dbn", "c/a.dbn"]
    assert order(connection, elsewhere) == order(connection, raw)


def test_a_manifest_that_comes_later_is_held_against_its_files(
    database: Database, connection: Connection, raw: Path
) -> None:
    path = write_file(raw, "a.dbn")
    other = raw / "other"
    other.mkdir()
    write_file(other, "b.dbn")
    refresh(database, raw)

    write_manifest(raw, [{**entry_of(path), "size": 5}])
    found = refresh(database, raw)
    assert (found.read, [file.path.name for file in found.refused]) == (1, ["a.dbn"])
    assert order(connection, raw) == ["other/b.dbn"]

    write_manifest(raw)
    found = refresh(database, raw)
    assert (found.read, found.refused) == (1, ())
    assert refresh(database, raw).read == 0
    assert order(connection, raw) == ["other/b.dbn", "a.dbn"]


def test_a_manifest_that_is_half_there_holds_its_files_back(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn")
    manifest = write_manifest(raw)
    whole = manifest.read_text()
    manifest.write_text(whole[:-20])
    [refused] = refresh(database, raw).refused
    assert str(refused.reason).startswith("manifest.json beside it can't be used")
    assert all_rows(database.url, "SELECT reason IS NULL FROM raw_deliveries") == [(False,)]

    manifest.write_text(whole)
    assert refresh(database, raw).refused == ()
    assert all_rows(database.url, "SELECT reason IS NULL FROM raw_deliveries") == [(True,)]


def test_conditions_are_kept_with_their_job(
    database: Database, connection: Connection, raw: Path
) -> None:
    folder = write_job(raw, "a", JOB)
    write_conditions(folder, d2024_06_17="degraded", d2024_06_18="available")
    refresh(database, raw)

    told = conditions.of_dates(connection, "GLBX.MDP3", DateRange(DAY, END))
    assert {day: one.condition for day, one in told.items()} == {
        DAY: "degraded",
        date(2024, 6, 18): "available",
    }
    assert all_rows(database.url, "SELECT DISTINCT origin FROM dataset_conditions") == [(JOB,)]


def test_conditions_without_metadata_are_of_the_dataset_of_the_files(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_conditions(raw, d2024_06_17="pending")
    refresh(database, raw)
    write_file(raw, "a.dbn", dataset="XEUR.EOBI")
    refresh(database, raw)

    [told] = conditions.of_dates(connection, "XEUR.EOBI", DATES).values()
    assert told.condition == "pending"


def test_deliveries_are_read_once_and_forgotten_when_they_go(database: Database, raw: Path) -> None:
    folder = write_job(raw, "a", JOB)
    refresh(database, raw)
    kept = all_rows(
        database.url, "SELECT folder, job_id, dataset, catalogued_at FROM raw_deliveries"
    )
    assert [row[:3] for row in kept] == [(str(folder), JOB, "GLBX.MDP3")]

    refresh(database, raw)
    again = all_rows(
        database.url, "SELECT folder, job_id, dataset, catalogued_at FROM raw_deliveries"
    )
    assert again == kept

    shutil.rmtree(folder)
    refresh(database, raw)
    assert all_rows(database.url, "SELECT FROM raw_deliveries") == []


def test_the_list_tells_what_each_file_is_good_for(
    database: Database, connection: Connection, raw: Path
) -> None:
    folder = write_job(raw, "job", JOB)
    write_manifest(folder, [entry_of(folder / "a.dbn"), {"filename": "b.dbn.zst", "size": 9}])
    write_file(folder, "extra.dbn")
    write_file(raw, "bad.dbn", schema="ohlcv-1d")
    write_file(raw, "foreign.dbn", dataset="XEUR.EOBI")
    write_file(raw, "lead.dbn", symbols=("NQ.v.0",), stype_in="continuous",
               mapping={"NQ.v.0": [(DAY, END, "1")]})  # fmt: skip
    write_file(raw, "next.dbn", symbols=("NQ.v.1",), stype_in="continuous",
               mapping={"NQ.v.1": [(DAY, END, "1")]})  # fmt: skip
    gone = write_file(raw, "gone.dbn")
    refresh(database, raw)
    gone.unlink()
    refresh(database, raw)

    found = listed(connection, raw)

    nq, nobody = ["GLBX.MDP3:NQ"], "it serves no registered symbol"
    assert {name: (row["verdict"], row["serves"]) for name, row in found.items()} == {
        "bad.dbn": ("refused", None),
        "foreign.dbn": ("verified", []),
        "gone.dbn": ("missing", None),
        "job/a.dbn": ("verified", nq),
        "job/b.dbn.zst": ("missing", None),
        "job/extra.dbn": ("verified", nq),
        "lead.dbn": ("verified", nq),
        "next.dbn": ("verified", []),
    }
    assert "ohlcv-1d" in found["bad.dbn"]["reason"]
    assert found["foreign.dbn"]["reason"] == found["next.dbn"]["reason"] == nobody
    assert found["gone.dbn"]["reason"] == "it was taken out of the folder, or renamed"
    assert "manifest.json lists it" in found["job/b.dbn.zst"]["reason"]
    assert found["job/extra.dbn"]["reason"] == "manifest.json beside it doesn't list it"
    assert (found["job/a.dbn"]["job"], found["job/a.dbn"]["records"]) == (JOB, 3)
    assert (found["job/a.dbn"]["bytes"], found["job/a.dbn"]["reason"]) == (
        (folder / "a.dbn").stat().st_size, None,
    )  # fmt: skip
    assert list(listed(connection, raw, refused_only=True)) == ["bad.dbn"]
