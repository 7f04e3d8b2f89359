"""`trisignal files`, and what becomes of deliveries that overlap, wherever they lie."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import QuickCommandLine
from trisignal_pipeline_tests.pipeline import Pipeline, open_pipeline
from trisignal_pipeline_tests.sources.job_files import entry_of, write_manifest, write_metadata
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    TICK,
    TUESDAY,
    bars,
    changed,
    file_of,
    write_day,
    write_days,
)

CLOSE = "SELECT DISTINCT close FROM market_bars_ohlcv_1m WHERE ts::time = '00:01'"


def _correction(job: Path, points: int) -> None:
    """A job that delivers Monday with another close in its first bar."""
    good = bars(MONDAY)
    close = 20_000 * 4 * TICK + points * 4 * TICK
    write_day(job, MONDAY, delivered=changed(good, 0, close=close, high=close, low=good["low"][0]))
    write_manifest(job, job_id=job.name)
    write_metadata(job, job.name)


def test_the_catalogue_is_listed_with_verdicts(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    cut = file_of(pipeline.raw, TUESDAY)
    cut.write_bytes(cut.read_bytes()[:-2000])
    assert trisignal.run("files").exit_code == 0
    trisignal.run("backfill", NQ, "--start", str(MONDAY), "--end", str(TUESDAY))

    good, bad = json.loads(trisignal.run("files", "--format", "json").out)

    assert (good["file"], good["verdict"], good["records"], good["serves"]) == (
        file_of(pipeline.raw, MONDAY).name, "verified", BARS, [NQ],
    )  # fmt: skip
    assert (bad["file"], bad["verdict"]) == (cut.name, "refused")
    assert bad["reason"].startswith("it is cut short")
    assert json.loads(trisignal.run("files", "--refused", "--format", "json").out) == [bad]


def test_the_list_for_people_is_narrow_and_gives_reasons_lines_of_their_own(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    cut = file_of(pipeline.raw, TUESDAY)
    cut.write_bytes(cut.read_bytes()[:-2000])
    trisignal.run("backfill", NQ, "--start", str(MONDAY), "--end", str(TUESDAY))

    for command in (("files",), ("files", "verify", str(pipeline.raw))):
        lines = trisignal.run(*command).out.splitlines()

        heading = " ".join(lines[1].split())
        assert heading == "file verdict symbols first last records job"
        [good] = [line for line in lines if " verified " in line]
        assert good.split()[-4:] == ["NQU4", str(MONDAY), str(MONDAY), str(BARS)]
        assert f"{cut.name}: refused: it is cut short" in lines[-1]


def test_files_are_verified_without_a_database_and_without_a_trace(
    trisignal: QuickCommandLine, tmp_path: Path
) -> None:
    trisignal.use_database("postgresql://nobody@127.0.0.1:1/nowhere")
    folder = tmp_path / "downloads"
    write_days(folder, [MONDAY, TUESDAY])
    whole = trisignal.run("files", "verify", str(folder), "--format", "json")
    assert whole.exit_code == 0, whole.err
    assert [row["verdict"] for row in json.loads(whole.out)] == ["verified"] * 2

    monday = file_of(folder, MONDAY)
    write_manifest(folder, [{**entry_of(monday), "size": 7}, {"filename": "b.dbn", "size": 1}])
    before = {path: path.stat() for path in [folder, *folder.iterdir()]}
    answer = trisignal.run("files", "verify", str(folder), "--format", "json")

    assert answer.exit_code == 1
    rows = {Path(row["file"]).name: row for row in json.loads(answer.out)}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        monday.name: "refused",
        file_of(folder, TUESDAY).name: "verified",
        "b.dbn": "missing",
    }
    assert "manifest.json beside it says 7" in rows[monday.name]["reason"]
    after = {path: path.stat() for path in [folder, *folder.iterdir()]}
    assert {path: (one.st_size, one.st_mtime_ns) for path, one in after.items()} == {
        path: (one.st_size, one.st_mtime_ns) for path, one in before.items()
    }
    assert trisignal.run("files", "verify", str(file_of(folder, TUESDAY))).exit_code == 0


def test_there_must_be_something_to_verify(trisignal: QuickCommandLine, tmp_path: Path) -> None:
    answer = trisignal.run("files", "verify", str(tmp_path / "nowhere"))
    assert answer.exit_code == 1
    [line] = answer.err.splitlines()
    assert "nowhere (No such file or directory); name a file or a folder of files" in line


def test_a_folder_without_files_is_not_verified(
    trisignal: QuickCommandLine, tmp_path: Path
) -> None:
    answer = trisignal.run("files", "verify", str(tmp_path))
    assert answer.exit_code == 1
    assert "there is nothing to verify" in answer.err


@pytest.mark.parametrize("later_job_first", [True, False])
def test_the_later_job_is_believed_and_a_rebuild_elsewhere_is_identical(
    pipeline: Pipeline,
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path: Path,
    *,
    later_job_first: bool,
) -> None:
    early = pipeline.raw / "GLBX-20240701-ZZZZ"
    late = pipeline.raw / "GLBX-20240702-AAAA"
    for job, points in sorted([(early, 1), (late, 2)], reverse=later_job_first):
        _correction(job, points)
        assert pipeline.backfill(MONDAY, MONDAY).succeeded
    assert pipeline.value(CLOSE) == 20_002

    elsewhere = tmp_path / "elsewhere"
    with open_pipeline(server, migrated_template, dagster_template, elsewhere) as again:
        shutil.copytree(pipeline.raw, again.raw, dirs_exist_ok=True)
        for number, path in enumerate(sorted(again.raw.rglob("*.json"))):
            os.utime(path, ns=(number, number))
        assert again.backfill(MONDAY, MONDAY).succeeded
        assert again.results() == pipeline.results()
