"""The product on databases and folders of a test's own: what it is asked, and what is stored."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, LiteralString

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.backfill import Backfilled
from trisignal_pipeline.orchestration.backfill import backfill as run_backfill
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.definitions import build_defs
from trisignal_pipeline.orchestration.instance import open_instance
from trisignal_pipeline.orchestration.partitions import partition_key, sync_symbols
from trisignal_pipeline.orchestration.range_run import RangeRun, materialize_range
from trisignal_pipeline.orchestration.resources import Progress
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.tiny_market import NQ

RAW, LEGACY, CLEAN = "raw_dbn_files", "legacy_bars", "clean_bars"
BIAS, TRIANGLES = "bias_series", "triangle_events"
ASSETS = (RAW, LEGACY, CLEAN, BIAS, TRIANGLES)

CHECKS = {
    RAW: "covered_by_verified_files",
    LEGACY: "legacy_bar_schema",
    CLEAN: "clean_bar_schema",
    BIAS: "bias_row_schema",
    TRIANGLES: "triangle_event_schema",
}

BESIDE = {
    RAW: (),
    LEGACY: ("roll_sanity",),
    CLEAN: ("session_completeness", "agrees_with_legacy"),
    BIAS: ("bias_on_every_bar", "nothing_in_doubt_upstream", "recomputation_agrees"),
    TRIANGLES: ("triangles_at_the_flips",),
}
"""The other checks of each asset that have a verdict on every partition."""

CHECKS_OF = {asset: (CHECKS[asset], *BESIDE[asset]) for asset in ASSETS}

_RESULTS = {
    "market_bars_ohlcv_1m": "{created_at,ingestion_run_id}",
    "market_bars_ohlcv_1m_clean": "{created_at,ingestion_run_id}",
    "bias_series_1m_v1": "{created_at}",
    "triangle_events_v1": "{id,created_at}",
    "signal_dates": "{completed_at}",
    "bar_dates": "{completed_at,ingestion_run_id,changed_from,changed_at,made_from}",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a table holds: how many rows, and a digest of all of them."""

    rows: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The product with a home, a raw folder and two databases that nobody else uses."""

    settings: Settings

    @classmethod
    def on(cls, home: Path, url: str) -> Pipeline:
        """One whose database is at `url`."""
        return cls(Settings(home, home.parent / "raw", url))

    @property
    def raw(self) -> Path:
        return self.settings.raw_dir

    @property
    def dagster_url(self) -> str:
        """Where Dagster's database is, as the environment names it."""
        return os.environ[URL_VARIABLE]

    @property
    def database(self) -> Database:
        return Database.for_settings(self.settings)

    def backfill(
        self,
        first: date,
        last: date,
        symbol: str = NQ,
        progress: Progress | None = None,
        batch_rows: int = DEFAULT_BATCH_ROWS,
    ) -> Backfilled:
        """What `trisignal backfill` does."""
        dates = DateRange(first, last)
        return run_backfill(self.settings, symbol, dates, progress, batch_rows=batch_rows)

    def materialize(
        self, first: date, last: date, assets: Sequence[str] = ASSETS, symbol: str = NQ
    ) -> RangeRun:
        """A run over a range, as the daemon starts it for a backfill from the asset page."""
        with self.instance() as instance:
            return materialize_range(
                build_defs(),
                instance,
                [dg.AssetKey(name) for name in assets],
                symbol,
                DateRange(first, last),
                log_level="CRITICAL",
            )

    def materialize_one(
        self, day: date, assets: Sequence[str] = ASSETS, symbol: str = NQ
    ) -> dg.ExecuteInProcessResult:
        """A run of one partition, as the UI starts it for one cell of the grid."""
        with self.instance() as instance:
            return self.launch(instance, assets, partition_key=partition_key(symbol, day))

    def launch(
        self,
        instance: dg.DagsterInstance,
        assets: Sequence[str] = ASSETS,
        *,
        tags: dict[str, str] | None = None,
        partition_key: str | None = None,
        ops: Mapping[str, Any] | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """A run with whatever tags and configuration of its steps."""
        return (
            build_defs()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in assets],
                run_config={
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    "ops": dict(ops or {}),
                },
                tags=tags,
                partition_key=partition_key,
                raise_on_error=raise_on_error,
            )
        )

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's instance, with the registry's symbols as partitions."""
        with open_instance(self.settings) as instance:
            with self.database.connect("tests") as connection:
                sync_symbols(instance, registry.active_symbols(connection))
            yield instance

    def materializations(self, asset: str) -> dict[str, dg.AssetMaterialization]:
        """The latest materialisation of every partition, as the event log has it."""
        found: dict[str, dg.AssetMaterialization] = {}
        with self.instance() as instance:
            records = instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
        for record in records:
            one = record.asset_materialization
            assert one is not None
            assert one.partition is not None
            found.setdefault(one.partition, one)
        return found

    def evaluations(
        self, asset: str, check: str | None = None
    ) -> dict[str, dg.AssetCheckEvaluation]:
        """The latest verdict on every partition, as the event log has it; of the asset's first
        check, if none is named.
        """
        found: dict[str, dg.AssetCheckEvaluation] = {}
        with self.instance() as instance:
            records = instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(asset), check or CHECKS[asset]), limit=1000
            )
        for record in records:
            evaluation = record.evaluation
            # A run that was refused has only planned to give one.
            if not isinstance(evaluation, dg.AssetCheckEvaluation):
                continue
            assert evaluation.partition is not None
            found.setdefault(evaluation.partition, evaluation)
        return found

    def warnings(self, run_id: str) -> list[str]:
        """What a run's log says at level WARNING and above, assets' own words only."""
        with self.instance() as instance:
            logged = instance.all_logs(run_id)
        return [
            entry.user_message
            for entry in logged
            if int(entry.level) >= logging.WARNING and not entry.dagster_event
        ]

    def query(self, statement: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query, or none of a statement without rows; committed."""
        with Database(self.database.url, role=None).connect("tests") as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: LiteralString, *parameters: object) -> Any:
        """The one value of a query."""
        [(value,)] = self.query(statement, *parameters)
        return value

    def set(self, symbol: str = NQ, **values: object) -> None:
        """What `trisignal symbols set` does to the registry."""
        with self.database.connect("tests") as connection:
            registry.set_symbol(connection, symbol, values)

    def results(self) -> dict[str, Stored]:
        """What every table of results holds, ids and times of writing apart."""
        return {table: self._stored(table, without) for table, without in _RESULTS.items()}

    def rows_as_written(self) -> dict[str, Stored]:
        """The same with ids and times: equal only if no row was written again."""
        return {table: self._stored(table, "{}") for table in _RESULTS}

    def _stored(self, table: str, without: str) -> Stored:
        with self.database.connect("tests") as connection:
            row = connection.execute(
                sql.SQL(
                    "SELECT count(*), md5(string_agg(line, E'\\n' ORDER BY line)) FROM "
                    "(SELECT (to_jsonb(t) - %s::text[])::text AS line FROM {} t) AS lines"
                ).format(sql.Identifier(table)),
                (without,),
            ).fetchone()
        assert row is not None
        return Stored(*row)


