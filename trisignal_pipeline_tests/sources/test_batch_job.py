"""What a job left beside its files vouches for them, or says why nothing can."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.sources import batch_job
from trisignal_pipeline.sources.batch_job import delivery_order, read_batch_job
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, inspect
from trisignal_pipeline_tests.sources.dbn_encoder import encode, records, write
from trisignal_pipeline_tests.sources.job_files import (
    JOB,
    entry_of,
    write_conditions,
    write_manifest,
    write_metadata,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "a.dbn", encode(records([0, 1, 2])))


def judged(path: Path) -> DbnFile | RefusedFile:
    return read_batch_job(path.parent).judge(inspect(path))


def reason(path: Path) -> str:
    verdict = judged(path)
    assert isinstance(verdict, RefusedFile)
    assert "\n" not in verdict.reason
    return verdict.reason


def test_a_file_that_is_what_its_manifest_says_stays_verified(path: Path) -> None:
    write_manifest(path.parent)
    job = read_batch_job(path.parent)

    assert isinstance(judged(path), DbnFile)
    assert (job.lists("a.dbn"), job.job_of("a.dbn")) == (True, JOB)


def test_a_file_of_another_size_is_refused_with_both(path: Path) -> None:
    size = path.stat().st_size
    write_manifest(path.parent, [{**entry_of(path), "size": size + 1000}])

    assert f"it has {size:,} bytes, but manifest.json beside it says {size + 1000:,}" in reason(
        path
    )


def test_a_file_of_another_hash_is_refused_with_both(path: Path) -> None:
    real, other = entry_of(path)["hash"].removeprefix("sha256:"), "0" * 64
    write_manifest(path.parent, [{**entry_of(path), "hash": f"sha256:{other}"}])

    assert f"its SHA-256 is {real}, but manifest.json beside it says {other}" in reason(path)


def test_a_refused_file_keeps_what_its_header_says(path: Path) -> None:
    write_manifest(path.parent, [{**entry_of(path), "size": 1}])
    verified, refused = inspect(path), judged(path)

    assert isinstance(refused, RefusedFile)
    for name in (
        "sha256",
        "dataset",
        "schema",
        "stype_in",
        "start_ns",
        "end_ns",
        "symbols",
        "roots",
    ):
        assert getattr(refused, name) == getattr(verified, name), name


def test_a_hash_of_another_kind_leaves_the_size(path: Path) -> None:
    write_manifest(path.parent, [{**entry_of(path), "hash": "blake3:00"}])
    assert isinstance(judged(path), DbnFile)


def test_a_file_the_manifest_omits_is_judged_by_itself_and_of_no_job(path: Path) -> None:
    write_manifest(path.parent, [])
    write_metadata(path.parent)
    job = read_batch_job(path.parent)

    assert isinstance(judged(path), DbnFile)
    assert (job.lists("a.dbn"), job.job_of("a.dbn")) == (False, None)


def test_without_a_manifest_the_metadata_names_the_job(path: Path) -> None:
    assert read_batch_job(path.parent).job_of("a.dbn") is None
    write_metadata(path.parent)
    job = read_batch_job(path.parent)

    assert (job.lists("a.dbn"), job.job_of("a.dbn"), job.dataset) == (None, JOB, "GLBX.MDP3")


def test_conditions_are_read_by_date(tmp_path: Path) -> None:
    write_conditions(tmp_path, d2024_06_17="available", d2024_06_18="degraded")

    assert read_batch_job(tmp_path).conditions == (
        DayCondition(date(2024, 6, 17), "available", date(2024, 9, 1)),
        DayCondition(date(2024, 6, 18), "degraded", date(2024, 9, 1)),
    )


_FILE = {"filename": "a.dbn", "size": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", '{"job_id": "GLBX-20240920-A", "files": [{"filena'),
        ("manifest.json", ""),
        ("manifest.json", "\x00\x00"),
        ("manifest.json", "[" * 100_000),
        ("manifest.json", "9" * 10_000),
        ("manifest.json", "[]"),
        ("manifest.json", "null"),
        ("manifest.json", "{}"),
        ("manifest.json", {"files": None}),
        ("manifest.json", {"files": ["a.dbn"]}),
        ("manifest.json", {"files": [{"filename": "a.dbn"}]}),
        ("manifest.json", {"files": [{**_FILE, "size": -1}]}),
        ("manifest.json", {"files": [{**_FILE, "size": True}]}),
        ("manifest.json", {"files": [{**_FILE, "size": 1.5}]}),
        ("manifest.json", {"files": [{**_FILE, "filename": 3}]}),
        ("manifest.json", {"files": [{**_FILE, "filename": "../a.dbn"}]}),
        ("manifest.json", {"files": [{**_FILE, "filename": "/etc/a.dbn"}]}),
        ("manifest.json", {"files": [{**_FILE, "filename": "a\x00.dbn"}]}),
        ("manifest.json", {"files": [{**_FILE, "filename": "a\ud800.dbn"}]}),
        ("manifest.json", {"files": [{**_FILE, "hash": "sha256:12"}]}),
        ("manifest.json", {"files": [], "job_id": 7}),
        ("manifest.json", {"files": [], "job_id": "a\x00b"}),
        ("metadata.json", "[]"),
        ("metadata.json", '{"job_id": "GLBX-2024'),
        ("metadata.json", {"query": {"dataset": "a\x00"}}),
        ("metadata.json", {"query": "all"}),
        ("condition.json", '[{"date": "2024-06-17", "condi'),
        ("condition.json", {"date": "2024-06-17"}),
        ("condition.json", [{"date": "2024-06-31", "condition": "available"}]),
        ("condition.json", [{"date": "2024-06-17"}]),
        ("condition.json", [{"date": "2024-06-17", "condition": 1}]),
        ("condition.json", 5),
    ],
)
def test_what_cannot_be_read_refuses_the_files_beside_it(
    path: Path, name: str, content: Any
) -> None:
    written = content if isinstance(content, str) else json.dumps(content)
    (path.parent / name).write_text(written)

    assert reason(path).startswith(f"{name} beside it can't be used: ")
    assert reason(path).endswith("or take it out of the folder")


def test_what_is_too_large_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(path.parent)
    monkeypatch.setattr(batch_job, "MOST_BYTES", 10)
    assert "bytes are more than any job writes" in reason(path)


def test_a_manifest_that_leads_out_of_the_raw_folder_is_not_read(path: Path) -> None:
    elsewhere = path.parent / "elsewhere"
    raw = path.parent / "raw"
    for folder in (elsewhere, raw):
        folder.mkdir()
    write_manifest(elsewhere, [])
    (raw / "manifest.json").symlink_to(elsewhere / "manifest.json")

    assert "leads out of the raw folder" in str(read_batch_job(raw, raw).reason)
    assert read_batch_job(raw).reason is None


def test_files_are_ordered_by_job_then_name_then_folder() -> None:
    in_order = [
        (None, "z/a.dbn"),
        (None, "a/b.dbn"),
        ("GLBX-20240101-ZZZ", "a/b.dbn"),
        ("XEUR-20240102-AAA", "z.dbn"),
        ("XEUR-20240102-BBB", "b/a.dbn"),
        ("XEUR-20240102-BBB", "c/a.dbn"),
        ("XEUR-20240102-BBB", "a/b.dbn"),
    ]
    keys = [delivery_order(job, Path(path)) for job, path in in_order]
    assert keys == sorted(keys)
