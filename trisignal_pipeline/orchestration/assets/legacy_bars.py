"""The legacy bars: what was delivered of the lead contract, as it was delivered."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Iterator
from functools import partial

import dagster as dg

from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.orchestration import roll_sanity
from trisignal_pipeline.orchestration.ahead import ahead
from trisignal_pipeline.orchestration.assets import raw_dbn_files
from trisignal_pipeline.orchestration.assets.bars_writing import BarsWriting, WritingConfig
from trisignal_pipeline.orchestration.assets.declaration import partitioned_asset, table
from trisignal_pipeline.orchestration.assets.lead_deliveries import lead_deliveries
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.orchestration.resources import (
    PostgresResource,
    Progress,
    RawFolderResource,
)
from trisignal_pipeline.orchestration.run_scope import symbol_dates
from trisignal_pipeline.schemas import legacy_bar, rejected_by
from trisignal_pipeline.storage import catalogue, registry
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.lead_doubts import record_lead_doubts
from trisignal_pipeline.storage.locks import symbol_lock

NAME = "legacy_bars"
CHECK = "legacy_bar_schema"


@partitioned_asset(
    NAME,
    deps=[raw_dbn_files.NAME],
    group="bars",
    kinds={"postgres", "databento"},
    checks=[
        check_per_partition(
            NAME, CHECK, f"No bar is rejected: {rejected_by(legacy_bar(HygieneThresholds()))}."
        ),
        check_per_partition(NAME, roll_sanity.CHECK, roll_sanity.DESCRIPTION),
    ],
    metadata=table(
        LEGACY.name,
        ("symbol", "text", "Internal symbol, such as GLBX.MDP3:NQ"),
        ("ts", "timestamptz", "The bar's CLOSE (UTC): one minute after Databento's ts_event"),
        ("ts_ms", "bigint", "The same in milliseconds since the epoch"),
        ("open, high, low, close", "numeric", "Exact, in points"),
        ("volume", "bigint", "Contracts"),
        ("contract", "text", "The lead contract the bar is of, such as NQZ4"),
        ("ingestion_run_id", "bigint", "The audit row that wrote it"),
        explained_in="TIMESTAMP_SEMANTICS.md",
    ),
)
def legacy_bars(
    context: dg.AssetExecutionContext,
    config: WritingConfig,
    postgres: PostgresResource,
    raw_folder: RawFolderResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    """1-minute bars of the lead contract, stamped by the CLOSE, as they were delivered.

    A file bought as NQ.FUT holds every contract month and their spreads. On each UTC date one
    contract stands for the market: the one with the most volume on the date before (roll rule v).
    Its bars are stored under the market's internal symbol. Only bars that are no bars are rejected:
    a missing price, a high below the low. Materialising a date replaces it.
    """
    rolls = PartitionReport(NAME, roll_sanity.CHECK)
    report = PartitionReport(NAME, CHECK, beside=(rolls,))
    beside = (partial(roll_sanity.judge_rolls, report=rolls),)
    database = postgres.database()
    if context.retry_number:
        # A file may have been replaced since raw_dbn_files looked.
        catalogue.refresh(database, raw_folder.path())
    for scope in symbol_dates(context):
        with symbol_lock(database, scope.symbol) as held:
            market = held.repeat(registry.market, scope.symbol)
            schema = legacy_bar(market.hygiene)
            writing = BarsWriting(
                context,
                postgres,
                progress,
                config,
                held,
                market,
                LEGACY,
                schema,
                report,
                beside=beside,
            )
            deliveries = lead_deliveries(held, raw_folder.path(), market, scope, schema, report)
            with ahead(deliveries) as screened:
                for dates, files, delivery in screened:
                    progress.begin(NAME, scope.symbol, dates)
                    writing.write(dates, delivery, source="dbn_files", files=files)
            held.repeat(report.record, scope.symbol, context.run.run_id)
            held.repeat(record_lead_doubts, raw_folder.path(), market, context.run.run_id)
    yield from report.events(context)
