"""The raw files: which of them can be believed, and which dates of a market they cover."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import time
from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum

import dagster as dg
from pydantic import Field

from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.market.dates import DateRange, iso_minute
from trisignal_pipeline.market.lead_contract import Traded, volumes_by_date
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.orchestration.assets.buying import BuyingConfig, NotSold, buy_missing
from trisignal_pipeline.orchestration.assets.declaration import partitioned_asset, table
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_metadata import MetadataOfOne
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.orchestration.resources import (
    PostgresResource,
    PurchasesResource,
    RawFolderResource,
)
from trisignal_pipeline.orchestration.run_scope import symbol_dates
from trisignal_pipeline.storage import catalogue, conditions, registry
from trisignal_pipeline.storage.catalogue import Coverage
from trisignal_pipeline.storage.lead_doubts import LeadDoubt, record_lead_doubts
from trisignal_pipeline.storage.purchases import SOURCE

NAME = "raw_dbn_files"
CHECK = "covered_by_verified_files"


class RawSource(StrEnum):
    """Where files come from. The members are named as run config writes them."""

    files = "files"
    databento_api = SOURCE


class RawFilesConfig(BuyingConfig):
    """Where files come from."""

    source: RawSource = Field(
        default=RawSource.files,
        description=(
            "files: those that lie in the raw folder. databento_api: dates that none of them "
            "covers are bought first, which costs money."
        ),
    )


@partitioned_asset(
    NAME,
    group="raw",
    kinds={"databento", "file"},
    checks=[
        check_per_partition(
            NAME, CHECK, "A verified file covers the date, or the market was closed all day."
        )
    ],
    metadata=table(
        "raw_files",
        ("path", "text", "Where the file lies"),
        ("sha256", "text", "Of its bytes; a file is read again only if it changed"),
        ("verdict", "text", "verified, or refused with its reason"),
        ("dataset", "text", "Databento's dataset, such as GLBX.MDP3"),
        ("stype_in", "text", "The symbology it was bought with: parent, raw_symbol, continuous"),
        ("start_ts", "timestamptz", "From when on it holds bars (UTC)"),
        ("end_ts", "timestamptz", "Until when it holds bars (UTC, excluded)"),
        ("record_count", "bigint", "Records of all instruments, spreads included"),
        explained_in="INGESTION_STRATEGY.md",
    ),
)
def raw_dbn_files(
    context: dg.AssetExecutionContext,
    config: RawFilesConfig,
    postgres: PostgresResource,
    raw_folder: RawFolderResource,
    purchases: PurchasesResource,
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """Databento's DBN files of 1-minute bars, as they lie in the raw folder.

    Each file is read once, verified from its first byte to its last, and entered in the catalogue:
    what it holds, of which contracts, on which dates. A file that is cut, damaged or of another
    kind is refused with its reason and never used. Materialising a date looks for new and changed
    files, and says which ones cover the date. With the source databento_api, dates that no verified
    file covers are bought first.
    """
    started = time.perf_counter()
    report = PartitionReport(NAME, CHECK)
    database = postgres.database()
    scopes = symbol_dates(context)
    not_sold: NotSold = {}
    if config.source is RawSource.databento_api:
        not_sold = buy_missing(context, database, purchases.for_raw(database), scopes, config)
    found = catalogue.refresh(database, raw_folder.path())
    context.log.info("%d files in the raw folder, %d read now", found.files, found.read)
    for refused in found.refused:
        context.log.warning("refused: %s: %s", refused.path.name, refused.reason)
    with database.connect(NAME, autocommit=True) as connection:
        # A new file may say of any stored date that another contract leads.
        for symbol in registry.active_symbols(connection):
            market = registry.market(connection, symbol)
            _tell(
                context,
                symbol,
                record_lead_doubts(connection, raw_folder.path(), market, context.run.run_id),
            )
    # Nearly all of a run's time is spent on the folder as a whole, for all its dates at once.
    seconds = (time.perf_counter() - started) / sum(len(scope.dates) for scope in scopes)
    for scope in scopes:
        with database.connect(NAME) as connection:
            market = registry.market(connection, scope.symbol)
            dates = DateRange(scope.dates[0], scope.dates[-1])
            coverage = catalogue.coverage(connection, raw_folder.path(), market, dates)
            held = catalogue.traded(connection, raw_folder.path(), market, dates)
            told = conditions.of_dates(connection, market.symbol.dataset, dates)
            minutes = expected_minutes(market.session_profile, dates.start, dates.end)
            for day in scope.dates:
                closed = not minutes[(day - dates.start).days]
                verdict, description = judge_coverage(coverage, day, closed=closed)
                if not_told := not_sold.get((scope.symbol, day)):
                    description = f"{description}; {not_told}"
                files = coverage.files(day)
                condition = told.get(day)
                if files and condition is not None and condition.is_doubtful:
                    verdict, description = _judge_condition(condition, len(files))
                report.add(
                    scope.symbol,
                    day,
                    verdict,
                    blocking=not files and bool(coverage.refusals(day)),
                    description=description,
                    metadata={
                        "files": len(files),
                        "file_names": ", ".join(file.path.name for file in files),
                        "market_closed": closed,
                        **({"condition": condition.condition} if condition else {}),
                        **_traded_on(day, held),
                        "seconds": round(seconds, 4),
                    },
                )
            report.record(connection, scope.symbol, context.run.run_id)
    yield from report.events(context)


def _tell(context: dg.AssetExecutionContext, symbol: str, doubts: Sequence[LeadDoubt]) -> None:
    """Say of each date in doubt, on its own partition of the bars, that it is to be made again."""
    for doubt in doubts:
        context.log.warning("%s %s: %s", symbol, doubt.day, doubt.description)
        context.log_event(
            dg.AssetObservation(
                "legacy_bars",
                description=doubt.description,
                metadata={"contract": doubt.stored, "lead_contract": doubt.lead},
                partition=partition_key(symbol, doubt.day),
            )
        )


def _judge_condition(condition: DayCondition, files: int) -> tuple[Verdict, str]:
    """The warning on a covered day that the vendor itself doesn't call sound."""
    since = f" (as of {condition.last_modified})" if condition.last_modified else ""
    return Verdict(files, 0, {condition.condition.upper(): 1}), (
        f"{files} verified files cover the date, but Databento calls it {condition.condition}"
        f"{since}; download it again when that has changed"
    )


