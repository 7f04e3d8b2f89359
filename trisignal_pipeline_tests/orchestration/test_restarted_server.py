"""A server that crashes and comes back while an asset writes: the run ends as if it hadn't."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import psycopg
import pytest

from trisignal_pipeline.errors import DatabaseUnavailableError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration import step_retries
from trisignal_pipeline.orchestration.assets import signals
from trisignal_pipeline.storage import ingest, signal_keeping
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import migrate
from trisignal_pipeline_tests.pipeline import CLEAN, LEGACY, Pipeline
from trisignal_pipeline_tests.tiny_market import BARS, MONDAY, NQ, WEDNESDAY, write_days

BATCH_ROWS = 100


@dataclass
class Crashes:
    """A pipeline whose bars lie on a server of their own, and when that server crashes."""

    pipeline: Pipeline
    server: EmbeddedServer
    restarts: list[threading.Thread] = field(default_factory=list)

    def crash(self) -> None:
        """End the server as a power cut would, and have it started again at once."""
        pid = self.server.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        while self.server.status().pid is not None:
            pass
        self.restarts.append(threading.Thread(target=self.server.ensure_running))
        self.restarts[-1].start()


@pytest.fixture
def crashes(pipeline: Pipeline) -> Iterator[Crashes]:
    folder = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    folder.chmod(0o755)  # for the account that runs the server where root runs the tests
    server = EmbeddedServer(folder / "home")
    server.ensure_running()
    migrate(server.url())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRISIGNAL_DATABASE_URL", server.url())
        settings = replace(pipeline.settings, database_url=server.url())
        crashes = Crashes(Pipeline(settings), server)
        yield crashes
        for restart in crashes.restarts:
            restart.join()
    server.reset()
    shutil.rmtree(folder)


@dataclass
class BetweenBatches:
    """Crashes the server when the `count`-th batch of `asset` was committed."""

    crashes: Crashes
    asset: str
    count: int

    def begin(self, stage: str, symbol: str, dates: DateRange) -> None:
        """Nothing to do."""

    def advance(self, stage: str, bars: int) -> None:
        if stage == self.asset:
            self.count -= 1
            if not self.count:
                self.crashes.crash()


def _audited(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query(
        "SELECT asset, status, error, row_count, inserted_count, batch_count, retry_count "
        "FROM data_ingest_runs ORDER BY id"
    )


def _same_but_for_a_retry(crashed: Crashes, undisturbed: Pipeline, asset: str) -> None:
    assert len(crashed.restarts) == 1
    assert crashed.pipeline.results() == undisturbed.results()
    bars = 3 * BARS
    batches = -(-bars // BATCH_ROWS)
    assert _audited(crashed.pipeline) == [
        (name, "success", None, bars, bars, batches, int(name == asset)) for name in (LEGACY, CLEAN)
    ]


@pytest.mark.parametrize("asset", [LEGACY, CLEAN])
def test_a_crash_between_two_batches_goes_unnoticed(
    pipeline: Pipeline, crashes: Crashes, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(pipeline.raw, DateRange(MONDAY, WEDNESDAY))

    done = crashes.pipeline.backfill(
        MONDAY, WEDNESDAY, progress=BetweenBatches(crashes, asset, 2), batch_rows=BATCH_ROWS
    )

    assert done.succeeded, done.failures
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", str(pipeline.settings.database_url))
    assert pipeline.backfill(MONDAY, WEDNESDAY).succeeded
    _same_but_for_a_retry(crashes, pipeline, asset)


@pytest.mark.parametrize("asset", [LEGACY, CLEAN])
def test_a_crash_inside_a_batch_costs_that_batch_once(
    pipeline: Pipeline, crashes: Crashes, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(pipeline.raw, DateRange(MONDAY, WEDNESDAY))
    replace_bars, calls = ingest.replace_bars, []

    def replace_and_crash(connection: Any, table: Any, *rest: Any, **named: Any) -> Any:
        written = replace_bars(connection, table, *rest, **named)
        calls.append(f"{table.layer}_bars")
        if calls.count(asset) == 3 and not crashes.restarts:
            crashes.crash()
        return written

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "replace_bars", replace_and_crash)
        done = crashes.pipeline.backfill(MONDAY, WEDNESDAY, batch_rows=BATCH_ROWS)

    assert done.succeeded, done.failures
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", str(pipeline.settings.database_url))
    assert pipeline.backfill(MONDAY, WEDNESDAY).succeeded
    _same_but_for_a_retry(crashes, pipeline, asset)
    assert crashes.pipeline.value("SELECT count(*) FROM bar_dates WHERE symbol = %s", NQ) == 6


@pytest.mark.parametrize(
    ("module", "name"),
    [(signal_keeping, "replace_signals"), (signals, "history_verdict")],
    ids=["inside their transaction", "after the last of them"],
)
def test_a_crash_under_the_signals_is_survived_by_trying_them_again(
    pipeline: Pipeline,
    crashes: Crashes,
    module: ModuleType,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_days(pipeline.raw, DateRange(MONDAY, WEDNESDAY))
    monkeypatch.setattr(step_retries, "FIRST_WAIT_SECONDS", 0.5)
    work = getattr(module, name)

    def crash_before(connection: Any, *rest: Any, **named: Any) -> Any:
        if not crashes.restarts:
            # Something is open, and lost.
            connection.execute("SELECT 1")
            crashes.crash()
        return work(connection, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, crash_before)
        done = crashes.pipeline.backfill(MONDAY, WEDNESDAY)

    assert done.succeeded, done.failures
    assert len(crashes.restarts) == 1
    with crashes.pipeline.instance() as instance:
        events = instance.all_logs(done.run_ids[0])
    counted = Counter(
        entry.dagster_event.event_type
        for entry in events
        if entry.step_key == "signals" and entry.dagster_event is not None
    )
    assert counted[dg.DagsterEventType.STEP_UP_FOR_RETRY] >= 1
    assert counted[dg.DagsterEventType.STEP_FAILURE] == 0
    assert counted[dg.DagsterEventType.ASSET_MATERIALIZATION] == 2 * 3, "each date once"
    made = crashes.pipeline.results()
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", str(pipeline.settings.database_url))
    assert pipeline.backfill(MONDAY, WEDNESDAY).succeeded
    assert made == pipeline.results()


def test_without_retries_a_crash_under_the_signals_fails_the_run_as_one_that_may_pass(
    pipeline: Pipeline, crashes: Crashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(pipeline.raw, [MONDAY])
    monkeypatch.setenv("TRISIGNAL_RETRIES", "0")

    def crash(*_arguments: Any, **_named: Any) -> None:
        crashes.crash()
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(signal_keeping, "replace_signals", crash)
        with pytest.raises(DatabaseUnavailableError, match="nothing is counted twice"):
            crashes.pipeline.materialize(MONDAY, MONDAY)
