"""The product as ordinary users of a server of one's own, set up with the documented statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import QuickCommandLine
from trisignal_pipeline_tests.end_to_end.market_server import documented_server, url_of
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, write_days

DATES = ("--start", str(MONDAY), "--end", str(TUESDAY))


@pytest.fixture(scope="module")
def market_server() -> Iterator[EmbeddedServer]:
    with documented_server() as server:
        yield server


@pytest.fixture
def pipeline(
    market_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """The product as the document's pipeline user."""
    settings = Settings(
        tmp_path / "home", tmp_path / "raw", url_of(market_server, "market_pipeline", "market")
    )
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", URL_VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRISIGNAL_HOME", str(settings.home))
    monkeypatch.setenv("TRISIGNAL_RAW_DIR", str(settings.raw_dir))
    assert settings.database_url is not None
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", settings.database_url)
    return Pipeline(settings)


def test_the_owner_migrates_the_writer_works_and_the_reader_looks(
    market_server: EmbeddedServer, pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    too_early = trisignal.run("backfill", NQ, *DATES)
    assert too_early.exit_code == 1
    assert "run: trisignal db migrate" in too_early.err

    refused = trisignal.run("db", "migrate")
    assert refused.exit_code == 1
    assert "Traceback" not in refused.err
    trisignal.set("TRISIGNAL_DATABASE_URL", url_of(market_server, "market_owner", "market"))
    migrated = trisignal.run("db", "migrate")
    assert (migrated.exit_code, migrated.err) == (0, "")

    trisignal.set("TRISIGNAL_DATABASE_URL", url_of(market_server, "market_pipeline", "market"))
    worked = trisignal.run("backfill", NQ, *DATES)
    assert (worked.exit_code, worked.err) == (0, "")
    for arguments in (
        ("symbols", "set", NQ, "discontinuity_points=400"),
        ("refresh",),
        ("db", "migrate"),
        ("db", "status"),
        ("db", "partitions", "create", "2031"),
    ):
        answer = trisignal.run(*arguments)
        assert (answer.exit_code, answer.err) == (0, ""), arguments
    assert pipeline.materialize_one(MONDAY).success
    assert pipeline.value("SELECT count(*) FROM triangle_events_v1") > 0

    trisignal.set("TRISIGNAL_DATABASE_URL", url_of(market_server, "market_desk", "market"))
    ts = f"{TUESDAY}T10:00:00Z"
    for arguments in (
        ("status",),
        ("status", "--health"),
        ("db", "partitions"),
        ("runs",),
        ("symbols", "list"),
        ("triangles", NQ, *DATES),
        ("bias", NQ, *DATES),
        ("counts", NQ, *DATES),
        ("bars", NQ, "--tf", "1h", *DATES),
        ("bars", NQ, "--tf", "1m", "--as-of", ts, *DATES),
        ("gaps", NQ, *DATES),
        ("quarantine", NQ),
        ("revisions", NQ),
        ("files",),
        ("explain", NQ, ts),
        ("db", "status"),
        ("db", "url"),
    ):
        answer = trisignal.run(*arguments)
        assert answer.exit_code == 0, (arguments, answer.err)
        assert answer.out
    before = pipeline.rows_as_written()
    for arguments in (("symbols", "set", NQ, "rank=1"), ("backfill", NQ, *DATES)):
        answer = trisignal.run(*arguments)
        assert answer.exit_code == 1
        assert answer.err.startswith("error: market_desk may not")
    assert pipeline.rows_as_written() == before
