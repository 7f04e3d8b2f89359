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

from trisignal_pipeline.errors import (
    ApiRefusedError,
    ApiUnavailableError,
    BudgetError,
    ConfigurationError,
)
from trisignal_pipeline.market.conditions import MISSING, PENDING, DayCondition
from trisignal_pipeline.market.dates import DateRange, by_month, contiguous_ranges
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources import download_jobs
from trisignal_pipeline.sources.databento_api import DatabentoApi, Order
from trisignal_pipeline.sources.download_jobs import Job
from trisignal_pipeline.sources.raw_folder import is_inside
from trisignal_pipeline.storage import audit, catalogue, conditions
from trisignal_pipeline.storage.audit import IngestFile, IngestRun
from trisignal_pipeline.storage.connection import Database

SOURCE = "databento_api"
"""How rows that came from the API, and the audit of them, are marked."""

DEFAULT_BUDGET_USD = 5.0


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
        if usd and self.spent_usd + usd > self.limit_usd:
            raise BudgetError(
                f"{what} costs {dollars(usd)}, but of the budget of {dollars(self.limit_usd)} "
                f"{dollars(self.spent_usd)} are spent, so it was not bought; ask for fewer dates, "
                "or give a larger budget (--budget, or budget_usd in run config)"
            )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bars that somebody wants: a market's, on some UTC dates in order."""

    market: Market
    dates: tuple[date, ...]

    def __str__(self) -> str:
        first, last = self.dates[0], self.dates[-1]
        return f"{self.market.symbol} {DateRange(first, last)}"


@dataclass(frozen=True, slots=True)
class Offer:
    """One file that can be bought, and what it costs."""

    order: Order
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """What of some bars has to be bought, and what that costs.

    kept       dates on which the market trades whose bars are there already
    left_out   dates that can't be bought, with the reason
    degraded   dates the vendor calls faulty; they are bought all the same
    """

    wanted: Wanted
    kept: int
    offers: tuple[Offer, ...] = ()
    left_out: tuple[tuple[DateRange, str], ...] = ()
    degraded: tuple[DateRange, ...] = ()

    @property
    def cost_usd(self) -> Decimal:
        """All of it, in US dollars."""
        return sum((offer.cost_usd for offer in self.offers), Decimal(0))


