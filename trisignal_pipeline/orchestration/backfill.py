"""A backfill from the command line: one symbol, a range of dates, every asset, and what follows.

Runs of at most a year, in order: a failure costs a year at most, and one sees how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import dagster as dg

from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.assets import clean_bars, legacy_bars, raw_dbn_files
from trisignal_pipeline.orchestration.definitions import build_defs
from trisignal_pipeline.orchestration.instance import open_instance
from trisignal_pipeline.orchestration.partitions import sync_symbols
from trisignal_pipeline.orchestration.range_run import (
    RangeRun,
    StepFailure,
    materialize_range,
    require_partitions,
)
from trisignal_pipeline.orchestration.refresh import SIGNAL_ASSETS, Refreshed, refresh_symbol
from trisignal_pipeline.orchestration.resources import NobodyWatches, Progress
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bar_dates import dates_from
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS
from trisignal_pipeline.storage.catalogue import refused_files
from trisignal_pipeline.storage.connection import Connection, Database, rows, scalar
from trisignal_pipeline.storage.purchases import SOURCE, Bought, Budget, Purchases, Wanted
from trisignal_pipeline.storage.readiness import ready_database

BAR_ASSETS = (legacy_bars.NAME, clean_bars.NAME)
ALL_ASSETS = (raw_dbn_files.NAME, *BAR_ASSETS, *SIGNAL_ASSETS)
FROM_CLEAN_BARS_ON = (clean_bars.NAME, *SIGNAL_ASSETS)


@dataclass(frozen=True, slots=True)
class Buying:
    """What a backfill may spend at Databento; `again` buys what is there already once more."""

    budget_usd: Decimal
    again: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Dates the raw files could not serve, with the reason."""

    dates: DateRange
    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill did.

    bought       what was bought for it; None if nothing was to be
    counts       the audit's counts, by asset: read, inserted, updated, unchanged, rejected, removed
    rejected     rejected bars by asset and rule
    rolled       dates outside the range whose lead contract the files now name otherwise; they were
                 materialised too
    recomputed   later dates whose signals had come to be in doubt and were computed again
    refused      every file of the raw folder that can't be used: its name and the reason
    """

    symbol: str
    dates: DateRange
    run_ids: tuple[str, ...]
    bought: Bought | None
    failures: tuple[StepFailure, ...]
    counts: dict[str, dict[str, int]]
    rejected: dict[str, dict[str, int]]
    triangles: int
    rolled: tuple[DateRange, ...]
    recomputed: tuple[DateRange, ...]
    problems: tuple[Problem, ...]
    refused: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Every run ended well, and no date was left to refused files alone."""
        return not self.failures and not any(problem.refused for problem in self.problems)


def backfill(
    settings: Settings,
    symbol: str,
    dates: DateRange,
    progress: Progress | None = None,
    *,
    assets: Sequence[str] = ALL_ASSETS,
    buying: Buying | None = None,
    replace_api_dates: bool = False,
    batch_rows: int = DEFAULT_BATCH_ROWS,
) -> Backfilled:
    """Materialise every asset of `symbol` on `dates`, then what that puts in doubt.

    `assets` may leave out raw files and legacy bars, if `buying` says that clean bars come from the
    API. `replace_api_dates` lets legacy bars take the place of such clean bars. `batch_rows` is how
    many bars of `dates` one transaction writes.

    Raises:
        UnknownSymbolError: the registry has no such symbol.
        BudgetError, ApiUnavailableError, ApiRefusedError, WrongDeliveryError: in buying, before
            any run.
        RangeError: the range holds dates that can't be materialised.
        DatabaseUnavailableError, SchemaVersionError, ConfigurationError: as they say.
    """
    started = time.perf_counter()
    database = ready_database(settings)
    with database.reading().connect("backfill") as connection:
        market = registry.market(connection, symbol)
        known = registry.active_symbols(connection)
    definitions = build_defs({"progress": progress or NobodyWatches()})
    runs: list[RangeRun] = []
    refreshed = Refreshed()
    bought: Bought | None = None
    configs: dict[str, dict[str, object]] = {
        name: {"batch_rows": batch_rows} for name in BAR_ASSETS if name in assets
    }
    if replace_api_dates:
        configs[clean_bars.NAME]["replace_api_dates"] = True
    with open_instance(settings) as instance:
        sync_symbols(instance, {*known, symbol})
        # All of them, before a run over the first year has been for nothing.
        require_partitions(instance, symbol, dates)
        if buying is not None:
            # For all years at once: a budget must not turn out too small after half of them.
            bought = _buy(database, settings, market, dates, assets[0], buying)
            configs.setdefault(assets[0], {}).update(source=SOURCE, budget_usd=0.0)

        def materialize(part: DateRange) -> bool:
            runs.append(
                materialize_range(
                    definitions,
                    instance,
                    [dg.AssetKey(name) for name in assets],
                    symbol,
                    part,
                    run_config={
                        "ops": {name: {"config": config} for name, config in configs.items()}
                    },
                    raise_on_error=False,
                    log_level="CRITICAL",
                )
            )
            return runs[-1].success

        if all(materialize(year) for year in by_year(dates)):
            refreshed = refresh_symbol(definitions, instance, database, symbol)
            runs += refreshed.runs
    run_ids = tuple(run.run_id for run in runs)
    with database.reading().connect("backfill") as connection:
        return Backfilled(
            symbol,
            dates,
            run_ids,
            bought,
            tuple(failure for run in runs for failure in run.failures),
            _counts(connection, run_ids),
            _rejected(connection, run_ids),
            _triangles(connection, symbol, dates),
            refreshed.rolled,
            refreshed.ranges,
            tuple(
                _problems(connection, symbol, dates)
                if raw_dbn_files.NAME in assets
                else _not_from_api(connection, symbol, dates)
            ),
            tuple(
                (file.path.name, file.reason or "")
                for file in refused_files(connection, settings.raw_dir)
            ),
            time.perf_counter() - started,
        )


