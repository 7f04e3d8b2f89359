"""Dagster's runs, events and schedules in PostgreSQL, through a pool of connections.

The classes of `dagster-postgres` open a new connection for every statement, and Dagster writes
several statements per partition: for a range of a few months the handshakes cost more than the
work. Here one pool serves a whole instance, an event and what follows from it are one transaction,
and what Dagster plans for a range and what checks find on it is written in batches. What is stored,
and in which tables, is Dagster's own affair and unchanged.

`dagster.yaml` names `PooledStorage`. Whatever reads that file (the webserver, the daemon, a run
worker, `dagster dev` started by hand) thereby finds the embedded server running, or doesn't start
on a database of one's own whose schema is another than the code's.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy
from dagster import DagsterEventType, DagsterInstance
from dagster._config import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value
from dagster_postgres import (
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_shared.record import replace
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError, ProgrammingError

from trisignal_pipeline.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    NotPermittedError,
)
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE, dagster_database_url
from trisignal_pipeline.orchestration.startup import require_schema
from trisignal_pipeline.orchestration.waiting_evaluations import WaitingEvaluations
from trisignal_pipeline.settings import Settings

CONNECTIONS_KEPT = 2
CONNECTIONS_MORE = 20
RECYCLE_SECONDS = 1800
CONNECT_TIMEOUT_SECONDS = 10

EVENT_BATCH_SIZE = 200
"""How many events of one asset Dagster hands over at once; by default it is one at a time."""

_SCHEMA_LOCK = 0x7472_6973_6461_6773
"""The advisory lock under which Dagster's tables are made; any number that nobody else uses."""

_MAIN_TABLES = {"runs", "event_logs", "jobs"}
"""One table of each storage, those by which `dagster-postgres` itself tells whether it is there."""

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _forget_inherited_connections() -> None:
    """After a fork: two processes on one socket would read each other's answers."""
    for engine in _engines:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_inherited_connections)


class ConnectionPool:
    """The connections that the three storages of one instance share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = self._new_engine(RECYCLE_SECONDS, CONNECTIONS_MORE)
        self._limits: tuple[int, int, int] | None = None

    def _new_engine(self, recycle_seconds: int, more: int) -> Engine:
        engine = sqlalchemy.create_engine(
            self.url,
            isolation_level="AUTOCOMMIT",
            pool_size=CONNECTIONS_KEPT,
            max_overflow=more,
            pool_recycle=recycle_seconds,
            # A server that was restarted meanwhile must not cost a run.
            pool_pre_ping=True,
            pool_use_lifo=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "trisignal dagster",
            },
        )
        _engines.add(engine)
        return engine

    def limited(self, statement_timeout_ms: int, recycle_seconds: int, more: int) -> Engine:
        """The engine with the limits that the webserver asks for, of each storage in turn."""
        limits = (statement_timeout_ms, recycle_seconds, more)
        if limits != self._limits:
            self.engine.dispose()
            self.engine = self._new_engine(recycle_seconds, more)
            self._limits = limits

            @event.listens_for(self.engine, "connect")
            def limit(connection: Any, _record: object) -> None:
                with connection, connection.cursor() as cursor:
                    cursor.execute("SET statement_timeout = %s", [statement_timeout_ms])

        return self.engine

    @contextmanager
    def tables_to_make(self) -> Iterator[bool]:
        """Whether Dagster's tables are missing; no other process looks or makes them meanwhile.

        Raises:
            DatabaseUnavailableError: the database can't be reached.
            ConfigurationError: the URL is not one that PostgreSQL understands.
            NotPermittedError: the user of the URL can't work with it.
        """
        # Not the URL itself: what SQLAlchemy hides of it is not all that may be a password.
        url = self.engine.url
        place = f"{url.database} at {url.host or url.query.get('host', 'localhost')}"
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            raise DatabaseUnavailableError(
                f"Dagster's database can't be reached ({place}): {str(error.orig).strip()}; "
                "check that the server runs and that the database exists"
            ) from None
        except ProgrammingError:
            raise ConfigurationError(
                f"the URL of Dagster's database ({place}) has an option that PostgreSQL doesn't "
                f"know; see TRISIGNAL_DATABASE_URL or {URL_VARIABLE}"
            ) from None
        with connection, connection.execution_options(isolation_level="READ COMMITTED").begin():
            lock = sqlalchemy.func.pg_advisory_xact_lock(_SCHEMA_LOCK)
            connection.execute(sqlalchemy.select(lock))
            missing = not _MAIN_TABLES.issubset(sqlalchemy.inspect(connection).get_table_names())
            may = (
                sqlalchemy.func.has_schema_privilege(sqlalchemy.func.current_schema(), "CREATE")
                if missing
                else sqlalchemy.func.has_table_privilege("runs", "INSERT")
            )
            if not connection.scalar(sqlalchemy.select(may)):
                raise NotPermittedError(
                    f"{url.username} may not {'make tables in' if missing else 'use'} "
                    f"Dagster's database ({place}): run this as the user it belongs to, or name "
                    f"another one in {URL_VARIABLE} (see docs/SECURITY.md)"
                )
            yield missing


class PooledRunStorage(PostgresRunStorage):
    """Runs, tags, snapshots, heartbeats."""

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(pool.url, should_autocreate_tables=False)
        self._pool = pool
        self._engine = pool.engine

    def make_tables(self) -> None:
        """Make the tables. Safe to repeat: who made them last may have been killed half-way."""
        self._init_db()
        self.migrate()
        self.optimize()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Take the webserver's limits (milliseconds, seconds, connections)."""
        self._engine = self._pool.limited(statement_timeout, pool_recycle, max_overflow)