@dataclass(frozen=True, slots=True)
class Bought:
    """What a purchase came to: the quotes it went by, and what it brought and cost.

    lent   ids of jobs that were bought before, for another folder
    """

    quotes: tuple[Quote, ...]
    files: tuple[IngestFile, ...]
    lent: tuple[str, ...]
    spent_usd: Decimal


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

    def buy(
        self,
        wanted: Sequence[Wanted],
        budget: Budget,
        *,
        asset: str,
        dagster_run_id: str | None = None,
        again: bool = False,
    ) -> Bought:
        """Have all of `wanted` that the API sells, downloading only what is missing.

        What was bought before for another folder is taken from there. Afterwards the catalogue
        knows it all.

        Raises:
            BudgetError: it costs more than is left; nothing was bought.
            ConfigurationError, ApiUnavailableError, ApiRefusedError, WrongDeliveryError: what was
                bought before that is kept.
        """
        self._require_found()
        spent_before = budget.spent_usd
        with download_jobs.alone_in(self.jobs_dir):
            lent, quotes = self._prepared(wanted, again=again)
            budget.require(
                sum((quote.cost_usd for quote in quotes), Decimal(0)), ", ".join(map(str, wanted))
            )
            files = tuple(
                self._download(quote.wanted.market, offer, budget, asset, dagster_run_id)
                for quote in quotes
                for offer in quote.offers
            )
            if files:
                catalogue.refresh(self.database, self.raw_dir)
        return Bought(quotes, files, lent, budget.spent_usd - spent_before)

    def estimate(self, wanted: Sequence[Wanted], *, again: bool = False) -> tuple[Quote, ...]:
        """What `buy` would buy, and for how much.

        Raises:
            ConfigurationError, ApiUnavailableError, ApiRefusedError, WrongDeliveryError.
        """
        self._require_found()
        with download_jobs.alone_in(self.jobs_dir):
            return self._prepared(wanted, again=again)[1]

    def _require_found(self) -> None:
        if not is_inside(self.jobs_dir, self.raw_dir):
            raise ConfigurationError(
                f"{self.jobs_dir} leads out of {self.raw_dir}, by a link, so what is bought would "
                "not be found there, and bought again; make it a folder, or let all of "
                f"{self.raw_dir} be the link"
            )

    def _prepared(
        self, wanted: Sequence[Wanted], *, again: bool
    ) -> tuple[tuple[str, ...], tuple[Quote, ...]]:
        """Take what can be had for nothing, and ask for the price of the rest."""
        download_jobs.complete_unfinished(self.jobs_dir)
        catalogue.refresh(self.database, self.raw_dir)
        lent = () if again else tuple(id_ for one in wanted for id_ in self._borrow(one))
        if lent:
            catalogue.refresh(self.database, self.raw_dir)
        return lent, tuple(self._quote(one, again=again) for one in wanted)

    def _quote(self, wanted: Wanted, *, again: bool) -> Quote:
        """What the catalogue misses of `wanted`, or all of it `again`, and what that costs.

        The API is asked only if something is missing.
        """
        missing, closed = self._missing(wanted, again=again)
        kept = len(wanted.dates) - len(missing) - len(closed)
        left_out = [] if again else self._spoilt(wanted, missing)
        missing = [day for day in missing if not any(day in span for span, _ in left_out)]
        if not missing:
            return Quote(wanted, kept, left_out=tuple(left_out))
        api, dataset = self.api(), wanted.market.symbol.dataset
        available = api.available(dataset)
        sold = [day for day in missing if available and day in available]
        left_out += _reasons(set(missing) - set(sold), _in_words(available))
        told = self._conditions(api, dataset, sold)
        for word in (PENDING, MISSING):
            of_word = [day for day in sold if day in told and told[day].condition == word]
            left_out += _reasons(of_word, f"Databento calls them {word}")
            sold = [day for day in sold if day not in of_word]
        bridges = [day for day in closed if available and day in available]
        orders = [Order(dataset, wanted.market.continuous, span) for span in _spans(sold, bridges)]
        doubtful = [day for day in sold if day in told and told[day].is_doubtful]
        return Quote(
            wanted,
            kept,
            tuple(Offer(order, api.cost(order)) for order in orders),
            tuple(left_out),
            tuple(contiguous_ranges(doubtful)),
        )

    def _missing(self, wanted: Wanted, *, again: bool = False) -> tuple[list[date], list[date]]:
        """Dates on which the market trades that no verified file covers, and those it is closed."""
        whole = DateRange(wanted.dates[0], wanted.dates[-1])
        minutes = expected_minutes(wanted.market.session_profile, whole.start, whole.end)
        with self.database.connect("purchases") as connection:
            coverage = catalogue.coverage(connection, self.raw_dir, wanted.market, whole)
        trading = {day for day, count in zip(whole, minutes, strict=True) if count}
        return (
            [d for d in wanted.dates if d in trading and (again or not coverage.files(d))],
            [d for d in wanted.dates if d not in trading],
        )

    def _spoilt(self, wanted: Wanted, missing: Sequence[date]) -> list[tuple[DateRange, str]]:
        """Of the missing dates those that were paid for, though their file is of no use now."""
        dataset, symbol = wanted.market.symbol.dataset, wanted.market.continuous
        job_of = {
            day: job.id
            for job in download_jobs.kept_jobs(self.jobs_dir, dataset, symbol)
            for day in missing
            if day in job.order.dates
        }
        return [
            one
            for job_id in sorted(set(job_of.values()))
            for one in _reasons(
                [day for day in missing if job_of.get(day) == job_id],
                f"they were paid for as {job_id}, whose file is refused or gone now (trisignal "
                f"files verify {self.jobs_dir / job_id}); --again or buy_again buys them once more",
            )
        ]

    def _borrow(self, wanted: Wanted) -> list[str]:
        """Take over the jobs of other folders that hold missing dates; returns their ids."""
        missing, _ = self._missing(wanted)
        dataset, symbol = wanted.market.symbol.dataset, wanted.market.continuous
        own = {job.id for job in download_jobs.kept_jobs(self.jobs_dir, dataset, symbol)}
        useful = [
            job
            for lender in self.lenders
            for job in download_jobs.kept_jobs(lender, dataset, symbol)
            if job.id not in own and any(day in job.order.dates for day in missing)
        ]
        for job in useful:
            download_jobs.lend(job, self.jobs_dir)
        return [job.id for job in useful]

    def _conditions(
        self, api: DatabentoApi, dataset: str, days: Sequence[date]
    ) -> dict[date, DayCondition]:
        if not days:
            return {}
        told = api.conditions(dataset, DateRange(days[0], days[-1]))
        with self.database.connect("conditions") as connection:
            conditions.record(connection, dataset, told, SOURCE)
        return {one.day: one for one in told}

    def _download(
        self, market: Market, offer: Offer, budget: Budget, asset: str, dagster_run_id: str | None
    ) -> IngestFile:
        order, api = offer.order, self.api()
        with self.database.connect("conditions") as connection:
            told = conditions.of_dates(connection, order.dataset, order.dates)
        job = download_jobs.begin(self.jobs_dir, order, list(told.values()))
        with audit.ingest_run(
            self.database,
            asset=asset,
            symbol=str(market.symbol),
            dates=order.dates,
            source=SOURCE,
            dataset=order.dataset,
            dagster_run_id=dagster_run_id,
        ) as run:
            try:
                api.patiently(_Attempts(self.database, run, api, offer, job, budget).attempt)
            except BaseException:
                download_jobs.discard(job)
                raise
            # From here on the file is whole: should anything fail, the next purchase completes it.
            bought = download_jobs.keep(self.jobs_dir, job, may_be_empty=not offer.cost_usd)
            file = IngestFile(bought.path.name, bought.sha256, order.dates)
            with self.database.connect("audit") as connection:
                run.received(connection, file)
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


def _in_words(available: DateRange | None) -> str:
    return f"Databento has {available or 'nothing'} for this key, in whole days"


def dollars(usd: Decimal) -> str:
    """The amount as it is shown: `4.125 USD`."""
    return f"{usd:,.6f}".rstrip("0").rstrip(".") + " USD"
