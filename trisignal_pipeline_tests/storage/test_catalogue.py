"""The catalogue: files are read once, refused for a reason, and remembered when they are gone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market, parse_internal
from trisignal_pipeline.sources import dbn_file, verification
from trisignal_pipeline.storage.catalogue import coverage, refresh, traded
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.sources.dbn_encoder import DAY, MIDNIGHT, encode, records, write
from trisignal_pipeline_tests.sources.job_files import write_manifest
from trisignal_pipeline_tests.storage.raw_files import file_names, write_file
from trisignal_pipeline_tests.storage.stored_bars import all_rows, one_row

DATES = DateRange(DAY, DAY + timedelta(days=2))
NQ = Market(parse_internal("GLBX.MDP3:NQ"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened from now on."""
    names: list[str] = []

    def inspect(path: Path, folder: Path | None) -> dbn_file.DbnFile | dbn_file.RefusedFile:
        names.append(path.name)
        return dbn_file.inspect(path, folder)

    monkeypatch.setattr(verification, "inspect", inspect)
    return names


def test_a_file_is_read_once(database: Database, raw: Path, inspected: list[str]) -> None:
    write_file(raw, "a.dbn")
    write_file(raw, "b.dbn.zst")

    first, second = refresh(database, raw), refresh(database, raw)

    assert inspected == ["a.dbn", "b.dbn.zst"]
    assert (first.files, first.read, first.refused) == (2, 2, ())
    assert (second.files, second.read, second.refused) == (2, 0, ())


def test_what_is_known_of_a_file_is_kept(database: Database, raw: Path) -> None:
    path = write_file(raw, "a.dbn", version=2)
    refresh(database, raw)

    found = path.stat()
    assert one_row(
        database.url,
        "SELECT path, size_bytes, mtime_ns, length(sha256), verdict, reason, dataset, schema, "
        "stype_in, dbn_version, record_count, symbols, roots, missing_since, "
        "(extract(epoch FROM start_ts) * 1000000000)::bigint, "
        "(extract(epoch FROM last_ts) * 1000000000)::bigint FROM raw_files",
    ) == (
        str(path), found.st_size, found.st_mtime_ns, 64, "verified", None, "GLBX.MDP3", "ohlcv-1m",
        "raw_symbol", 2, 3, ["NQM4"], ["NQ"], None, MIDNIGHT, MIDNIGHT + 2 * 60 * 10**9,
    )  # fmt: skip
    assert all_rows(
        database.url,
        "SELECT date, root, contract, continuous, volume, bar_count FROM raw_file_contracts",
    ) == [(DAY, "NQ", "NQM4", None, 30, 3)]


