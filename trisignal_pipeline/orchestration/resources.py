"""What assets are given: the database, the raw folder, and someone who watches the progress.

Nothing secret is a field of a resource: Dagster would store and show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG

from trisignal_pipeline.errors import TerminalError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import audit
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.purchases import Purchases
from trisignal_pipeline.storage.readiness import database_for_work


class PostgresResource(dg.ConfigurableResource[Database]):
    """The PostgreSQL server of `TRISIGNAL_DATABASE_URL`, or the embedded one."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Fail before any work if the schema isn't the one this code was written for."""
        try:
            database_for_work(Settings.from_environment())
        except TerminalError:
            if context.instance is not None and context.run is not None:
                # To Dagster a run that fails before its first step has lost its worker.
                context.instance.add_run_tags(context.run.run_id, {MAX_RETRIES_TAG: "0"})
            raise

    def database(self) -> Database:
        """The database; the embedded server is started if it doesn't run."""
        return Database.for_settings(Settings.from_environment())

    def ingest_run(
        self,
        context: dg.AssetExecutionContext,
        market: Market,
        dates: DateRange,
        *,
        source: str,
        files: Sequence[audit.IngestFile] = (),
    ) -> AbstractContextManager[audit.IngestRun]:
        """One row of the audit around the writing of one range of bars."""
        return audit.ingest_run(
            self.database(),
            asset=context.asset_key.to_user_string(),
            symbol=str(market.symbol),
            dates=dates,
            source=source,
            dataset=market.symbol.dataset,
            files=files,
            dagster_run_id=context.run.run_id,
        )


class RawFolderResource(dg.ConfigurableResource[Path]):
    """The folder of DBN files that `TRISIGNAL_RAW_DIR` names."""

    def path(self) -> Path:
        """Where it is."""
        return Settings.from_environment().raw_dir


class PurchasesResource(dg.ConfigurableResource[Purchases]):
    """Databento's API as a shop, by the key that `DATABENTO_API_KEY` holds."""

    def for_raw(self, database: Database) -> Purchases:
        """Buys for the raw folder."""
        return Purchases.for_raw(database, Settings.from_environment())

    def for_clean(self, database: Database) -> Purchases:
        """Buys for clean bars alone."""
        return Purchases.for_clean(database, Settings.from_environment())


class Progress(Protocol):
    """Someone who wants to know how far a run is."""

    def begin(self, stage: str, symbol: str, dates: DateRange) -> None:
        """A range of dates is begun."""

    def advance(self, stage: str, bars: int) -> None:
        """So many more bars are done."""


class NobodyWatches:
    """Progress that is told to no one: what Dagster shows is enough."""

    def begin(self, stage: str, symbol: str, dates: DateRange) -> None:
        """Say nothing."""

    def advance(self, stage: str, bars: int) -> None:
        """Say nothing."""
