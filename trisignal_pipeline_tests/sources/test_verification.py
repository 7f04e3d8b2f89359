"""Verdicts on many files while others write, replace and delete them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.sources import dbn_file, verification
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, inspect, read_bars
from trisignal_pipeline.sources.raw_folder import candidate_files, changed_files, is_there
from trisignal_pipeline.sources.verification import NEVER_READ_NS, Verified, absent_files, verify
from trisignal_pipeline_tests.sources.another_user import as_nobody
from trisignal_pipeline_tests.sources.dbn_encoder import DAY, compress, encode, records, write
from trisignal_pipeline_tests.sources.job_files import entry_of, write_manifest

CONTENT = encode(records([0, 1, 2]))
MORE = bytes(records([3, 4]))


def look(folder: Path, settle_seconds: float = 3.0) -> dict[str, Verified]:
    """The verdicts on all files of `folder`, by name."""
    seen = changed_files(candidate_files(folder), {})
    return {one.file.path.name: one for one in verify(seen, folder, settle_seconds)}


def reason(verdict: Verified) -> str:
    assert isinstance(verdict.file, RefusedFile)
    return verdict.file.reason


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited for files to settle, instead of waiting."""
    waited: list[float] = []
    monkeypatch.setattr(verification.time, "sleep", waited.append)
    return waited


def while_it_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[Path], object]
) -> None:
    """Let something happen to the file `name` between its first and its last byte."""

    def require_unchanged(path: Path, size: int, mtime_ns: int) -> None:
        if path.name == name:
            happens(path)
        original(path, size, mtime_ns)

    original = dbn_file.require_unchanged
    monkeypatch.setattr(dbn_file, "require_unchanged", require_unchanged)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(MORE)


