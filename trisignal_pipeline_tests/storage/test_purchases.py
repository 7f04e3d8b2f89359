"""What is missing is bought once, within the budget, verified, and told to the audit."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import Any, LiteralString

import numpy as np
import pytest

from trisignal_pipeline.errors import (
    ApiRefusedError,
    ApiUnavailableError,
    BudgetError,
    ConfigurationError,
    TrisignalError,
    WrongDeliveryError,
)
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources import download_jobs
from trisignal_pipeline.sources.databento_api import MOST_ATTEMPTS, DatabentoApi, Order
from trisignal_pipeline.storage import catalogue, conditions, registry
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.purchases import Bought, Budget, Purchases, Quote, Wanted
from trisignal_pipeline_tests.sources.databento_server import (
    BARS,
    COST,
    KEY,
    Answer,
    DatabentoServer,
    error,
)
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, WEDNESDAY, write_day

FRIDAY, SUNDAY, NEXT_MONDAY = date(2024, 6, 28), date(2024, 6, 30), date(2024, 7, 1)
WEEK = DateRange(MONDAY, FRIDAY)
A_DAY = Decimal("0.125")

BUSY = error(503, "unavailable", "Try later.")


@dataclass
class Shop:
    """A raw folder, a folder for clean bars, and what is bought for them."""

    database: Database
    settings: Settings
    market: Market
    pauses: list[float] = field(default_factory=list)

    @property
    def raw(self) -> Purchases:
        return self._patient(Purchases.for_raw(self.database, self.settings))

    @property
    def clean(self) -> Purchases:
        return self._patient(Purchases.for_clean(self.database, self.settings))

    def buy(
        self, dates: DateRange = WEEK, limit: str = "5", *, again: bool = False, **where: Purchases
    ) -> Bought:
        purchases = where.get("purchases", self.raw)
        return purchases.buy(
            [self.wanted(dates)], Budget(Decimal(limit)), asset="raw_dbn_files", again=again
        )

    def wanted(self, dates: DateRange = WEEK) -> Wanted:
        return Wanted(self.market, tuple(dates))

    def query(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        with self.database.connect("tests") as connection:
            return connection.execute(statement).fetchall()

    def covered(self, dates: DateRange = WEEK, raw_dir: Path | None = None) -> list[date]:
        with self.database.connect("tests") as connection:
            coverage = catalogue.coverage(
                connection, raw_dir or self.settings.raw_dir, self.market, dates
            )
        return [day for day in dates if coverage.files(day)]

    def hidden(self) -> list[Path]:
        jobs = self.settings.raw_dir / "databento_api"
        return [path for path in jobs.glob(".*/*") if path.is_dir()]

    def _patient(self, purchases: Purchases) -> Purchases:
        def api() -> DatabentoApi:
            made = DatabentoApi.for_settings(self.settings)
            return replace(made, wait=self.pauses.append, timeout_seconds=0.5)

        return replace(purchases, api=api)


@pytest.fixture
def shop(databento: DatabentoServer, database_url: str, tmp_path: Path) -> Shop:
    settings = replace(
        Settings.from_environment(), raw_dir=tmp_path / "raw", api_dir=tmp_path / "api"
    )
    database = Database(database_url)
    with database.connect("tests") as connection:
        return Shop(database, settings, registry.market(connection, NQ))


AUDIT: LiteralString = """
    SELECT status, asset, symbol, source, start_date, end_date, cost_usd, file_name,
           length(file_sha256), row_count, retry_count, error
    FROM data_ingest_runs ORDER BY id