class PooledScheduleStorage(PostgresScheduleStorage):
    """Schedules, sensors and their ticks."""

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(pool.url, should_autocreate_tables=False)
        self._pool = pool
        self._engine = pool.engine

    def make_tables(self) -> None:
        """Make the tables; safe to repeat."""
        self._init_db()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Take the webserver's limits (milliseconds, seconds, connections)."""
        self._engine = self._pool.limited(statement_timeout, pool_recycle, max_overflow)


class PooledEventLogStorage(PostgresEventLogStorage):
    """Events, materialisations, check evaluations, dynamic partitions."""

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(pool.url, should_autocreate_tables=False)
        self._pool = pool
        self._engine = pool.engine
        self._held = threading.local()
        self._known_tables: set[str] = set()
        self._evaluations = WaitingEvaluations()

    def make_tables(self) -> None:
        """Make the tables; safe to repeat."""
        self._init_db()
        self.reindex_events()
        self.reindex_assets()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Take the webserver's limits (milliseconds, seconds, connections)."""
        self._engine = self._pool.limited(statement_timeout, pool_recycle, max_overflow)

    def dispose(self) -> None:
        """Stop watching, and close the connections of all three storages.

        An instance disposes of its event log last, and of its schedule storage never.
        """
        for run_id in self._evaluations.runs():
            self._store_evaluations(self._evaluations.take(run_id))
        super().dispose()
        self._pool.engine.dispose()

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        held: Connection | None = getattr(self._held, "connection", None)
        if held is not None:
            yield held
            return
        with super()._connect() as connection:
            yield connection

    @contextmanager
    def _one_transaction(self) -> Iterator[Connection]:
        """A transaction that all of this thread's statements inside become part of."""
        with self._connect() as connection:
            if connection.in_transaction():
                yield connection
                return
            held = connection.execution_options(isolation_level="READ COMMITTED")
            with held.begin():
                self._held.connection = held
                try:
                    yield held
                finally:
                    self._held.connection = None

    def has_table(self, table_name: str) -> bool:
        """Whether the table is there. Asked several times per event, and tables don't go away."""
        if table_name not in self._known_tables and super().has_table(table_name):
            self._known_tables.add(table_name)
        return table_name in self._known_tables

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event and what follows from it, or nothing at all.

        Evaluations that a step tells of wait for each other: whatever it tells next, be it that its
        check is done or that it failed, comes after them.
        """
        if self._evaluations.add(event):
            if self._evaluations.count(event.run_id) >= EVENT_BATCH_SIZE:
                self._store_evaluations(self._evaluations.take(event.run_id))
            return
        with self._one_transaction():
            self._store_evaluations(self._evaluations.take(event.run_id))
            super().store_event(event)

    def _store_evaluations(self, events: Sequence[EventLogEntry]) -> None:
        if not events:
            return
        with self._one_transaction() as connection:
            inserted = connection.execute(
                self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)
            )
            for entry, event_id in zip(events, inserted.scalars(), strict=True):
                self.store_asset_check_event(entry, int(event_id))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events, those of planned materialisations with one statement for all.

        Dagster plans one event per partition and asset before the first step starts.
        """
        planned: list[EventLogEntry] = []
        others: list[EventLogEntry] = []
        for entry in events:
            is_plan = entry.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION_PLANNED
            (planned if is_plan else others).append(entry)
        with self._one_transaction() as connection:
            for run_id in {entry.run_id for entry in events}:
                self._store_evaluations(self._evaluations.take(run_id))
            if planned:
                inserted = connection.execute(
                    self.prepare_insert_event_batch(planned).returning(SqlEventLogStorageTable.c.id)
                )
                last_of_asset = {
                    entry.get_dagster_event().asset_key: (entry, int(event_id))
                    for entry, event_id in zip(planned, inserted.scalars(), strict=True)
                }
                for entry, event_id in last_of_asset.values():
                    self._store_asset_event(connection, entry, event_id)
            if others:
                super().store_event_batch(others)

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """Note a planned check per partition, without the list of all partitions in each note.

        Dagster repeats the whole plan in every row, which for a range of n dates is n squared.
        """
        step = event.get_dagster_event()
        plan = step.event_specific_data
        if not isinstance(plan, AssetCheckEvaluationPlanned) or plan.partitions_subset is None:
            super()._store_asset_check_evaluation_planned(event, event_id)
            return
        of_one = step._replace(event_specific_data=replace(plan, partitions_subset=None))
        row = {
            "asset_key": plan.asset_key.to_string(),
            "check_name": plan.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event._replace(dagster_event=of_one)),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]
            "evaluation_event_storage_id": event_id,
        }
        keys = plan.partitions_subset.get_partition_keys()
        rows = [{**row, "partition": key} for key in keys]
        if rows:
            with self.index_connection() as connection:
                connection.execute(AssetCheckExecutionsTable.insert(), rows)