def test_a_file_that_is_written_to_is_refused_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.dbn", "b.dbn", "c.dbn"):
        write(tmp_path / name, CONTENT)
    before = (tmp_path / "b.dbn").stat()
    while_it_is_read(monkeypatch, "b.dbn", append)

    found = look(tmp_path)

    assert isinstance(found["a.dbn"].file, DbnFile)
    assert isinstance(found["c.dbn"].file, DbnFile)
    assert reason(found["b.dbn"]).startswith("it is being written")
    # As it was seen, not as it is now: it is looked at again.
    growing = found["b.dbn"].file
    assert (growing.size, growing.mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_file_that_goes_away_has_no_verdict_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.dbn", "b.dbn"):
        write(tmp_path / name, CONTENT)
    while_it_is_read(monkeypatch, "a.dbn", Path.unlink)

    assert list(look(tmp_path)) == ["b.dbn"]


def test_a_file_that_cannot_be_read_is_refused_and_looked_at_every_time(open_folder: Path) -> None:
    for name in ("a.dbn", "b.dbn"):
        write(open_folder / name, CONTENT)
    (open_folder / "a.dbn").chmod(0)
    with as_nobody():
        found = look(open_folder)

    assert "Permission denied" in reason(found["a.dbn"])
    assert found["a.dbn"].file.mtime_ns == NEVER_READ_NS
    assert isinstance(found["b.dbn"].file, DbnFile)


def test_files_written_just_now_are_waited_for_once(tmp_path: Path, slept: list[float]) -> None:
    for name in ("a.dbn", "b.dbn"):
        (tmp_path / name).write_bytes(CONTENT)
    write(tmp_path / "old.dbn", CONTENT)

    found = look(tmp_path)

    [seconds] = slept
    assert 0 < seconds <= 3.0
    assert list(found) == ["old.dbn", "a.dbn", "b.dbn"]
    assert all(isinstance(one.file, DbnFile) for one in found.values())


def test_a_file_that_grows_by_whole_records_is_seen_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.dbn"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(verification.time, "sleep", lambda _seconds: append(path))

    assert reason(look(tmp_path)["a.dbn"]).startswith("it is being written")
    assert look(tmp_path, settle_seconds=0)["a.dbn"].file.size == path.stat().st_size


def test_a_file_that_goes_away_while_it_is_waited_for_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.dbn"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(verification.time, "sleep", lambda _seconds: path.unlink())
    assert look(tmp_path) == {}


def test_a_time_of_writing_in_the_future_is_waited_for_no_longer(
    tmp_path: Path, slept: list[float]
) -> None:
    path = write(tmp_path / "a.dbn", CONTENT)
    os.utime(path, ns=(2**62, 2**62))
    assert isinstance(look(tmp_path)["a.dbn"].file, DbnFile)
    assert slept == [3.0]


@pytest.mark.parametrize(
    ("content", "waits"),
    [
        (CONTENT, True),
        (compress(CONTENT), False),
        (compress(CONTENT) + compress(MORE), True),
        (CONTENT[:-1], False),
    ],
    ids=["uncompressed", "one frame", "two frames", "refused"],
)
def test_only_what_could_go_on_is_waited_for(
    tmp_path: Path, slept: list[float], content: bytes, *, waits: bool
) -> None:
    (tmp_path / "a.dbn").write_bytes(content)
    look(tmp_path)
    assert bool(slept) == waits


def test_a_manifest_vouches_for_the_end_of_a_file(tmp_path: Path, slept: list[float]) -> None:
    (tmp_path / "a.dbn").write_bytes(CONTENT)
    write_manifest(tmp_path)
    found = look(tmp_path)["a.dbn"]
    assert isinstance(found.file, DbnFile)
    assert found.listed
    assert slept == []


def test_what_a_manifest_lists_and_is_not_there_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dbn", CONTENT)
    gone = {**entry_of(path), "filename": "gone.dbn.zst"}
    write_manifest(tmp_path, [entry_of(path), gone, {**gone, "filename": "symbology.json"}])
    assert absent_files(tmp_path) == [tmp_path / "gone.dbn.zst"]


def test_links_that_lead_out_are_refused_and_nothing_of_them_is_read(tmp_path: Path) -> None:
    raw, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    for folder in (raw, elsewhere):
        folder.mkdir()
    secret = write(elsewhere / "secret-20240617.dbn", CONTENT)
    (raw / "out-20240617.dbn").symlink_to(secret)
    (raw / "folder").symlink_to(elsewhere)
    (raw / "inside").mkdir()
    (raw / "in.dbn").symlink_to(write(raw / "inside" / "a.dbn", CONTENT))

    found = look(raw)

    assert sorted(found) == ["a.dbn", "folder", "in.dbn", "out-20240617.dbn"]
    for name in ("folder", "out-20240617.dbn"):
        assert "leads out of the raw folder" in reason(found[name])
        assert found[name].file.sha256 is None
    assert isinstance(found["in.dbn"].file, DbnFile)


def test_a_link_to_where_this_user_may_not_look_is_there_and_refused(open_folder: Path) -> None:
    raw, secret = open_folder / "raw", open_folder / "secret"
    for folder in (raw, secret):
        folder.mkdir()
    link = raw / "link.dbn"
    link.symlink_to(write(secret / "b.dbn", CONTENT))
    write_manifest(raw, [{"filename": link.name, "size": link.stat().st_size}])
    secret.chmod(0)
    try:
        with as_nobody():
            assert "leads out of the raw folder" in reason(look(raw)["link.dbn"])
            assert is_there(link)
            assert absent_files(raw) == []
    finally:
        secret.chmod(0o755)


def test_a_raw_folder_that_is_a_link_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(tmp_path / "real" / "a.dbn", CONTENT)
    (tmp_path / "raw").symlink_to(tmp_path / "real")
    assert isinstance(look(tmp_path / "raw")["a.dbn"].file, DbnFile)


def test_dots_do_not_lead_out(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    write(tmp_path / "secret.dbn", CONTENT)
    with pytest.raises(RefusedFileError, match="leads out of the raw folder"):
        inspect(raw / ".." / "secret.dbn", raw)


def test_a_file_swapped_for_a_link_after_it_was_verified_is_not_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    path = write(raw / "a.dbn", CONTENT)
    verified = inspect(path, raw)
    assert isinstance(verified, DbnFile)
    status = path.stat()
    path.rename(tmp_path / "secret.dbn")
    path.symlink_to(tmp_path / "secret.dbn")
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)

    with pytest.raises(RefusedFileError, match="leads out of the raw folder"):
        list(read_bars(verified, {DAY: "NQM4"}, 0, 2**62))


def test_a_folder_swapped_for_a_link_after_it_was_verified_is_not_read(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "below").mkdir(parents=True)
    verified = inspect(write(raw / "below" / "a.dbn", CONTENT), raw)
    assert isinstance(verified, DbnFile)
    (raw / "below").rename(tmp_path / "elsewhere")
    (raw / "below").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RefusedFileError, match="leads out of the raw folder"):
        list(read_bars(verified, {DAY: "NQM4"}, 0, 2**62))
