"""The pictures of docs/: the demo's market in the UI, taken by a headless Chromium.

    python -m trisignal_pipeline_tests.screenshots [FOLDER]

Runs the demo in a home of its own, opens the UI on it, clicks through it as docs/USER_INTERFACE.md
describes, opens the chart page, and writes the pictures to FOLDER, docs/images by default. Takes
some three minutes.
"""

from __future__ import annotations

import sys
import tempfile
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.sources.sample_files import SAMPLE_WEEK, write_history
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.browser import CHROMIUM, Browser, opened
from trisignal_pipeline_tests.end_to_end.command_line import (
    CommandLine,
    stopped_at_last,
    wait_until,
)
from trisignal_pipeline_tests.end_to_end.webserver import Webserver, free_port
from trisignal_pipeline_tests.pipeline import CLEAN, TRIANGLES
from trisignal_pipeline_tests.tiny_market import NQ

_IMAGES = Path(__file__).parents[1] / "docs" / "images"
_TUESDAY = SAMPLE_WEEK.start.replace(day=18)
_DATES = DateRange(_TUESDAY, _TUESDAY.replace(day=20))
_YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
_NEWEST = DateRange(_YESTERDAY - timedelta(days=27), _YESTERDAY)
_PATIENCE_SECONDS = 300.0


def take(folder: Path) -> None:
    """Take all pictures into `folder`."""
    with tempfile.TemporaryDirectory(prefix="trisignal-screenshots-") as name:
        home = Path(name)
        # A year of partitions, so that the week is to be seen among them.
        terminal = CommandLine.with_home(home, TRISIGNAL_FIRST_DATE="2024-06-01")
        terminal.succeed("demo")
        # Plots show the newest partitions, which the demo's week is none of.
        write_history(
            Path(terminal.settings["TRISIGNAL_RAW_DIR"]), "NQ", _NEWEST.start, _NEWEST.end
        )
        terminal.succeed("backfill", NQ, "--start", str(_NEWEST.start), "--end", str(_NEWEST.end))
        web = Webserver(free_port())
        try:
            _chart(terminal, home / "api-log", folder)
            with (
                terminal.started("dev", "--port", str(web.port), log=home / "log") as dev,
                stopped_at_last(dev),
            ):
                wait_until(web.answers, "answer", seconds=_PATIENCE_SECONDS)
                wait_until(web.daemons_are_well, "healthy daemon", seconds=_PATIENCE_SECONDS)
                for width, height, scene in (
                    (1560, 760, _graph),
                    (1280, 860, _launch),
                    (1280, 860, _plots),
                    (1280, 860, _partition),
                ):
                    with opened(web.port, width=width, height=height) as browser:
                        scene(browser, web, folder)
        finally:
            EmbeddedServer.for_home(
                Path(terminal.settings["TRISIGNAL_HOME"]), terminal.environment
            ).reset()


def _shoot(browser: Browser, folder: Path, name: str) -> None:
    browser.page.wait_for_load_state("networkidle")
    browser.page.screenshot(path=folder / f"{name}.png", animations="disabled")


def _graph(browser: Browser, _: Webserver, folder: Path) -> None:
    browser.open_graph()
    browser.unfold_groups()
    browser.page.get_by_text("Partitions", exact=True).first.wait_for()
    _shoot(browser, folder, "asset-graph")


def _launch(browser: Browser, _: Webserver, folder: Path) -> None:
    browser.open_graph()
    browser.button("Materialize all").click()
    launch = browser.choose(_DATES, NQ)
    _shoot(browser, folder, "launch")
    launch.click()
    browser.follow_backfill()
    browser.wait_for_success(_PATIENCE_SECONDS)
    _shoot(browser, folder, "backfill")


def _chart(terminal: CommandLine, log: Path, folder: Path) -> None:
    """The chart page on the demo's Tuesday."""
    port = free_port()
    with (
        terminal.started("api", "--port", str(port), log=log) as api,
        stopped_at_last(api),
    ):
        wait_until(lambda: _is_ready(port), "answer", seconds=_PATIENCE_SECONDS)
        with opened(port, width=1280, height=760) as browser:
            browser.open(f"?symbol={NQ}&tf=1m&gaps=15m&at={_TUESDAY}T13:31:00Z")
            browser.page.locator("#why h2").wait_for()
            browser.page.keyboard.press("n")
            _shoot(browser, folder, "chart")


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except OSError:
        return False


def _plots(browser: Browser, _: Webserver, folder: Path) -> None:
    browser.open_asset(TRIANGLES, "overview")
    browser.page.get_by_text("Plots", exact=True).first.click()
    browser.page.locator("canvas").first.wait_for()
    browser.page.get_by_text("Metadata", exact=True).first.evaluate("e => e.scrollIntoView()")
    _shoot(browser, folder, "plots")


def _partition(browser: Browser, web: Webserver, folder: Path) -> None:
    key = partition_key(NQ, _TUESDAY)
    browser.open_asset(CLEAN, "partitions", key)
    browser.page.get_by_text("first_minute").wait_for()
    _shoot(browser, folder, "partition")
    run = web.launch_one(key)
    wait_until(lambda: web.run_is_over(run), "end of the run", seconds=_PATIENCE_SECONDS)
    browser.open_asset(TRIANGLES, "partitions", key)
    browser.show_picture()
    _shoot(browser, folder, "session")
    browser.open_asset(CLEAN, "checks")
    browser.page.get_by_text("Latest execution").wait_for()
    _shoot(browser, folder, "checks")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("there is no chromium on this machine; install Debian's package of that name")
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else _IMAGES)
