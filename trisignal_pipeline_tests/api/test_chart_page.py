"""The chart page in a headless Chromium, over a generated week with a roll and corrected bars."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread

from trisignal_pipeline.api.access import Token
from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.api.page import STATIC
from trisignal_pipeline.market.bars import PRICE_UNIT, Bars
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.api.conftest import copy_database
from trisignal_pipeline_tests.api.running_api import Api, running
from trisignal_pipeline_tests.end_to_end.browser import ARGUMENTS, CHROMIUM
from trisignal_pipeline_tests.end_to_end.command_line import wait_until
from trisignal_pipeline_tests.query.stored_market import (
    HOLIDAY_WEEK,
    NQ,
    generated,
    store_clean,
    store_signals,
    with_roll,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LIBRARY = STATIC / "lightweight-charts" / "lightweight-charts.standalone.production.mjs"
SHA256 = "1bb1ee79f9d4dd17261b53d930f7a8995748276f80e7ba0e24412b5068062f5f"
SHOWN = "body[data-candles]:not([data-candles='0'])"
ROLL, SESSION, DARK = (122, 63, 196), (185, 191, 204), (16, 19, 26)
CORRECTED, QUARANTINED = (138, 63, 252), (217, 120, 0)
RIBBONS = 140
"""How many rows of pixels the ribbons and the axis below them take, about."""

LAST_DATE = DateRange(HOLIDAY_WEEK.end, HOLIDAY_WEEK.end)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


def corrected_last_date(bars: Bars) -> Bars:
    """The bars of the last date, one of them with another volume and one impossible."""
    own = bars.take(bars.ts >= LAST_DATE.start_ns)
    volume, high = own.volume.copy(), own.high.copy()
    volume[-30] += 1
    high[-20] = own.low[-20] - PRICE_UNIT
    return Bars(own.ts, own.open, high, own.low, own.close, volume, own.contract, own.contracts)


@pytest.fixture(scope="module")
def chart_week(server: EmbeddedServer, week_template: str) -> Database:
    """The week, whose last date was delivered once more."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(server, name, week_template)
    database = Database(server.url(name))
    delivered = corrected_last_date(with_roll(generated(HOLIDAY_WEEK, share=0.75)))
    store_clean(database, delivered, LAST_DATE)
    store_signals(database, HOLIDAY_WEEK)
    return database


@pytest.fixture(scope="module")
def chart_api(chart_week: Database) -> Iterator[Api]:
    with running(build_app(chart_week)) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 only where there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass(frozen=True, slots=True)
class Chart:
    """The page, and what it complained about."""

    page: Page
    root: str
    complaints: list[str]

    def open(self, **asked: str) -> None:
        """Open the page on the week's market, and wait for its candles."""
        query = "&".join(f"{name}={value}" for name, value in {"symbol": NQ, **asked}.items())
        self.page.goto(f"{self.root}/?{query}")
        self.page.wait_for_selector(SHOWN)

    def candles(self) -> int:
        return int(self.page.locator("body").get_attribute("data-candles") or 0)

    def legend(self) -> str:
        return self.page.locator("#legend").inner_text()

    def why(self) -> str:
        return self.page.locator("#why").inner_text()

    def wait_for_why(self, text: str) -> None:
        self.page.locator("#why").get_by_text(text).first.wait_for()

    def status(self) -> str:
        return self.page.locator("#status").inner_text()

    def colours(self, lowest: int = 0) -> set[tuple[int, ...]]:
        """The colours in the picture of the chart or its `lowest` rows: red, green and blue."""
        pixels = imread(io.BytesIO(self.page.locator("#chart").screenshot()))[-lowest:, :, :3]
        distinct = np.unique(np.rint(pixels.reshape(-1, 3) * 255).astype(int), axis=0)
        return set(map(tuple, distinct.tolist()))


@pytest.fixture
def chart(chromium: Browser, chart_api: Api, request: pytest.FixtureRequest) -> Iterator[Chart]:
    """A page of its own; `request.param` are options of its browser. It must not complain."""
    context = chromium.new_context(**getattr(request, "param", {}))
    context.set_default_timeout(15_000)
    complaints: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    yield Chart(page, f"http://127.0.0.1:{chart_api.port}", complaints)
    context.close()
    assert not complaints


def triangles(api: Api, **asked: object) -> dict[str, list[Any]]:
    found = api.get(
        "triangles/events", symbol=NQ, start="2024-11-20T00:00:00Z", end="2024-12-10T00:00:00Z"
    )
    return found.columns


