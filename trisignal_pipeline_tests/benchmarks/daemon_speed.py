"""How long the daemon takes over ten years of one symbol, launched as the UI launches a backfill.

What is not the work of a step is bookkeeping: waiting for ticks, starting the run's process, the
plan, and an event for each partition, asset and check. A step has done its work when it tells of
its first materialisation; all that is told after that is bookkeeping too.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import psycopg

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.benchmarks.measurement import Measured
from trisignal_pipeline_tests.benchmarks.trisignal_command import Trisignal, fresh_home
from trisignal_pipeline_tests.end_to_end.command_line import wait_until
from trisignal_pipeline_tests.end_to_end.webserver import Webserver, free_port

DATES = DateRange(date(2014, 1, 1), date(2023, 12, 31))
SYMBOL = "GLBX.MDP3:NQ"
SECONDS = 600

# In seconds: what the steps worked, and what the runs took; and how many there were.
_STEPS = """
    SELECT sum(extract(epoch FROM told - began)),
           (SELECT sum(extract(epoch FROM ended - began))
            FROM (SELECT max(timestamp) AS ended,
                         min(timestamp) FILTER (WHERE dagster_event_type = 'PIPELINE_START')
                             AS began
                  FROM event_logs GROUP BY run_id) AS runs),
           count(DISTINCT run_id)
    FROM (SELECT run_id, step_key,
                 min(timestamp) FILTER (WHERE dagster_event_type = 'STEP_START') AS began,
                 min(timestamp) FILTER (WHERE dagster_event_type IN
                                        ('ASSET_MATERIALIZATION', 'STEP_SUCCESS')) AS told
          FROM event_logs WHERE step_key IS NOT NULL GROUP BY run_id, step_key) AS steps
"""


def measure() -> list[Measured]:
    """All of it into an empty home, with webserver and daemon running."""
    with fresh_home() as trisignal:
        trisignal.generate("NQ", DATES.start, DATES.end)
        trisignal.run("db", "migrate")
        with _user_interface(trisignal) as web:
            began = time.perf_counter()
            backfill = web.launch_keys([partition_key(SYMBOL, day) for day in DATES])
            wait_until(
                lambda: web.backfill_is_over(backfill),
                "end of the backfill",
                seconds=4 * SECONDS,
                every=1.0,
            )
            seconds = time.perf_counter() - began
        worked, ran, runs = _steps(trisignal)
        bars = _bars(trisignal)
    return [
        Measured(f"{len(DATES):,} dates, {bars:,} bars, through the daemon", seconds, "s", SECONDS),
        Measured("  runs", runs, ""),
        Measured("  of it work", worked, "s"),
        Measured("  telling Dagster of dates, assets and checks", ran - worked, "s"),
        Measured("  waiting for the daemon, and starting the run's process", seconds - ran, "s"),
        Measured("  bookkeeping's share", 100 * (seconds - worked) / seconds, "%"),
    ]


@contextmanager
def _user_interface(trisignal: Trisignal) -> Iterator[Webserver]:
    web = Webserver(free_port())
    process = trisignal.start("dev", "--port", str(web.port))
    try:
        wait_until(lambda: _runs(process) and web.answers(), "answer")
        wait_until(lambda: _runs(process) and web.daemons_are_well(), "healthy daemon")
        yield web
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def _runs(process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "`trisignal dev` ended by itself"
    return True


def _steps(trisignal: Trisignal) -> tuple[float, float, int]:
    url = EmbeddedServer.for_home(trisignal.home).url("dagster")
    with psycopg.connect(url) as connection:
        row = connection.execute(_STEPS).fetchone()
    assert row is not None
    return float(row[0]), float(row[1]), int(row[2])


def _bars(trisignal: Trisignal) -> int:
    url = EmbeddedServer.for_home(trisignal.home).url()
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM market_bars_ohlcv_1m_clean").fetchone()
    assert row is not None
    return int(row[0])
