"""The UI as `trisignal dev` opens it: every way of launching gives what a backfill gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.browser import CHROMIUM, opened
from trisignal_pipeline_tests.end_to_end.command_line import (
    CommandLine,
    stopped_at_last,
    wait_until,
)
from trisignal_pipeline_tests.end_to_end.webserver import Webserver, free_port
from trisignal_pipeline_tests.pipeline import ASSETS, CHECKS, TRIANGLES, Pipeline, open_pipeline
from trisignal_pipeline_tests.tiny_market import BARS, ES, NQ, YM, write_day

_YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)

# Everything is small if it begins late; four days hold two weekdays at least.
DATES = DateRange(_YESTERDAY - timedelta(days=3), _YESTERDAY)
WEEKDAYS = [day for day in DATES if day.weekday() < 5]
FIRST, LAST = WEEKDAYS[0], WEEKDAYS[-1]
SYMBOLS = (ES, NQ, YM)
ROOTS = ("ES", "NQ", "YM")

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the browser showed of the backfill that was clicked together."""

    dates: list[tuple[str, str]]
    metadata: str
    check: str
    picture_width: int


@dataclass(frozen=True, slots=True)
class Launched:
    """What came of everything that was launched: the pipeline stands still again."""

    pipeline: Pipeline
    seen: Seen | None
    refused_run: tuple[str, str]
    refused_job: list[tuple[str, str]]
    refused_range: str


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    # The daemon looks every 30 s, and a run is a process that loads everything anew.
    wait_until(condition, what, seconds=300)


def _write_files(folder: Path) -> None:
    month = f"H{(LAST.year + 1) % 10}"
    for root in ROOTS:
        for day in WEEKDAYS:
            write_day(folder, day, root, month=month)


# One test, since the fixture of several would be made anew in each process of the suite.
def test_every_way_of_launching_gives_what_a_backfill_gives_and_the_wrong_ones_are_refused(
    pipeline: Pipeline,
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path: Path,
) -> None:
    launched = _launch_in_every_way(pipeline, tmp_path)

    _expect_the_job_refused(launched)
    _expect_the_reverse_range_refused(launched)
    keys = {partition_key(symbol, day) for symbol in SYMBOLS for day in DATES}
    for asset in ASSETS:
        assert set(pipeline.materializations(asset)) == keys
        assert set(pipeline.evaluations(asset)) == keys
    results = pipeline.results()
    assert results["market_bars_ohlcv_1m_clean"].rows == len(SYMBOLS) * len(WEEKDAYS) * BARS
    folder = tmp_path / "in process"
    with open_pipeline(server, migrated_template, dagster_template, folder) as other:
        _write_files(other.raw)
        for symbol in SYMBOLS:
            assert other.backfill(FIRST, LAST, symbol=symbol).run_ids
        assert other.results() == results
    if launched.seen is None:
        pytest.skip("all but the clicking is proved: there is no chromium on this machine")
    _expect_the_ui_to_show_it(launched.seen)


