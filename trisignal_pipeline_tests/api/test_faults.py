"""What goes wrong inside: told by kind and number, never by statement, path or secret; and over."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.api.running_api import Answer, Api, running
from trisignal_pipeline_tests.end_to_end.command_line import wait_until
from trisignal_pipeline_tests.query.stored_market import NQ
from trisignal_pipeline_tests.throwaway_server import throwaway_server

DAY = {"symbol": NQ, "start": "2024-11-26T00:00:00Z", "end": "2024-11-27T00:00:00Z"}
INSIDE = re.compile(r"/tmp|/work|\.py|SELECT|market_bars|psycopg|Traceback|socket", re.IGNORECASE)


@contextmanager
def locked(database: Database, table: str) -> Iterator[psycopg.Connection]:
    """A table that nobody else can read; and a connection to watch those who wait for it."""
    with (
        psycopg.connect(database.url) as holder,
        psycopg.connect(database.url, autocommit=True) as watcher,
    ):
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield watcher
        holder.rollback()


def waiting(connection: psycopg.Connection) -> list[int]:
    """The sessions of the API that wait for a lock."""
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'trisignal api' "
        "AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    return [pid for (pid,) in found]


class Asking(threading.Thread):
    """A request that is under way."""

    def __init__(self, api: Api, path: str) -> None:
        super().__init__()
        self.api, self.path = api, path
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        self.answer = self.api.get(self.path, **DAY)

    def end(self) -> Answer:
        self.join()
        assert self.answer is not None
        return self.answer


def test_a_session_that_is_ended_while_it_reads_costs_one_request_at_most(
    own_week: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with running(build_app(own_week)) as api:
        with locked(own_week, "bias_series_1m_v1") as watcher:
            asking = Asking(api, "bias")
            wait_until(lambda: bool(waiting(watcher)), "waiting session", seconds=20)
            for pid in waiting(watcher):
                watcher.execute("SELECT pg_terminate_backend(%s)", (pid,))
            answer = asking.end()
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert "Ask again" in answer.problem
        assert not INSIDE.search(answer.content.decode())
        assert answer.json["request_id"] in caplog.text
        assert api.get("bias", **DAY).status == 200


def test_connections_that_were_idle_when_their_server_went_cost_nothing(own_week: Database) -> None:
    with running(build_app(own_week)) as api:
        assert api.get("bars", **DAY).status == 200
        with psycopg.connect(own_week.url, autocommit=True) as connection:
            ended = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'trisignal api' AND datname = current_database()"
            ).fetchone()
        assert ended is not None
        assert ended[0] >= 1
        assert api.get("bars", **DAY).status == 200


def test_what_takes_too_long_is_ended_with_what_to_do(own_week: Database) -> None:
    with running(build_app(own_week, statement_seconds=0.2)) as api:
        with locked(own_week, "bias_series_1m_v1"):
            busy = api.get("bias", **DAY)
            assert api.get("bars", **DAY).status == 200
        assert busy.status == 503
        assert "being changed" in busy.problem
        with psycopg.connect(own_week.url, autocommit=True) as connection:
            # A view in the way that sleeps, as a table would that is too large.
            connection.execute("ALTER TABLE bias_series_1m_v1 RENAME TO slow_bias")
            connection.execute(
                "CREATE VIEW bias_series_1m_v1 AS SELECT b.* FROM slow_bias b, pg_sleep(5)"
            )
            connection.execute("GRANT SELECT ON bias_series_1m_v1 TO PUBLIC")
        slow = api.get("bias", **DAY)
        assert slow.status == 504
        assert "shorter range" in slow.problem
        assert not INSIDE.search(slow.content.decode())


def test_a_fault_inside_is_told_by_its_number_alone(
    own_week: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(own_week.url, autocommit=True) as connection:
        connection.execute("DROP TABLE triangle_events_v1 CASCADE")
    with running(build_app(own_week)) as api, caplog.at_level(logging.ERROR):
        answer = api.get("triangles/events", **DAY)
        assert api.get("bars", **DAY).status == 200
    assert answer.status == 500
    assert not INSIDE.search(answer.content.decode())
    assert "triangle_events_v1" not in answer.content.decode()
    assert answer.json["request_id"] in caplog.text
    assert "UndefinedTable" in caplog.text


def test_more_readers_than_connections_wait_their_turn(own_week: Database) -> None:
    with running(build_app(own_week, connections=2)) as api:
        with locked(own_week, "bias_series_1m_v1") as watcher:
            asking = [Asking(api, "bias") for _ in range(6)]
            wait_until(lambda: len(waiting(watcher)) == 2, "two waiting", seconds=20)
        assert [one.end().status for one in asking] == [200] * 6


def test_a_database_that_is_not_there_is_no_fault_of_the_process(week: Database) -> None:
    gone = replace(week, url="postgresql://trader:hunter2hunter2@127.0.0.1:1/market")
    with running(build_app(gone)) as api:
        assert api.get("/healthz").status == 200
        for path in ("/readyz", "bars"):
            answer = api.get(path, **({} if path == "/readyz" else DAY))
            assert answer.status == 503
            assert "can't be reached" in answer.problem
            assert b"hunter2" not in answer.content
            assert b"127.0.0.1" not in answer.content


def test_a_database_with_another_schema_is_not_ready(own_week: Database) -> None:
    with running(build_app(own_week)) as api:
        assert api.get("/readyz").status == 200
        with psycopg.connect(own_week.url) as connection:
            connection.execute("UPDATE trisignal_schema SET version_num = '0001'")
        answer = api.get("/readyz")
        assert answer.status == 503
        assert "schema" in answer.problem
        assert api.get("/healthz").status == 200


@pytest.fixture(scope="module")
def restartable() -> Iterator[EmbeddedServer]:
    with throwaway_server() as server:
        yield server


def test_a_restart_of_the_server_is_outlived(restartable: EmbeddedServer) -> None:
    migrate(restartable.url())
    with running(build_app(Database(restartable.url()))) as api:
        assert api.get("bars", **DAY).status == 200
        restartable.stop()
        assert api.get("bars", **DAY).status == 503
        assert api.get("/readyz").status == 503
        assert api.get("/healthz").status == 200
        restartable.ensure_running()
        assert api.get("bars", **DAY).status == 200
        assert api.get("/readyz").status == 200
