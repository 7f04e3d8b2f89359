"""Two runs of the same dates at once, a file replaced under a run: the tables of a quiet one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.pipeline import LEGACY, Pipeline, Stored, open_pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    TUESDAY,
    WEDNESDAY,
    bars,
    file_of,
    write_day,
    write_days,
)

DATES = DateRange(MONDAY, WEDNESDAY)


@pytest.fixture
def quiet(
    server: EmbeddedServer, migrated_template: str, dagster_template: str, tmp_path: Path
) -> Iterator[Pipeline]:
    """A second pipeline, which nothing disturbs."""
    with open_pipeline(server, migrated_template, dagster_template, tmp_path / "quiet") as opened:
        yield opened


def results_of_a_quiet_run(quiet: Pipeline) -> dict[str, Stored]:
    assert quiet.backfill(DATES.start, DATES.end).succeeded
    return quiet.results()


def _waiting_for_the_symbol(pipeline: Pipeline) -> int:
    return int(
        pipeline.value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    )


def test_two_backfills_of_the_same_dates_at_once_end_as_one(
    quiet: Pipeline, pipeline: Pipeline, tmp_path: Path
) -> None:
    write_days(pipeline.raw, DATES)
    terminal = CommandLine.with_home(
        tmp_path,
        pipeline.raw,
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
    )
    command = ("backfill", NQ, "--start", str(DATES.start), "--end", str(DATES.end))
    logs = [tmp_path / "first", tmp_path / "second"]
    with (
        terminal.started(*command, log=logs[0]) as first,
        terminal.started(*command, log=logs[1]) as second,
    ):
        # Neither begins to write before both are about to.
        with symbol_lock(pipeline.database, NQ):
            wait_until(lambda: _waiting_for_the_symbol(pipeline) == 2, "two runs that wait")
        for process, log in zip((first, second), logs, strict=True):
            assert process.wait(180) == 0, log.read_text()

    assert pipeline.query(
        "SELECT asset, status, sum(inserted_count), sum(updated_count), sum(removed_count), "
        "count(*) FROM data_ingest_runs GROUP BY 1, 2 ORDER BY 1"
    ) == [(asset, "success", len(DATES) * BARS, 0, 0, 2) for asset in ("clean_bars", LEGACY)]
    write_days(quiet.raw, DATES)
    assert pipeline.results() == results_of_a_quiet_run(quiet)


@dataclass
class _ReplacedUnderIt:
    """Someone who watches a run and, as its first legacy bars are about to be written, acts."""

    replace: Callable[[], object]
    done: bool = False

    def begin(self, stage: str, symbol: str, dates: DateRange) -> None:
        if stage == LEGACY and not self.done:
            self.done = True
            self.replace()

    def advance(self, stage: str, bars: int) -> None:
        pass


@pytest.mark.parametrize("renamed", [True, False], ids=["renamed over it", "written over it"])
def test_a_file_replaced_under_a_run_is_read_anew_by_the_next(
    quiet: Pipeline,
    pipeline: Pipeline,
    tmp_path: Path,
    renamed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_days(pipeline.raw, DATES)

    def replace() -> None:
        folder = tmp_path / "new" if renamed else pipeline.raw
        written = write_day(folder, TUESDAY, delivered=bars(TUESDAY, seed=2))
        written.replace(file_of(pipeline.raw, TUESDAY))

    with monkeypatch.context() as settings:
        settings.setenv("TRISIGNAL_RETRIES", "0")
        done = pipeline.backfill(DATES.start, DATES.end, progress=_ReplacedUnderIt(replace))

    assert done.succeeded or {failure.error_class for failure in done.failures} <= {
        "FileChangedError"
    }
    stored = pipeline.value("SELECT count(*) FROM market_bars_ohlcv_1m")
    claimed = pipeline.value(
        "SELECT coalesce(sum(inserted_count), 0) FROM data_ingest_runs WHERE asset = 'legacy_bars'"
    )
    assert stored == claimed

    assert pipeline.backfill(DATES.start, DATES.end).succeeded
    write_days(quiet.raw, DATES)
    write_day(quiet.raw, TUESDAY, delivered=bars(TUESDAY, seed=2))
    assert pipeline.results() == results_of_a_quiet_run(quiet)