def _launch_in_every_way(pipeline: Pipeline, folder: Path) -> Launched:
    """Launch right and wrong runs and backfills, on one webserver and one daemon."""
    _write_files(pipeline.raw)
    pipeline.set("GLBX.MDP3:RTY", is_active=False)
    terminal = CommandLine.with_home(
        folder,
        pipeline.raw,
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
        TRISIGNAL_FIRST_DATE=str(DATES.start),
    )
    web, log = Webserver(free_port()), folder / "log"
    with (
        terminal.started("dev", "--port", str(web.port), log=log) as dev,
        stopped_at_last(dev),
    ):

        def wait(condition: Callable[[], bool], what: str) -> None:
            def alive() -> bool:
                assert dev.poll() is None, log.read_text()
                return condition()

            _wait_until(alive, what)

        wait(web.answers, "answer")
        assert web.repository()
        wait(web.daemons_are_well, "healthy daemon")

        one = web.launch_one(partition_key(NQ, FIRST))
        refused_run = web.launch_run(
            {START: partition_key(NQ, FIRST), END: partition_key(ES, LAST)}
        )
        right = [
            web.launch_keys([partition_key(symbol, FIRST) for symbol in (NQ, ES)]),
            web.launch_range(partition_key(ES, DATES.start), partition_key(ES, FIRST)),
        ]
        refused_job = web.launch_job(
            "daily_bars", [partition_key(NQ, day) for day in (FIRST, LAST)]
        )
        refused_range = web.launch_range(partition_key(NQ, FIRST), partition_key(ES, LAST))
        seen = _click_through(web.port, pipeline) if CHROMIUM else None
        terminal.succeed("backfill", NQ, "--start", str(LAST), "--end", str(LAST))
        wait(lambda: web.run_is_over(one), "end of the run")
        wait(lambda: all(map(web.backfill_is_over, right)), "end of the backfills")
        wait(lambda: web.run_status(refused_run) == "FAILURE", "refusal of the run")
        for wrong in (refused_job, refused_range):
            wait(lambda one=wrong: web.backfill_has_failed(one), "refusal")  # type: ignore[misc]

        everything = web.launch_everything()
        wait(lambda: web.backfill_is_over(everything), "end of the backfill of everything")

        of_job = [run["runId"] for run in web.backfill(refused_job)["runs"]]
        outcome = Launched(
            pipeline,
            seen,
            (refused_run, web.run_errors(refused_run)),
            [(run_id, web.run_errors(run_id)) for run_id in of_job],
            web.backfill(refused_range)["error"]["message"],
        )
    assert dev.returncode == 0, log.read_text()
    return outcome


def _click_through(port: int, pipeline: Pipeline) -> Seen:
    """Backfill YM from the graph, then materialise one of its dates from an asset's page."""
    with opened(port) as browser:
        browser.open_graph()
        browser.button("Materialize all").click()
        browser.choose(DATES, YM).click()
        browser.follow_backfill()
        browser.wait_for_success(300)
        dates = pipeline.query(
            "SELECT DISTINCT symbol, date::text FROM signal_dates WHERE symbol = %s ORDER BY 2", YM
        )

        browser.open_asset(TRIANGLES, "partitions", partition_key(YM, LAST))
        browser.page.get_by_text("calendar_verified").wait_for()
        metadata = browser.page.locator("body").inner_text()
        browser.button("Materialize").click()
        browser.button("Launch 1 run").click()
        browser.page.get_by_text("Launched run").wait_for()

        def drawn() -> bool:
            browser.open_asset(TRIANGLES, "partitions", partition_key(YM, LAST))
            browser.page.get_by_text("calendar_verified").wait_for()
            return browser.page.get_by_text("[Show Markdown]").count() > 0

        _wait_until(drawn, "picture of the session")
        width = browser.show_picture().evaluate("image => image.naturalWidth")
        browser.open_asset(TRIANGLES, "checks")
        browser.page.get_by_text("Latest execution").wait_for()
        check = browser.page.locator("body").inner_text()
    return Seen(dates, metadata, check, width)


def _expect_the_ui_to_show_it(seen: Seen) -> None:
    assert seen.dates == [(YM, str(day)) for day in WEEKDAYS]
    for name in ("triangles", "bull", "bear", "bars", "coverage", "seconds"):
        assert f"\n{name}\n" in seen.metadata
    assert CHECKS[TRIANGLES] in seen.check
    assert "Passed" in seen.check
    assert seen.picture_width == 960


def _expect_the_job_refused(launched: Launched) -> None:
    assert launched.refused_job
    for run_id, said in launched.refused_job:
        assert "as the backfill of a job does" in said
        assert "run `trisignal backfill`" in said
        assert _rows_of(launched.pipeline, run_id) == 0


def _expect_the_reverse_range_refused(launched: Launched) -> None:
    run_id, said = launched.refused_run
    assert "in reverse order" in said
    assert "run `trisignal backfill`" in said
    assert _rows_of(launched.pipeline, run_id) == 0
    # A backfill of no partition doesn't get as far as a run: Dagster itself refuses it.
    assert "At least one run should be requested" in launched.refused_range


def _rows_of(pipeline: Pipeline, run_id: str) -> int:
    count: int = pipeline.value(
        "SELECT count(*) FROM data_ingest_runs WHERE dagster_run_id = %s", run_id
    )
    return count