@contextmanager
def open_pipeline(
    server: EmbeddedServer, bars_template: str, dagster_template: str, folder: Path
) -> Iterator[Pipeline]:
    """A pipeline below `folder`, its databases copies of the templates; gone afterwards.

    The environment names them while it is open, as it would on a user's machine.
    """
    bars, dagster = (f"test_{uuid.uuid4().hex[:12]}" for _ in range(2))
    create_database(server, bars, bars_template)
    create_database(server, dagster, dagster_template)
    settings = Settings(folder / "home", folder / "raw", server.url(bars))
    settings.raw_dir.mkdir(parents=True)
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("TRISIGNAL_HOME", str(settings.home))
            environment.setenv("TRISIGNAL_RAW_DIR", str(settings.raw_dir))
            environment.setenv("TRISIGNAL_DATABASE_URL", server.url(bars))
            environment.setenv(URL_VARIABLE, server.url(dagster))
            _without_dagster_variables(environment)
            yield Pipeline(settings)
    finally:
        for name in (bars, dagster):
            drop_database(server, name)


def make_dagster_template(server: EmbeddedServer, folder: Path) -> str:
    """The name of a database with Dagster's tables in it, that others are copied from."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create_database(server, name, "template0")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(URL_VARIABLE, server.url(name))
        _without_dagster_variables(environment)
        with open_instance(Settings(folder / "home", folder / "raw")):
            return name


def _without_dagster_variables(environment: pytest.MonkeyPatch) -> None:
    # Set before it is deleted, so that what the product sets is undone as well.
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        environment.setenv(name, "")
        environment.delenv(name)


def create_database(server: EmbeddedServer, name: str, template: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def drop_database(server: EmbeddedServer, name: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
