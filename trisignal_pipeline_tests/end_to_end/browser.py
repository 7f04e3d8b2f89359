"""Dagster's UI in a headless Chromium: what a user clicks there, and what is to be seen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline_tests.pipeline import ASSETS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = shutil.which("chromium")

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Browser:
    """One page of the UI at a port of this machine."""

    page: Page
    port: int

    def open(self, path: str) -> None:
        """Go to a page of the UI."""
        self.page.goto(f"http://127.0.0.1:{self.port}/{path}")

    def open_graph(self) -> None:
        """The graph of all assets."""
        self.open("asset-groups")
        self.button("Materialize all").wait_for()

    def unfold_groups(self) -> None:
        """Let the graph show every asset, and the page nothing beside it."""
        self.page.get_by_text("Hide navigation").click()
        self.page.locator("[aria-label='panel_show_right']").first.click()
        self.page.keyboard.press("Alt+e")

    def open_asset(self, asset: str, view: str, partition: str = "") -> None:
        """A tab of an asset's page."""
        selected = f"&partition={quote(partition)}" if partition else ""
        self.open(f"assets/{asset}?view={view}{selected}")

    def button(self, text: str) -> Locator:
        """The first button whose name begins so."""
        return self.page.get_by_role("button", name=re.compile(text)).first

    def choose(self, dates: DateRange, symbol: str) -> Locator:
        """Fill in the dialogue that Materialize opens, and return its button that launches."""
        dialogue = self.page.get_by_role("dialog").first
        box = dialogue.locator("input[type=text]").first
        box.fill(f"[{dates.start}...{dates.end}]")
        box.press("Tab")
        dialogue.get_by_text("Select a partition or create one").click()
        self.page.locator("label").filter(has_text=symbol).last.click()
        # Clicking elsewhere closes the list of symbols.
        dialogue.get_by_text("Launch runs to materialize").first.click()
        dialogue.get_by_text(f"{len(dates)} partitions").wait_for()
        return dialogue.get_by_role("button", name=re.compile("Launch"))

    def follow_backfill(self) -> str:
        """Go to the page of the backfill just launched; return its id."""
        self.page.get_by_text("Created backfill").wait_for()
        self.page.get_by_text("View", exact=True).last.click()
        self.page.wait_for_url(re.compile("/runs/b/"))
        return self.page.url.partition("/runs/b/")[2].partition("?")[0]

    def wait_for_success(self, seconds: float) -> None:
        """Wait until the page of a backfill of every asset calls all of it done."""
        done = self.page.get_by_text("100% completed").nth(len(ASSETS) - 1)
        done.wait_for(timeout=seconds * 1000)
        # The other one heads a column.
        self.page.get_by_text("Succeeded", exact=True).nth(1).wait_for(timeout=seconds * 1000)

    def show_picture(self) -> Locator:
        """Open the picture of the partition that is shown."""
        self.page.get_by_text("[Show Markdown]").first.click()
        image = self.page.locator("img[src^='data:image/png']")
        image.wait_for()
        return image


@contextmanager
def opened(port: int, *, width: int = 1280, height: int = 860) -> Iterator[Browser]:
    """A browser with an empty profile of its own, gone afterwards."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 only where there is a browser

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            page = chromium.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(_PATIENCE_MS)
            yield Browser(page, port)
        finally:
            chromium.close()
