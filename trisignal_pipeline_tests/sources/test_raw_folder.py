"""Which files of the raw folder are looked at, and when again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.sources.dbn_file import inspect
from trisignal_pipeline.sources.raw_folder import (
    Seen,
    candidate_files,
    changed_files,
    job_folders,
)
from trisignal_pipeline_tests.sources.another_user import as_nobody
from trisignal_pipeline_tests.sources.job_files import write_manifest, write_metadata


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    return [folder / name for name in names]


def test_what_looks_like_dbn_is_found_at_any_depth_in_order(tmp_path: Path) -> None:
    wanted = make(
        tmp_path, "a.dbn", "b.DBN.zst", "b/c/d.ohlcv-1m.dbn.zst", "e.dbn.frag.zst", "f.dbz"
    )
    make(tmp_path, "manifest.json", "dbn.txt", "notes.zst")
    assert candidate_files(tmp_path) == sorted(wanted)


def test_hidden_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    make(
        tmp_path,
        ".a.dbn",
        "a.dbn.part",
        "a.dbn.zst.tmp",
        "a.dbn.crdownload",
        "a.dbn~",
        ".cache/a.dbn",
    )
    assert candidate_files(tmp_path) == []


def test_folders_and_pipes_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.dbn").mkdir()
    os.mkfifo(tmp_path / "pipe.dbn")
    assert candidate_files(tmp_path) == []


def test_links_that_leave_the_folder_are_listed_but_not_followed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    inside, outside = make(tmp_path, "raw/store/x1.dbn", "elsewhere/secret.dbn")
    (raw / "inside.dbn").symlink_to(inside)
    (raw / "outside.dbn").symlink_to(outside)
    (raw / "folder").symlink_to(outside.parent)
    (raw / "loop.dbn").symlink_to(raw / "loop.dbn")
    (raw / "broken.dbn").symlink_to(raw / "nothing.dbn")
    assert candidate_files(raw) == sorted(
        [raw / "folder", raw / "inside.dbn", raw / "outside.dbn", inside]
    )


def test_a_raw_folder_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a.dbn")
    (tmp_path / "raw").symlink_to(tmp_path / "real")
    assert candidate_files(tmp_path / "raw") == [tmp_path / "raw" / "a.dbn"]


def test_a_raw_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    (file,) = make(tmp_path, "file.dbn")
    for raw in (tmp_path / "nowhere", file, file / "below"):
        with pytest.raises(ConfigurationError, match="TRISIGNAL_RAW_DIR"):
            candidate_files(raw)


def test_a_folder_without_permission_is_told_not_passed_over(open_folder: Path) -> None:
    make(open_folder, "a.dbn", "locked/b.dbn")
    locked = open_folder / "locked"
    locked.chmod(0)
    try:
        with as_nobody(), pytest.raises(ConfigurationError, match="locked: Permission denied"):
            candidate_files(open_folder)
    finally:
        locked.chmod(0o755)


def test_a_file_without_permission_is_told(open_folder: Path) -> None:
    (path,) = make(open_folder, "a.dbn")
    path.chmod(0)
    with as_nobody(), pytest.raises(ConfigurationError, match=r"a\.dbn can't be read"):
        inspect(path)


def test_only_new_and_changed_files_are_looked_at_again(tmp_path: Path) -> None:
    same, grown, touched, new = make(tmp_path, "same.dbn", "grown.dbn", "touched.dbn", "new.dbn")
    known = {
        path: (path.stat().st_size, path.stat().st_mtime_ns, "") for path in (same, grown, touched)
    }
    status = grown.stat()
    grown.write_bytes(b"more content")
    os.utime(grown, ns=(status.st_mtime_ns, status.st_mtime_ns))
    os.utime(touched, ns=(0, touched.stat().st_mtime_ns + 1))
    gone = tmp_path / "gone.dbn"
    assert changed_files([same, grown, touched, new, gone], known) == [
        Seen(path, path.stat().st_size, path.stat().st_mtime_ns) for path in (grown, touched, new)
    ]


def test_files_are_looked_at_again_when_what_a_job_left_beside_them_changes(tmp_path: Path) -> None:
    beside, apart = make(tmp_path, "job/a.dbn", "b.dbn")

    def known() -> dict[Path, tuple[int, int, str]]:
        seen = changed_files([beside, apart], {})
        return {one.path: (one.size, one.mtime_ns, one.beside) for one in seen}

    before = known()
    manifest = write_manifest(beside.parent)
    assert [one.path for one in changed_files([beside, apart], before)] == [beside]

    before = known()
    os.utime(manifest, ns=(0, 0))
    assert [one.path for one in changed_files([beside, apart], before)] == [beside]

    before = known()
    manifest.unlink()
    assert [one.path for one in changed_files([beside, apart], before)] == [beside]


def test_folders_of_jobs_are_found_though_no_file_lies_in_them(tmp_path: Path) -> None:
    make(tmp_path, "nothing/a.dbn", "one/a.dbn", "two/notes.txt", ".hidden/a.dbn")
    for name in ("one", ".hidden"):
        write_manifest(tmp_path / name)
    write_metadata(tmp_path / "two")
    assert job_folders(tmp_path) == [tmp_path / "one", tmp_path / "two"]
