"""Buying bars: what is missing, what it costs, and never beyond the budget or twice.

A purchase is quoted first, in full, from what the API tells for free. Only then, if the budget
covers it all, is anything downloaded: a calendar month a file, each under an audit row that shows
its cost from before the first byte. Every attempt is billed, so a broken one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from trisignal_pipeline.errors import ApiRefusedError, ApiUnavailableError, BudgetError
from trisignal_pipeline.market.conditions import MISSING, PENDING, DayCondition
from trisignal_pipeline.market.dates import DateRange, by_month, contiguous_ranges
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources import download_jobs
from trisignal_pipeline.sources.databento_api import DatabentoApi, Order
from trisignal_pipeline.sources.download_jobs import Job
from trisignal_pipeline.storage import audit, catalogue, conditions
from trisignal_pipeline.storage.audit import IngestFile, IngestRun
from trisignal_pipeline.storage.connection import Database

SOURCE = "databento_api"
"""How rows that came from the API, and the audit of them, are marked."""

DEFAULT_BUDGET_USD = 5.0

_NOT_SOLD = (PENDING, MISSING)


@dataclass(slots=True)
class Budget:
    """How much a run may spend, and what it has spent, in US dollars."""

    limit_usd: Decimal
    spent_usd: Decimal = Decimal(0)

    def require(self, usd: Decimal, what: str) -> None:
        """Make sure that `usd` are left for `what`.

        Raises:
            BudgetError: they aren't.
        """
        if self.spent_usd + usd > self.limit_usd:
            raise BudgetError(
                f"{what} costs {_dollars(usd)}, but of the budget of {_dollars(self.limit_usd)} "
                f"{_dollars(self.spent_usd)} are spent, so it was not bought; ask for fewer dates, "
                "or give a larger budget (--budget, or budget_usd in run config)"
            )


@dataclass(frozen=True, slots=True)
class Offer:
    """One file that can be bought, and what it costs."""

    order: Order
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """What of some dates has to be bought.

    kept       dates on which the market trades whose bars are there already
    left_out   dates that can't be bought, with the reason
    degraded   dates the vendor calls faulty; they are bought all the same
    """

    offers: tuple[Offer, ...] = ()
    kept: int = 0
    left_out: tuple[tuple[DateRange, str], ...] = ()
    degraded: tuple[DateRange, ...] = ()

    @property
    def cost_usd(self) -> Decimal:
        """All of it, in US dollars."""
        return sum((offer.cost_usd for offer in self.offers), Decimal(0))


@dataclass(frozen=True, slots=True)
class Bought:
    """What a purchase came to: the quote it went by, and the files it brought.

    lent   jobs that another folder had bought before
    """

    quote: Quote
    files: tuple[IngestFile, ...] = ()
    lent: tuple[str, ...] = ()
    spent_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Purchases:
    """Buys for one raw folder.

    raw_dir    the folder whose catalogue says what is there already
    jobs_dir   where in it bought files go
    lenders    folders of jobs that were bought for other purposes
    api        the API, made when there is something to ask
    """

    database: Database
    raw_dir: Path
    jobs_dir: Path
    lenders: tuple[Path, ...]
    api: Callable[[], DatabentoApi]

    @classmethod
    def for_raw(cls, database: Database, settings: Settings) -> Purchases:
        """For the raw folder, which legacy bars are made from."""
        return cls(
            database,
            settings.raw_dir,
            settings.raw_dir / SOURCE,
            (settings.api_dir,),
            lambda: DatabentoApi.for_settings(settings),
        )

    @classmethod
    def for_clean(cls, database: Database, settings: Settings) -> Purchases:
        """For the folder that only clean bars are made from."""
        return cls(
            database,
            settings.api_dir,
            settings.api_dir,
            (settings.raw_dir / SOURCE,),
            lambda: DatabentoApi.for_settings(settings),
        )

    def quote(self, market: Market, dates: DateRange, *, again: bool = False) -> Quote:
        """What of `dates` is missing, or all of them `again`, and what it costs. Buys nothing.

        Asks the API only if something is missing.

        Raises:
            ConfigurationError, ApiUnavailableError, ApiRefusedError, WrongDeliveryError.
        """
        missing, closed = self._missing(market, dates, again=again)
        kept = len(dates) - len(missing) - len(closed)
        if not missing:
            return Quote(kept=kept)
        api, dataset = self.api(), market.symbol.dataset
        available = api.available(dataset)
        sold = [day for day in missing if available and day in available]
        left_out = _reasons(set(missing) - set(sold), _range_told(available))
        told: dict[date, DayCondition] = {}
        if sold:
            whole = DateRange(sold[0], sold[-1])
            told = {one.day: one for one in api.conditions(dataset, whole)}
            with self.database.connect("conditions") as connection:
                conditions.record(connection, dataset, told.values(), SOURCE)
        for word in _NOT_SOLD:
            refused = [day for day in sold if day in told and told[day].condition == word]
            left_out += _reasons(refused, f"Databento calls them {word}")
            sold = [day for day in sold if day not in refused]
        bridges = [day for day in closed if available and day in available]
        orders = [Order(dataset, market.continuous, span) for span in _spans(sold, bridges)]
        return Quote(
            tuple(Offer(order, api.cost(order)) for order in orders),
            kept,
            tuple(left_out),
            tuple(contiguous_ranges(day for day in sold if day in told and told[day].is_doubtful)),
        )

    def buy(
        self,
        market: Market,
        dates: DateRange,
        budget: Budget,
        *,
        asset: str,
        dagster_run_id: str | None = None,
        again: bool = False,
    ) -> Bought:
        """Have every one of `dates` that the API sells, downloading only what is missing.

        What was bought before for another folder is taken from there. Afterwards the catalogue
        knows it all.

        Raises:
            BudgetError: it costs more than is left; nothing was bought.
            ConfigurationError, ApiUnavailableError, ApiRefusedError, WrongDeliveryError: what was
                bought before that is kept.
        """
        with download_jobs.alone_in(self.jobs_dir):
            download_jobs.complete_unfinished(self.jobs_dir)
            catalogue.refresh(self.database, self.raw_dir)
            lent = () if again else self._borrow(market, dates)
            quote = self.quote(market, dates, again=again)
            spent_before = budget.spent_usd
            budget.require(
                quote.cost_usd, f"{market.continuous} {dates} ({len(quote.offers)} files)"
            )
            files = [
                self._download(market, offer, budget, asset, dagster_run_id)
                for offer in quote.offers
            ]
            if files:
                catalogue.refresh(self.database, self.raw_dir)
        return Bought(quote, tuple(files), lent, budget.spent_usd - spent_before)

    def _missing(
        self, market: Market, dates: DateRange, *, again: bool
    ) -> tuple[list[date], list[date]]:
        """Dates on which the market trades that no verified file covers, and those it is closed."""
        minutes = expected_minutes(market.session_profile, dates.start, dates.end)
        with self.database.connect("purchases") as connection:
            coverage = catalogue.coverage(connection, self.raw_dir, market, dates)
        there = set() if again else {day for day in dates if coverage.files(day)}
        open_ = [bool(minute) for minute in minutes]
        days = list(zip(dates, open_, strict=True))
        return (
            [day for day, is_open in days if is_open and day not in there],
            [day for day, is_open in days if not is_open],
        )

    def _borrow(self, market: Market, dates: DateRange) -> tuple[str, ...]:
        """Take over the jobs of other folders that hold missing dates; returns their ids."""
        missing, _ = self._missing(market, dates, again=False)
        dataset, symbol = market.symbol.dataset, market.continuous
        own = {job.id for job in download_jobs.kept_jobs(self.jobs_dir, dataset, symbol)}
        useful: list[Job] = [
            job
            for lender in self.lenders
            for job in download_jobs.kept_jobs(lender, dataset, symbol)
            if job.id not in own and any(day in job.order.dates for day in missing)
        ]
        for job in useful:
            download_jobs.lend(job, self.jobs_dir)
        if useful:
            catalogue.refresh(self.database, self.raw_dir)
        return tuple(job.id for job in useful)

    def _download(
        self, market: Market, offer: Offer, budget: Budget, asset: str, dagster_run_id: str | None
    ) -> IngestFile:
        order, api = offer.order, self.api()
        with self.database.connect("conditions") as connection:
            told = conditions.of_dates(connection, order.dataset, order.dates)
        job = download_jobs.begin(self.jobs_dir, order, list(told.values()))
        try:
            with audit.ingest_run(
                self.database,
                asset=asset,
                symbol=str(market.symbol),
                dates=order.dates,
                source=SOURCE,
                dataset=order.dataset,
                dagster_run_id=dagster_run_id,
            ) as run:
                api.patiently(_Attempts(self.database, run, api, offer, job, budget).attempt)
                bought = download_jobs.keep(self.jobs_dir, job, may_be_empty=not offer.cost_usd)
                file = IngestFile(bought.path.name, bought.sha256, order.dates)
                with self.database.connect("audit") as connection:
                    run.received(connection, file)
        finally:
            download_jobs.discard(job)
        return file


@dataclass(slots=True)
class _Attempts:
    """Downloads of one order until one comes whole, each of them paid for and told to the audit."""

    database: Database
    run: IngestRun
    api: DatabentoApi
    offer: Offer
    job: Job
    budget: Budget
    begun: bool = False

    def attempt(self) -> None:
        cost, order = self.offer.cost_usd, self.offer.order
        self.budget.require(cost, f"{order}, after an attempt that broke,")
        self._bill(cost, repeated=self.begun)
        self.begun = True
        # What a broken attempt left: the client writes into no file that is there.
        self.job.path.unlink(missing_ok=True)
        try:
            self.api.download(order, self.job.path)
        except ApiRefusedError:
            self._bill(-cost)
            raise
        except ApiUnavailableError as error:
            if error.is_free:
                self._bill(-cost)
            raise

    def _bill(self, usd: Decimal, *, repeated: bool = False) -> None:
        self.budget.spent_usd += usd
        with self.database.connect("audit") as connection:
            self.run.bill(connection, usd)
            if repeated:
                self.run.count_retry(connection)


def _spans(wanted: Sequence[date], bridges: Iterable[date]) -> list[DateRange]:
    """The fewest ranges of one month each that hold `wanted`, and between them only `bridges`."""
    days = set(wanted)
    months = [month for run in contiguous_ranges(days.union(bridges)) for month in by_month(run)]
    inside = [[day for day in month if day in days] for month in months]
    return [DateRange(held[0], held[-1]) for held in inside if held]


def _reasons(days: Iterable[date], reason: str) -> list[tuple[DateRange, str]]:
    return [(span, reason) for span in contiguous_ranges(days)]


def _range_told(available: DateRange | None) -> str:
    whole = "nothing" if available is None else f"{available}"
    return f"Databento has {whole} for this key, in whole days"


def _dollars(usd: Decimal) -> str:
    return f"{usd:,.6f}".rstrip("0").rstrip(".") + " USD"