def test_the_library_is_the_published_one_unchanged_and_its_style_is_let_through(
    chart_api: Api,
) -> None:
    content = LIBRARY.read_bytes()

    assert hashlib.sha256(content).hexdigest() == SHA256
    assert "Apache License" in LIBRARY.with_name("LICENSE").read_text("utf-8")
    assert "TradingView" in LIBRARY.with_name("NOTICE").read_text("utf-8")
    [style] = re.findall(rb'innerText="(a#tv-attr-logo\{.*?)"', content)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    answer = chart_api.get("/")
    assert f"'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    script = chart_api.get(f"/static/lightweight-charts/{LIBRARY.name}")
    assert script.content == content
    assert script.headers["Content-Type"].startswith("text/javascript")


@needs_chromium
def test_a_week_of_minutes_is_shown_within_a_second(chart: Chart) -> None:
    def seconds_until_shown() -> float:
        chart.open()
        marks = "() => performance.getEntriesByName('shown').map((mark) => mark.startTime)"
        wait_until(lambda: chart.page.evaluate(marks), "painted week", seconds=10)
        return float(chart.page.evaluate(marks)[0]) / 1_000

    # The best of some: others use the machine, too.
    seconds = min(seconds_until_shown() for _ in range(3))

    assert chart.candles() > 4_000
    assert "NQH5 1m Tue 2024-12-03" in chart.legend()
    assert seconds < 1.0
    assert chart.page.locator("#tv-attr-logo").is_visible()


@needs_chromium
def test_scrolling_back_loads_more_until_the_first_bar(chart: Chart) -> None:
    chart.open(at="2024-12-03T12:00:00Z")
    chart.page.locator("#chart").hover()
    before = chart.candles()

    def all_bars() -> int:
        return int(chart.page.evaluate("() => Number(document.body.dataset.candles)"))

    for _ in range(200):
        chart.page.mouse.wheel(-1_200, 0)
        if all_bars() > before:
            break
    assert all_bars() > before


@needs_chromium
def test_the_keys_go_from_triangle_to_triangle_and_say_why(chart: Chart, chart_api: Api) -> None:
    found = triangles(chart_api)
    at = found["ts"].index(next(ts for ts in found["ts"] if ts > "2024-12-02"))
    chart.open(at=found["ts"][at])
    chart.wait_for_why("triangle: the 1-minute bias became")

    chart.page.keyboard.press("n")
    shown = found["ts"][at + 1][:16].replace("T", " ")
    chart.wait_for_why(f"{shown} UTC")
    assert f"at={found['ts'][at + 1]}" in chart.page.url
    assert f"{found['direction'][at + 1]} triangle" in chart.why()
    assert f"{shown} O" in chart.legend()
    assert f"triangle: {found['direction'][at + 1].lower()}" in chart.legend()

    chart.page.keyboard.press("p")
    chart.wait_for_why(f"{found['ts'][at][:16].replace('T', ' ')} UTC")

    engulfing = next(
        ts for ts, is_so in zip(found["ts"], found["engulfing"], strict=True)
        if is_so and ts > found["ts"][at]
    )  # fmt: skip
    chart.page.keyboard.press("e")
    chart.page.keyboard.press("n")
    chart.wait_for_why(f"{engulfing[:16].replace('T', ' ')} UTC")
    assert chart.page.get_by_label("engulfing").is_checked()


@needs_chromium
def test_filters_change_what_is_shown_without_asking_the_server(chart: Chart) -> None:
    chart.open(tf="1h", at="2024-12-03T12:00:00Z")
    chart.wait_for_why("UTC")
    asked: list[str] = []

    def counted() -> int:
        return sum(map(int, re.findall(r"(?:(\d+) (?:bull|bear))", chart.legend())))

    everything = counted()
    chart.page.on("request", lambda request: asked.append(request.url))
    chart.page.get_by_label("engulfing").check()
    some = counted()
    chart.page.get_by_label("sweep").check()

    assert everything > some >= counted()
    assert "engulfing=true&sweep=true" in chart.page.url
    assert not asked


@needs_chromium
def test_a_date_can_be_jumped_to_and_the_address_opens_the_same_again(chart: Chart) -> None:
    chart.open()
    chart.page.keyboard.press("g")
    chart.page.keyboard.type("2024-11-29 15:00")
    chart.page.keyboard.press("Enter")
    chart.wait_for_why("2024-11-29")
    minute = chart.page.locator("#why h2").inner_text()

    chart.page.goto("about:blank")
    chart.page.go_back()
    chart.page.wait_for_selector(SHOWN)
    chart.wait_for_why(minute)

    chart.page.get_by_label("Go to date and time, UTC").fill("tomorrow")
    chart.page.keyboard.press("Enter")
    assert "Write the date as" in chart.status()


@needs_chromium
def test_resting_on_a_candle_tells_the_state_and_why(chart: Chart) -> None:
    chart.open()
    chart.wait_for_why("UTC")
    first = chart.page.locator("#why h2").inner_text()
    box = chart.page.locator("#chart").bounding_box()
    assert box is not None
    chart.page.mouse.move(box["x"] + 200, box["y"] + 200)

    chart.page.locator("#why h2").filter(has_not_text=first).wait_for()
    told = chart.page.locator("#why h2").inner_text().removesuffix(" UTC")
    assert told in chart.legend()
    for timeframe in ("1m", "5m", "15m", "1h", "4h", "1d"):
        assert re.search(rf"{timeframe} (Neutral|Bullish|Bearish)", chart.legend())