def _traded_on(day: date, held: Sequence[Traded]) -> MetadataOfOne:
    """What the files hold of the market's contracts on `day`: volumes, first and last minute."""
    of_day = [traded for traded in held if traded.date == day]
    if not of_day:
        return {}
    volumes = volumes_by_date(of_day)[day]
    return {
        "volume_by_contract": dg.MetadataValue.json(dict(sorted(volumes.items()))),
        "first_minute": iso_minute(min(traded.first_ns for traded in of_day)),
        "last_minute": iso_minute(max(traded.last_ns for traded in of_day)),
    }


def judge_coverage(coverage: Coverage, day: date, *, closed: bool) -> tuple[Verdict, str]:
    """Whether files can tell what the market did on `day`, and the answer in a sentence."""
    files, refused = coverage.files(day), coverage.refusals(day)
    if files:
        return Verdict(len(files), 0), f"{len(files)} verified files cover the date"
    if closed:
        return Verdict(0, 0), "the market was closed all day"
    if refused:
        cases = tuple(
            {"file": file.path.name, "reason": file.reason or ""} for file in refused[:20]
        )
        first = refused[0]
        reason = f"no verified file covers the date; {first.path.name} was refused: {first.reason}"
        return Verdict(len(refused), len(refused), {"REFUSED": len(refused)}, cases), reason
    return Verdict(0, 0, {"NOT_COVERED": 1}), "no file of the raw folder covers the date"