"""


def test_what_is_missing_is_bought_and_catalogued(shop: Shop, databento: DatabentoServer) -> None:
    bought = shop.buy()

    assert databento.bought == [WEEK]
    assert shop.covered() == list(WEEK)
    assert bought.spent_usd == 5 * A_DAY
    name = "glbx-mdp3-nq-v-0-20240624-20240628.ohlcv-1m.dbn.zst"
    assert [file.name for file in bought.files] == [name]
    row = ("success", "raw_dbn_files", NQ, "databento_api", MONDAY, FRIDAY, 5 * A_DAY, name, 64)
    assert shop.query(AUDIT) == [(*row, 0, 0, None)]


def test_a_purchase_lies_as_a_job_of_the_vendor_does(shop: Shop) -> None:
    shop.buy()

    [job] = (shop.settings.raw_dir / "databento_api").glob("GLBX-*")
    manifest, metadata, condition = (
        json.loads((job / f"{name}.json").read_text())
        for name in ("manifest", "metadata", "condition")
    )
    assert manifest["job_id"] == metadata["job_id"] == job.name
    assert metadata["query"]["symbols"] == ["NQ.v.0"]
    assert {path.name for path in job.iterdir()} == {
        "manifest.json",
        *(listed["filename"] for listed in manifest["files"]),
    }
    for listed in manifest["files"]:
        assert (job / listed["filename"]).stat().st_size == listed["size"]
        assert listed["hash"].startswith("sha256:")
    assert [day["date"] for day in condition] == [str(day) for day in WEEK]
    assert not shop.hidden()


def test_nothing_is_bought_twice(shop: Shop, databento: DatabentoServer) -> None:
    shop.buy()
    databento.asked.clear()

    again = shop.buy()
    assert again == Bought((Quote(shop.wanted(), 5),), (), (), Decimal(0))
    assert not databento.asked

    shop.buy(DateRange(WEDNESDAY, NEXT_MONDAY))
    assert databento.bought == [DateRange(SUNDAY, SUNDAY), DateRange(NEXT_MONDAY, NEXT_MONDAY)]


def test_two_at_once_buy_once(shop: Shop, databento: DatabentoServer) -> None:
    both = Barrier(2)

    def buy() -> int:
        both.wait()
        return len(shop.buy().files)

    with ThreadPoolExecutor(2) as threads:
        files = [thread.result() for thread in [threads.submit(buy), threads.submit(buy)]]

    assert sorted(files) == [0, 1]
    assert databento.bought == [WEEK]


def test_files_that_lie_there_are_not_bought(shop: Shop, databento: DatabentoServer) -> None:
    write_day(shop.settings.raw_dir, TUESDAY)
    write_day(shop.settings.raw_dir, FRIDAY)

    bought = shop.buy()

    assert databento.bought == [
        DateRange(MONDAY, MONDAY),
        DateRange(WEDNESDAY, date(2024, 6, 27)),
    ]
    assert bought.quotes[0].kept == 2
    assert shop.covered() == list(WEEK)


def test_a_refused_file_covers_nothing(shop: Shop, databento: DatabentoServer) -> None:
    path = write_day(shop.settings.raw_dir, TUESDAY)
    path.write_bytes(path.read_bytes()[:200])

    shop.buy(DateRange(TUESDAY, TUESDAY))

    assert databento.bought == [DateRange(TUESDAY, TUESDAY)]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"DBN")])
def test_what_was_bought_and_spoilt_is_bought_again_only_if_told_so(
    shop: Shop, databento: DatabentoServer, spoil: Callable[[Path], object]
) -> None:
    shop.buy(DateRange(MONDAY, TUESDAY))
    [path] = shop.settings.raw_dir.rglob("*.dbn.zst")
    spoil(path)

    [quote] = shop.buy().quotes

    assert databento.bought == [DateRange(MONDAY, TUESDAY), DateRange(WEDNESDAY, FRIDAY)]
    [(dates, reason)] = quote.left_out
    assert dates == DateRange(MONDAY, TUESDAY)
    assert f"they were paid for as {path.parent.name}" in reason

    shop.buy(DateRange(MONDAY, TUESDAY), again=True)
    assert shop.covered() == list(WEEK)


def test_a_file_holds_a_month_at_most_and_days_off_between(
    shop: Shop, databento: DatabentoServer
) -> None:
    shop.buy(DateRange(date(2024, 5, 30), date(2024, 7, 2)))

    assert databento.bought == [
        DateRange(date(2024, 5, 30), date(2024, 5, 31)),
        DateRange(date(2024, 6, 2), date(2024, 6, 30)),
        DateRange(date(2024, 7, 1), date(2024, 7, 2)),
    ]


def test_again_buys_anew_and_the_later_job_comes_later(
    shop: Shop, databento: DatabentoServer
) -> None:
    shop.buy()
    shop.buy(again=True)

    assert databento.bought == [WEEK, WEEK]
    jobs = download_jobs.kept_jobs(shop.settings.raw_dir / "databento_api", "GLBX.MDP3", "NQ.v.0")
    assert [job.order.dates for job in jobs] == [WEEK, WEEK]
    with shop.database.connect("tests") as connection:
        files = catalogue.coverage(connection, shop.settings.raw_dir, shop.market, WEEK).files(
            MONDAY
        )
    assert [file.path.parent.name for file in files] == [job.id for job in jobs]


def test_only_whole_days_that_exist_are_bought(shop: Shop, databento: DatabentoServer) -> None:
    databento.available = DateRange(TUESDAY, WEDNESDAY)

    bought = shop.buy()

    assert databento.bought == [DateRange(TUESDAY, WEDNESDAY)]
    told = f"Databento has {TUESDAY} to {WEDNESDAY} for this key, in whole days"
    assert bought.quotes[0].left_out == (
        (DateRange(MONDAY, MONDAY), told),
        (DateRange(date(2024, 6, 27), FRIDAY), told),
    )


def test_pending_and_missing_days_are_not_bought_and_degraded_ones_are(
    shop: Shop, databento: DatabentoServer
) -> None:
    databento.conditions = {MONDAY: "degraded", TUESDAY: "missing", FRIDAY: "pending"}

    bought = shop.buy()

    assert databento.bought == [
        DateRange(MONDAY, MONDAY),
        DateRange(WEDNESDAY, date(2024, 6, 27)),
    ]
    assert bought.quotes[0].degraded == (DateRange(MONDAY, MONDAY),)
    assert bought.quotes[0].left_out == (
        (DateRange(FRIDAY, FRIDAY), "Databento calls them pending"),
        (DateRange(TUESDAY, TUESDAY), "Databento calls them missing"),
    )
    with shop.database.connect("tests") as connection:
        told = conditions.of_dates(connection, "GLBX.MDP3", WEEK)
    assert [told[day].condition for day in (MONDAY, TUESDAY, FRIDAY)] == [
        "degraded",
        "missing",
        "pending",
    ]


def test_beyond_the_budget_nothing_is_bought(shop: Shop, databento: DatabentoServer) -> None:
    dates = DateRange(date(2024, 5, 30), date(2024, 7, 2))  # three files, each within the budget

    with pytest.raises(BudgetError, match=r"costs 4\.125 USD, but of the budget of 4 USD 0 USD"):
        shop.buy(dates, "4")

    assert not databento.bought
    assert shop.query(AUDIT) == []


def test_a_budget_is_spent_to_the_last_cent(shop: Shop, databento: DatabentoServer) -> None:
    shop.buy(limit="0.625")

    assert databento.bought == [WEEK]


def test_a_quote_buys_nothing(shop: Shop, databento: DatabentoServer) -> None:
    [quote] = shop.raw.estimate([shop.wanted()])

    assert quote.cost_usd == 5 * A_DAY
    assert not databento.bought


def test_an_attempt_that_broke_is_paid_for_and_repeated(
    shop: Shop, databento: DatabentoServer
) -> None:
    databento.will(BARS, Answer(breaks_at=0.5), Answer(stalls_at=0.5))

    bought = shop.buy()

    assert databento.bought == [WEEK] * 3
    assert len(shop.pauses) == 2
    assert bought.spent_usd == 15 * A_DAY
    [(status, *_, cost, _, _, _, retries, _)] = shop.query(AUDIT)
    assert (status, cost, retries) == ("success", 15 * A_DAY, 2)
    assert shop.covered() == list(WEEK)


def test_what_the_api_would_not_send_is_not_paid_for(
    shop: Shop, databento: DatabentoServer
) -> None:
    databento.will(BARS, error(429, "rate_limit", "Slow down.", **{"Retry-After": "9"}), BUSY)

    bought = shop.buy(limit="0.625")

    assert shop.pauses[0] == 9
    assert bought.spent_usd == 5 * A_DAY
    [(_, *_, cost, _, _, _, retries, _)] = shop.query(AUDIT)
    assert (cost, retries) == (5 * A_DAY, 2)


def test_repeating_ends_where_the_budget_does(shop: Shop, databento: DatabentoServer) -> None:
    databento.will(BARS, *[Answer(breaks_at=0.5)] * 9)

    with pytest.raises(BudgetError, match="after an attempt that broke"):
        shop.buy(limit="1.5")

    assert databento.bought == [WEEK] * 2
    [(status, *_, cost, _, _, _, _, told)] = shop.query(AUDIT)
    assert (status, cost) == ("failed", 10 * A_DAY)
    assert told.startswith("BudgetError")
    assert not shop.hidden()


def test_attempts_are_bounded(shop: Shop, databento: DatabentoServer) -> None:
    databento.will(BARS, *[BUSY] * 99)

    with pytest.raises(ApiUnavailableError):
        shop.buy()

    assert len(databento.bought) == MOST_ATTEMPTS
    [(status, *_, cost, _, _, _, _, _)] = shop.query(AUDIT)
    assert (status, cost) == ("failed", 0)


@pytest.mark.parametrize(
    "refusal",
    [
        error(401, "auth_invalid_api_key", f"The key {KEY} is invalid."),
        error(422, "symbology_invalid_symbol", "Unknown symbol."),
    ],
    ids=["bad key", "unknown symbol"],
)
@pytest.mark.parametrize("endpoint", [COST, BARS])
def test_a_no_is_final_and_free(
    shop: Shop, databento: DatabentoServer, endpoint: str, refusal: Answer
) -> None:
    databento.will(endpoint, refusal)

    with pytest.raises(ApiRefusedError):
        shop.buy()

    assert databento.count(endpoint) == 1
    assert not shop.pauses
    assert [(row[0], row[6]) for row in shop.query(AUDIT)] == [("failed", 0)] * (endpoint == BARS)
    assert KEY not in str(shop.query(AUDIT))


@dataclass(frozen=True)
class Lie:
    """How a server changes what was asked for before it answers."""

    name: str
    told: str
    query: Callable[[dict[str, str]], dict[str, str]] = lambda query: query
    body: Callable[[bytes], bytes] = lambda body: body


LIES = [
    Lie("range", "its end is", lambda query: {**query, "end": "2024-06-26"}),
    Lie("start", "its start is", lambda query: {**query, "start": "2024-06-20"}),
    Lie("symbol", "its symbol is ES.v.0", lambda query: {**query, "symbols": "ES.v.0"}),
    Lie("dataset", "its dataset is XEUR.EOBI", lambda query: {**query, "dataset": "XEUR.EOBI"}),
    Lie("schema", "not ohlcv-1m", lambda query: {**query, "schema": "ohlcv-1d"}),
    Lie("cut", "cut short", body=lambda body: body[:-40]),
    Lie("page", "text", body=lambda _: b"<html>Welcome to the hotel</html>"),
    Lie("nothing", "empty", body=lambda _: b""),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_what_was_not_ordered_is_refused_and_kept_apart(
    shop: Shop, databento: DatabentoServer, lie: Lie
) -> None:
    asked = {
        "dataset": "GLBX.MDP3",
        "symbols": "NQ.v.0",
        "schema": "ohlcv-1m",
        "start": str(MONDAY),
        "end": "2024-06-29",
    }
    sent = lie.body(databento.bars_file(lie.query(asked)))
    databento.will(BARS, Answer(body=sent))

    with pytest.raises(WrongDeliveryError, match=lie.told):
        shop.buy()

    assert databento.count(BARS) == 1
    assert shop.covered() == []
    [(status, *_, cost, _, _, _, _, told)] = shop.query(AUDIT)
    assert (status, cost) == ("failed", 5 * A_DAY)
    assert lie.told in told
    [apart] = shop.hidden()
    assert [path.read_bytes() for path in apart.glob("*.dbn.zst")] == [sent]

    shop.buy()
    assert shop.covered() == list(WEEK)


def test_bars_of_another_market_in_the_file_are_refused(
    shop: Shop, databento: DatabentoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_stranger(day: date, _: str) -> Any:
        made = ordinary(day, "NQ")
        made["instrument_id"][-1] = 2
        return made

    ordinary = databento.sold
    databento.sold = with_a_stranger
    databento.mapped = {"ES.v.0": "2"}

    with pytest.raises(WrongDeliveryError, match="it holds bars of ES"):
        shop.buy()


def test_no_bars_for_a_price_is_no_delivery(shop: Shop, databento: DatabentoServer) -> None:
    ordinary = databento.sold
    databento.sold = lambda day, root: ordinary(day, root)[:0]

    with pytest.raises(WrongDeliveryError, match="no bars"):
        shop.buy()

    databento.dollars_a_day = 0
    shop.buy()
    assert shop.covered() == list(WEEK)


def test_a_whole_download_that_a_kill_left_is_completed(
    shop: Shop, databento: DatabentoServer
) -> None:
    jobs = shop.settings.raw_dir / "databento_api"
    with download_jobs.alone_in(jobs):
        whole, cut = (
            download_jobs.begin(jobs, Order("GLBX.MDP3", "NQ.v.0", dates), [])
            for dates in (DateRange(MONDAY, TUESDAY), DateRange(WEDNESDAY, FRIDAY))
        )
        for job in (whole, cut):
            shop.raw.api().download(job.order, job.path)
        cut.path.write_bytes(cut.path.read_bytes()[:-9])
    databento.asked.clear()

    shop.buy()

    assert databento.bought == [DateRange(WEDNESDAY, FRIDAY)]
    assert shop.covered() == list(WEEK)
    assert not shop.hidden()


def test_what_came_whole_is_kept_though_the_disk_is_full(
    shop: Shop, databento: DatabentoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(download_jobs, "_to_disk", full)
        with pytest.raises(ConfigurationError, match="No space left on device"):
            shop.buy()
    assert shop.covered() == []

    shop.buy()

    assert databento.bought == [WEEK]
    assert shop.covered() == list(WEEK)
    assert [row[0] for row in shop.query(AUDIT)] == ["failed"]


def test_what_one_folder_has_is_lent_to_the_other(shop: Shop, databento: DatabentoServer) -> None:
    shop.buy(purchases=shop.clean)

    bought = shop.buy(DateRange(MONDAY, SUNDAY))

    assert databento.bought == [WEEK, DateRange(SUNDAY, SUNDAY)]
    [lent] = bought.lent
    assert shop.covered() == list(WEEK)
    of_both = [
        np.fromfile(path, np.uint8).tobytes()
        for folder in (shop.settings.api_dir, shop.settings.raw_dir / "databento_api")
        for path in (folder / lent).glob("*.dbn.zst")
    ]
    assert of_both == of_both[:1] * 2


def test_the_folder_of_clean_bars_is_not_the_raw_one(
    shop: Shop, databento: DatabentoServer
) -> None:
    write_day(shop.settings.raw_dir, TUESDAY)

    shop.buy(DateRange(TUESDAY, TUESDAY), purchases=shop.clean)

    assert databento.bought == [DateRange(TUESDAY, TUESDAY)]
    assert shop.covered(raw_dir=shop.settings.api_dir) == [TUESDAY]
    assert not (shop.settings.raw_dir / "databento_api").exists()


def test_without_a_key_what_is_there_is_enough(shop: Shop, databento: DatabentoServer) -> None:
    shop.buy()
    without_key = Purchases.for_raw(shop.database, replace(shop.settings, api_key=None))

    assert shop.buy(purchases=without_key).quotes[0].kept == 5
    with pytest.raises(ConfigurationError, match="DATABENTO_API_KEY"):
        shop.buy(DateRange(NEXT_MONDAY, NEXT_MONDAY), purchases=without_key)


def test_nothing_is_bought_into_a_folder_where_it_would_not_be_found(
    shop: Shop, databento: DatabentoServer, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shop.settings.raw_dir.mkdir()
    (shop.settings.raw_dir / "databento_api").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigurationError, match=r"leads out of .*/raw, by a link"):
        shop.buy()

    assert not databento.asked
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file")

    with pytest.raises(TrisignalError, match="can't be written"):
        shop.buy()