@needs_chromium
def test_every_timeframe_shows_rolls_sessions_gaps_and_what_was_corrected(
    chart: Chart, chart_week: Database
) -> None:
    with chart_week.connect("test") as connection:
        corrected, removed = (
            ts
            for (ts,) in connection.execute(
                "SELECT ts FROM market_bars_revisions WHERE symbol = %s ORDER BY ts", (NQ,)
            )
        )
        [rejected] = (
            ts
            for (ts,) in connection.execute(
                "SELECT ts FROM quarantined_bars_in_points WHERE symbol = %s", (NQ,)
            )
        )
    assert rejected == removed
    chart.open(at=f"{corrected:%Y-%m-%dT%H:%M:00Z}")
    chart.wait_for_why("corrected")
    assert "1 corrected" in chart.legend()
    chart.open(at=f"{rejected:%Y-%m-%dT%H:%M:00Z}")
    chart.wait_for_why("quarantined")
    wait_until(lambda: QUARANTINED in chart.colours(RIBBONS), "quarantined minute", seconds=10)
    assert CORRECTED in chart.colours(RIBBONS)
    for timeframe in ("1m", "4h"):
        chart.open(tf=timeframe, at="2024-11-29T00:30:00Z")
        chart.wait_for_why("UTC")
        wait_until(lambda: {ROLL, SESSION} <= chart.colours(), "roll and session", seconds=10)


@needs_chromium
@pytest.mark.parametrize(
    "chart", [{"viewport": {"width": 390, "height": 780}, "has_touch": True}], indirect=True
)
def test_a_phone_has_everything_within_its_width_and_explains_what_is_touched(chart: Chart) -> None:
    chart.open()
    chart.wait_for_why("UTC")
    first = chart.page.locator("#why h2").inner_text()
    assert chart.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    box = chart.page.locator("#chart").bounding_box()
    assert box is not None
    assert box["height"] > 300
    chart.page.touchscreen.tap(box["x"] + 60, box["y"] + 200)
    chart.page.locator("#why h2").filter(has_not_text=first).wait_for()
    assert "at=" in chart.page.url


@needs_chromium
@pytest.mark.parametrize("chart", [{"color_scheme": "dark"}], indirect=True)
def test_dark_is_what_the_system_prefers_until_the_switch_is_used(chart: Chart) -> None:
    chart.open()
    assert DARK in chart.colours()
    chart.page.get_by_role("button", name="Light or dark").click()
    chart.page.locator(":root[data-theme=light]").wait_for()
    chart.open()
    assert chart.page.locator(":root").get_attribute("data-theme") == "light"
    assert DARK not in chart.colours()


@needs_chromium
def test_what_is_not_there_is_said_in_words(chart: Chart) -> None:
    for symbol, said in (
        ("GLBX.MDP3:ES", "No bars of GLBX.MDP3:ES are stored yet"),
        ("NOWHERE:XX", "There is no symbol NOWHERE:XX here"),
    ):
        chart.page.goto(f"{chart.root}/?symbol={symbol}")
        chart.page.get_by_text(said).wait_for()
    chart.open()
    chart.page.route("**/api/**", lambda route: route.abort())
    chart.page.get_by_role("button", name="5m", exact=True).click()
    chart.page.get_by_text("The server doesn't answer").wait_for()
    assert chart.complaints
    assert all("ERR_FAILED" in complaint for complaint in chart.complaints)
    chart.complaints.clear()


@needs_chromium
def test_a_server_that_wants_a_token_is_shown_what_was_typed(
    chromium: Browser, chart_week: Database
) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    with running(build_app(chart_week, token=Token(secret))) as api:
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{api.port}/?symbol={NQ}")
        page.get_by_label("Token of this server (TRISIGNAL_API_TOKEN)").fill(secret)
        page.keyboard.press("Enter")
        page.wait_for_selector(SHOWN)
        assert secret not in page.url
        page.close()


@needs_chromium
def test_every_control_has_a_name(chart: Chart) -> None:
    chart.open()
    for control in chart.page.locator("button, input, select").all():
        name = control.evaluate(
            "e => e.getAttribute('aria-label') || (e.labels?.[0] ?? e).textContent.trim()"
        )
        assert name, control.evaluate("e => e.outerHTML")


def test_every_module_of_the_page_is_loaded_ahead() -> None:
    modules = {path.name for path in (STATIC / "chart").glob("*.js")}
    named = re.findall(
        r'(?:href|src)="/static/chart/(\w+\.js)"', (STATIC / "index.html").read_text()
    )

    assert sorted(named) == sorted(modules)
