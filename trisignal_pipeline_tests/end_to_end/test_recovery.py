"""What is lost comes back: from a dump of both databases, or from the raw folder alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.storage import server_binaries
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.migrations import grant_to_roles, migrate
from trisignal_pipeline_tests.pipeline import (
    ASSETS,
    Pipeline,
    create_database,
    open_pipeline,
)
from trisignal_pipeline_tests.throwaway_server import throwaway_server
from trisignal_pipeline_tests.tiny_market import (
    ES,
    MONDAY,
    NQ,
    TICK,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    write_day,
    write_days,
)


def _work(pipeline: Pipeline) -> None:
    """A history with a bit of everything: wrong order, a correction, what follows from it."""
    write_days(pipeline.raw, (MONDAY, TUESDAY, WEDNESDAY), ("NQ", "ES"))
    assert pipeline.backfill(WEDNESDAY, WEDNESDAY).succeeded
    assert pipeline.backfill(MONDAY, TUESDAY).succeeded
    assert pipeline.backfill(MONDAY, WEDNESDAY, symbol=ES).succeeded
    corrected = changed(bars(TUESDAY), 100, volume=7, high=bars(TUESDAY)["high"][100] + 40 * TICK)
    write_day(pipeline.raw, TUESDAY, delivered=corrected)
    assert pipeline.backfill(TUESDAY, TUESDAY).succeeded


@pytest.fixture
def another_server() -> Iterator[EmbeddedServer]:
    """A server that has never heard of the product's roles."""
    with throwaway_server() as started:
        yield started


def _program(name: str) -> Path:
    path = server_binaries._folder_of_package() / name
    if not path.is_file():
        pytest.skip(f"the embedded server's programs include no {name}")
    return path


def _restored(source: str, server: EmbeddedServer, name: str, folder: Path) -> str:
    """The URL of a new database with what a dump of `source` holds."""
    dump = folder / f"{name}.dump"
    source = source.replace("+psycopg2", "")
    create_database(server, name, "template0")
    subprocess.run([_program("pg_dump"), "-Fc", "-f", dump, source], check=True)
    subprocess.run(
        [
            *(_program("pg_restore"), "--exit-on-error", "--no-owner", "--no-privileges"),
            *("-d", server.url(name), dump),
        ],
        check=True,
    )
    return server.url(name)


def test_a_dump_of_both_databases_restores_everything(
    pipeline: Pipeline,
    another_server: EmbeddedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _work(pipeline)
    dumped = pipeline.rows_as_written()
    events = {asset: set(pipeline.materializations(asset)) for asset in ASSETS}

    bars_url = _restored(pipeline.database.url, another_server, "market", tmp_path)
    dagster_url = _restored(pipeline.dagster_url, another_server, "market_dagster", tmp_path)
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", bars_url)
    monkeypatch.setenv(URL_VARIABLE, dagster_url)
    restored = Pipeline(replace(pipeline.settings, database_url=bars_url))
    # What `trisignal db migrate` does.
    assert migrate(bars_url) == []
    grant_to_roles(bars_url)

    assert restored.rows_as_written() == dumped
    with restored.database.connect("tests") as connection:
        assert doubts(connection) == []
        [user] = connection.execute("SELECT current_user").fetchone() or [None]
        assert user == "trisignal_writer", "the roles have their rights again"
    assert {asset: set(restored.materializations(asset)) for asset in ASSETS} == events
    for symbol in (NQ, ES):
        done = restored.backfill(MONDAY, WEDNESDAY, symbol=symbol)
        assert done.succeeded
        assert not any(
            count[what]
            for count in done.counts.values()
            for what in ("inserted", "updated", "removed")
        )
    for table in ("market_bars_ohlcv_1m", "market_bars_ohlcv_1m_clean", "triangle_events_v1"):
        assert restored.rows_as_written()[table] == dumped[table]
    assert restored.results() == pipeline.results()


def test_the_raw_folder_alone_makes_the_same_tables_again(
    pipeline: Pipeline,
    server: EmbeddedServer,
    migrated_template: str,
    dagster_template: str,
    tmp_path: Path,
) -> None:
    _work(pipeline)
    with open_pipeline(server, migrated_template, dagster_template, tmp_path / "new") as rebuilt:
        shutil.copytree(pipeline.raw, rebuilt.raw, dirs_exist_ok=True)
        for symbol in (NQ, ES):
            assert rebuilt.backfill(MONDAY, WEDNESDAY, symbol=symbol).succeeded
        assert rebuilt.results() == pipeline.results()
        assert all(stored.rows for stored in rebuilt.results().values())
