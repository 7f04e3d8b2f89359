"""A backfill that is killed in mid-run: the audit tells the truth, and the next one makes it good.

The moment is chosen, not hit by luck: another session holds rows that the run is about to write,
so it stops before them until it is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.sources.sample_files import write_history
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.ingest import DEFAULT_BATCH_ROWS
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.pipeline import CLEAN, LEGACY, Pipeline, Stored, open_pipeline

NQ = "GLBX.MDP3:NQ"
MONDAY, WEDNESDAY, FRIDAY = date(2024, 6, 24), date(2024, 6, 26), date(2024, 6, 28)
DATES = ("--start", str(MONDAY), "--end", str(FRIDAY))

# An hour in mid-week in which every minute trades, somewhere past the fourth batch.
HOUR = f"{WEDNESDAY} 14:00Z"


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What the tables hold, and what the audit counts, where nobody kills anything."""

    results: dict[str, Stored]
    counts: dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def undisturbed(
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    with open_pipeline(server, migrated_template, dagster_template, folder) as pipeline:
        write_history(pipeline.raw, "NQ", MONDAY, FRIDAY)
        done = pipeline.backfill(MONDAY, FRIDAY)
        assert done.succeeded
        return Undisturbed(pipeline.results(), done.counts)


@contextmanager
def _rows_held(pipeline: Pipeline, table: str) -> Iterator[None]:
    """Bars of an hour that another session has inserted, and has not committed."""
    pipeline.query(
        "SELECT ensure_time_partitions(%s::regclass, %s, %s)", table, str(MONDAY), str(FRIDAY)
    )
    own = sql.SQL(", ts_ms") if table == "market_bars_ohlcv_1m" else sql.SQL("")
    own_value = (
        sql.SQL(", (extract(epoch FROM ts) * 1000)::bigint") if own.as_string() else sql.SQL("")
    )
    with psycopg.connect(pipeline.database.url) as other:
        other.execute(
            sql.SQL(
                "INSERT INTO {table} (symbol, ts, open, high, low, close, volume{own}) "
                "SELECT %s, ts, 1, 1, 1, 1, 1{value} "
                "FROM generate_series(%s::timestamptz, %s::timestamptz + interval '1 hour', "
                "interval '1 minute') AS ts"
            ).format(table=sql.Identifier(table), own=own, value=own_value),
            (NQ, HOUR, HOUR),
        )
        yield
        other.rollback()


@pytest.mark.parametrize(
    ("asset", "table", "rows_before"),
    [
        (LEGACY, "market_bars_ohlcv_1m", 0),
        (CLEAN, "market_bars_ohlcv_1m_clean", 1),
    ],
)
def test_the_next_backfill_makes_good_what_a_killed_one_left(
    pipeline: Pipeline,
    undisturbed: Undisturbed,
    tmp_path: Path,
    asset: str,
    table: str,
    rows_before: int,
) -> None:
    write_history(pipeline.raw, "NQ", MONDAY, FRIDAY)
    terminal = CommandLine.with_home(
        tmp_path,
        pipeline.raw,
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
    )
    with (
        _rows_held(pipeline, table),
        terminal.started("backfill", NQ, *DATES, log=tmp_path / "log") as killed,
    ):
        wait_until(lambda: _waits_for_rows(pipeline) or killed.poll() is not None, "run that waits")
        assert killed.poll() is None, (tmp_path / "log").read_text()
        killed.send_signal(signal.SIGKILL)
        killed.wait()

    [(run_id, status, batches, read, inserted)] = pipeline.query(
        """
        SELECT dagster_run_id, status, batch_count, row_count, inserted_count
        FROM data_ingest_runs WHERE asset = %s
        """,
        asset,
    )
    assert status == "running"
    assert batches > 3
    assert read == inserted == batches * DEFAULT_BATCH_ROWS
    assert pipeline.value("SELECT count(*) FROM data_ingest_runs") == rows_before + 1
    assert pipeline.results()[table].rows == inserted
    layer = asset.removesuffix("_bars")
    assert pipeline.query("SELECT DISTINCT state FROM bar_dates WHERE layer = %s", layer) == [
        ("writing",)
    ]

    done = pipeline.backfill(MONDAY, FRIDAY)

    assert done.succeeded
    first, *others = pipeline.query(
        "SELECT status, error FROM data_ingest_runs WHERE asset = %s ORDER BY id", asset
    )
    assert first[0] == "failed"
    assert "stale" in first[1]
    assert others == [("success", None)]
    assert pipeline.results() == undisturbed.results
    again = done.counts[asset]
    assert again["unchanged"] == inserted
    assert again["inserted"] + inserted == undisturbed.counts[asset]["inserted"]
    with pipeline.instance() as instance:
        lost = instance.get_run_by_id(run_id)
    assert lost is not None
    assert lost.status == dg.DagsterRunStatus.FAILURE, "it must not seem to run for ever"


def _waits_for_rows(pipeline: Pipeline) -> bool:
    return bool(
        pipeline.query(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'trisignal symbol lock'
              AND wait_event_type = 'Lock'
            """
        )
    )