class PooledStorage(DagsterStorage[DagsterInstance], ConfigurableClass):
    """What `dagster.yaml` names as storage. It takes no configuration but the environment."""

    def __init__(self, url: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        # Read at every event, in whichever process writes it: a run worker has no other place.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENT_BATCH_SIZE))
        pool = ConnectionPool(url)
        self._runs = PooledRunStorage(pool)
        self._events = PooledEventLogStorage(pool)
        self._schedules = PooledScheduleStorage(pool)
        with pool.tables_to_make() as missing:
            if missing:
                self._runs.make_tables()
                self._events.make_tables()
                self._schedules.make_tables()
        super().__init__()  # type: ignore[no-untyped-call]  # it has no annotations

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What `dagster.yaml` said: the class alone, so that no password is ever handed on."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration: passwords belong in the environment."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The storage on the database that the environment names, with its server running.

        Raises:
            SchemaVersionError: the bars' own database has another schema than the code.
            TrisignalError: as `require_schema` and `dagster_database_url` say.
        """
        settings = Settings.from_environment()
        require_schema(settings)
        return cls(dagster_database_url(settings), inst_data)

    @property
    def run_storage(self) -> PooledRunStorage:
        """Runs."""
        return self._runs

    @property
    def event_log_storage(self) -> PooledEventLogStorage:
        """Events."""
        return self._events

    @property
    def schedule_storage(self) -> PooledScheduleStorage:
        """Schedules and sensors."""
        return self._schedules