def _buy(
    database: Database,
    settings: Settings,
    market: Market,
    dates: DateRange,
    asset: str,
    buying: Buying,
) -> Bought:
    shop = Purchases.for_raw if asset == raw_dbn_files.NAME else Purchases.for_clean
    return shop(database, settings).buy(
        [Wanted(market, tuple(dates))],
        Budget(buying.budget_usd),
        asset=asset,
        again=buying.again,
    )


def _counts(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    found = rows(
        connection,
        """
        SELECT asset, sum(row_count)::bigint AS read, sum(inserted_count)::bigint AS inserted,
               sum(updated_count)::bigint AS updated, sum(unchanged_count)::bigint AS unchanged,
               sum(rejected_count)::bigint AS rejected, sum(removed_count)::bigint AS removed
        FROM data_ingest_runs WHERE dagster_run_id = ANY(%s) GROUP BY asset ORDER BY min(id)
        """,
        list(run_ids),
    )
    return {row.pop("asset"): row for row in found}


def _rejected(connection: Connection, run_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    found = rows(
        connection,
        """
        SELECT asset, key AS rule, sum(value::bigint)::bigint AS bars
        FROM data_ingest_runs, jsonb_each_text(rejected_by_rule)
        WHERE dagster_run_id = ANY(%s) GROUP BY asset, key ORDER BY asset, key
        """,
        list(run_ids),
    )
    rejected: dict[str, dict[str, int]] = {}
    for row in found:
        rejected.setdefault(row["asset"], {})[row["rule"]] = row["bars"]
    return rejected


def _triangles(connection: Connection, symbol: str, dates: DateRange) -> int:
    return int(
        scalar(
            connection,
            """
            SELECT coalesce(sum(triangle_count), 0) FROM signal_dates
            WHERE symbol = %s AND date BETWEEN %s AND %s
            """,
            symbol,
            dates.start,
            dates.end,
        )
    )


def _problems(connection: Connection, symbol: str, dates: DateRange) -> list[Problem]:
    """The raw files' bad verdicts, neighbouring dates with one reason together."""
    found = rows(
        connection,
        """
        SELECT date, description, severity FROM data_quality_results
        WHERE symbol = %s AND asset = %s AND date BETWEEN %s AND %s AND NOT passed ORDER BY date
        """,
        symbol,
        raw_dbn_files.NAME,
        dates.start,
        dates.end,
    )
    days: dict[tuple[str, bool], list[date]] = {}
    for row in found:
        days.setdefault((row["description"], row["severity"] == "ERROR"), []).append(row["date"])
    return [
        Problem(part, reason, refused)
        for (reason, refused), of_reason in days.items()
        for part in contiguous_ranges(of_reason)
    ]


def _not_from_api(connection: Connection, symbol: str, dates: DateRange) -> list[Problem]:
    """Dates on which the market traded whose clean bars did not come from the API."""
    market = registry.market(connection, symbol)
    minutes = expected_minutes(market.session_profile, dates.start, dates.end)
    of_api = dates_from(connection, symbol, CLEAN.layer, SOURCE, dates)
    missing = [
        day for day, count in zip(dates, minutes, strict=True) if count and day not in of_api
    ]
    reason = "the API has no bars that could be had; the log of the run says why"
    return [Problem(part, reason, refused=False) for part in contiguous_ranges(missing)]