@pytest.mark.parametrize("change", ["size", "mtime"])
def test_a_file_that_changed_is_read_again(
    database: Database, raw: Path, inspected: list[str], change: str
) -> None:
    path = write_file(raw, "a.dbn")
    write_file(raw, "b.dbn")
    refresh(database, raw)
    before = path.stat()

    if change == "size":
        write_file(raw, "a.dbn", records([0, 1, 2, 3]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        write_file(raw, "a.dbn", records([0, 1, 2], volume=20))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    again = refresh(database, raw)

    assert inspected == ["a.dbn", "b.dbn", "a.dbn"]
    assert again.read == 1
    volumes = all_rows(
        database.url,
        "SELECT path, volume FROM raw_file_contracts JOIN raw_files ON id = file_id ORDER BY path",
    )
    assert volumes == [(str(path), 40 if change == "size" else 60), (str(raw / "b.dbn"), 30)]


def test_a_refused_file_is_told_with_its_reason_every_time_and_read_once(
    database: Database, raw: Path, inspected: list[str]
) -> None:
    content = encode(records([0, 1, 2]))
    cut = raw / "cut-20240617.dbn.zst"
    write(cut, content)
    cut.write_bytes(cut.read_bytes()[:-9])
    write_file(raw, "daily.dbn", schema="ohlcv-1d")
    write_file(raw, "good.dbn")

    for _ in range(2):
        found = refresh(database, raw)
        assert file_names(found.refused) == ["cut-20240617.dbn.zst", "daily.dbn"]
        assert all(file.reason and "\n" not in file.reason for file in found.refused)
        assert "ohlcv-1d" in str(found.refused[1].reason)
    assert len(inspected) == 3


def test_a_refused_file_that_is_put_right_is_used(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn", schema="ohlcv-1d")
    refresh(database, raw)

    write_file(raw, "a.dbn")
    found = refresh(database, raw)

    assert found.refused == ()
    assert file_names(coverage(connection, raw, NQ, DATES).verified) == ["a.dbn"]


def test_a_file_that_left_is_remembered_and_not_used(
    database: Database, connection: Connection, raw: Path
) -> None:
    path = write_file(raw, "a.dbn")
    refresh(database, raw)
    content, status = path.read_bytes(), path.stat()

    path.unlink()
    gone = refresh(database, raw)
    [(since,)] = all_rows(database.url, "SELECT missing_since FROM raw_files")
    assert gone.files == 0
    assert since is not None
    assert coverage(connection, raw, NQ, DATES).verified == ()
    assert [row.contract for row in traded(connection, raw, NQ)] == ["NQM4"]

    refresh(database, raw)
    assert all_rows(database.url, "SELECT missing_since FROM raw_files") == [(since,)]

    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    back = refresh(database, raw)
    assert (back.files, back.read) == (1, 0)
    assert all_rows(database.url, "SELECT missing_since FROM raw_files") == [(None,)]
    assert file_names(coverage(connection, raw, NQ, DATES).verified) == ["a.dbn"]


def test_a_refused_file_that_left_is_not_told_of_any_more(database: Database, raw: Path) -> None:
    path = write_file(raw, "a.dbn", schema="ohlcv-1d")
    refresh(database, raw)
    path.unlink()

    assert refresh(database, raw).refused == ()


def test_folders_do_not_mix(database: Database, connection: Connection, tmp_path: Path) -> None:
    raw, other = tmp_path / "raw", tmp_path / "raw_2%"
    for folder in (raw, other):
        folder.mkdir()
    write_file(raw, "a.dbn")
    write_file(other, "b.dbn")
    write_file(other, "bad.dbn", schema="ohlcv-1d")

    assert refresh(database, other).read == 2
    found = refresh(database, raw)

    assert (found.files, found.read, found.refused) == (1, 1, ())
    assert file_names(coverage(connection, raw, NQ, DATES).verified) == ["a.dbn"]
    assert file_names(coverage(connection, other, NQ, DATES).verified) == ["b.dbn"]
    assert len(traded(connection, raw, NQ)) == 1
    assert all_rows(database.url, "SELECT FROM raw_files WHERE missing_since IS NOT NULL") == []


def test_files_in_folders_below_are_found(database: Database, raw: Path) -> None:
    (raw / "2024" / "06").mkdir(parents=True)
    write_file(raw / "2024" / "06", "a.dbn")

    assert refresh(database, raw).read == 1


def test_a_folder_that_is_not_there_is_named_and_nothing_is_forgotten(
    database: Database, raw: Path
) -> None:
    write_file(raw, "a.dbn")
    refresh(database, raw)
    raw.rename(raw.with_name("elsewhere"))

    with pytest.raises(ConfigurationError, match=r"the raw folder .*/raw can't be read"):
        refresh(database, raw)

    assert all_rows(database.url, "SELECT missing_since FROM raw_files") == [(None,)]


def test_a_refresh_that_fails_keeps_what_it_had_read(
    database: Database, raw: Path, monkeypatch: pytest.MonkeyPatch, inspected: list[str]
) -> None:
    write_file(raw, "a.dbn")
    write_file(raw, "b.dbn")

    def fails_on_b(path: Path, folder: Path) -> dbn_file.DbnFile | dbn_file.RefusedFile:
        if path.name == "b.dbn":
            raise MemoryError
        inspected.append(path.name)
        return dbn_file.inspect(path, folder)

    with monkeypatch.context() as failing:
        failing.setattr(verification, "inspect", fails_on_b)
        with pytest.raises(MemoryError):
            refresh(database, raw)
    refresh(database, raw)

    assert inspected == ["a.dbn", "b.dbn"]


def test_a_name_that_is_no_text_is_refused_and_the_others_go_on(
    database: Database, raw: Path, inspected: list[str]
) -> None:
    write_file(raw, "a.dbn")
    job = raw / os.fsdecode(b"job-\xfe")
    try:
        job.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    named = write_file(raw, os.fsdecode(b"nq-\xff.dbn"))
    write_file(job, "b.dbn")
    write_manifest(job)

    found = refresh(database, raw)

    assert [file.path.name for file in found.refused] == ["b.dbn", r"nq-\xff.dbn"]
    assert "not UTF-8; rename it" in str(found.refused[1].reason)
    assert inspected == ["a.dbn"]
    assert refresh(database, raw).read == 0
    folders = all_rows(database.url, "SELECT folder FROM raw_deliveries")
    assert folders == [(f"{raw}/job-\\xfe",)]

    named.rename(raw / "nq.dbn")
    (job / "manifest.json").unlink()
    assert [file.path.name for file in refresh(database, raw).refused] == ["b.dbn"]
    assert all_rows(database.url, "SELECT folder FROM raw_deliveries") == []
    missing = "SELECT path FROM raw_files WHERE missing_since IS NOT NULL"
    assert all_rows(database.url, missing) == [(f"{raw}/nq-\\xff.dbn",)]


def test_two_refreshes_at_once_read_each_file_once(
    database: Database, raw: Path, inspected: list[str]
) -> None:
    for number in range(5):
        write_file(raw, f"{number}.dbn")

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: refresh(database, raw), range(3)))

    assert sorted(inspected) == [f"{number}.dbn" for number in range(5)]
    assert sum(each.read for each in found) == 5
