"""Buying from the command line: prices first, nothing twice, and the key nowhere."""

from __future__ import annotations

import signal
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline_tests.end_to_end.command_line import (
    CommandLine,
    QuickCommandLine,
    wait_until,
)
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.sources.databento_server import (
    BARS,
    COST,
    KEY,
    Answer,
    DatabentoServer,
    error,
)
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, WEDNESDAY, write_day

DATES = DateRange(MONDAY, WEDNESDAY)
ASKED = (NQ, "--start", str(MONDAY), "--end", str(WEDNESDAY))


@pytest.fixture(autouse=True)
def _folder_for_clean_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRISIGNAL_API_DIR", str(tmp_path / "api"))


def test_an_estimate_names_the_price_and_buys_nothing(
    trisignal: QuickCommandLine, databento: DatabentoServer
) -> None:
    answer = trisignal.run("fetch", *ASKED, "--estimate")

    assert answer.exit_code == 0
    assert f"would buy GLBX.MDP3 NQ.v.0 {DATES}: 0.375 USD" in answer.out
    assert f"{NQ} {DATES}: 0 dates there, 0.375 USD for the others" in answer.out
    assert not databento.bought


def test_files_are_bought_once_and_listed(
    trisignal: QuickCommandLine, databento: DatabentoServer
) -> None:
    databento.conditions = {MONDAY: "degraded"}

    first, second = trisignal.run("fetch", *ASKED), trisignal.run("fetch", *ASKED)

    assert f"{NQ} {DATES}: 0 dates were there, 1 files bought for 0.375 USD" in first.out
    assert f"warning: {NQ} {MONDAY}: Databento calls them degraded" in first.err
    assert f"{NQ} {DATES}: 3 dates were there, 0 files bought for 0 USD" in second.out
    assert databento.bought == [DATES]
    [run] = trisignal.run("runs", "--format", "csv").rows
    assert (run["cost_usd"], run["source"], run["status"]) == ("0.375", "databento_api", "success")
    [file] = trisignal.run("files", "--format", "csv").rows
    assert file["verdict"] == "verified"
    assert "0.375" in trisignal.run("runs").out


@pytest.mark.parametrize("command", ["fetch", "reingest", "backfill"])
def test_too_small_a_budget_is_told_in_one_line(
    trisignal: QuickCommandLine, databento: DatabentoServer, command: str
) -> None:
    source = ("--source", "databento_api") if command == "backfill" else ()
    answer = trisignal.run(command, *ASKED, *source, "--budget", "0.3")

    assert answer.exit_code == 1
    assert answer.err.startswith(f"error: {NQ} {DATES} costs 0.375 USD, but of the budget of 0.3")
    assert answer.err.count("\n") == 1
    assert not databento.bought


@pytest.mark.parametrize("amount", ["-1", "nan", "much"])
def test_a_budget_is_an_amount(trisignal: QuickCommandLine, amount: str) -> None:
    answer = trisignal.run("fetch", *ASKED, "--budget", amount)

    assert answer.exit_code == 2
    assert "is not an amount of dollars" in answer.err


def test_again_is_for_buying(trisignal: QuickCommandLine) -> None:
    assert trisignal.run("backfill", *ASKED, "--again").exit_code == 2


def test_a_backfill_buys_what_no_file_covers(
    trisignal: QuickCommandLine, pipeline: Pipeline, databento: DatabentoServer
) -> None:
    write_day(pipeline.raw, MONDAY)

    answer = trisignal.run("backfill", *ASKED, "--source", "databento_api")

    assert answer.exit_code == 0, answer.err
    assert "spent at Databento: 0.25 USD" in answer.out
    assert databento.bought == [DateRange(TUESDAY, WEDNESDAY)]
    assert pipeline.value("SELECT count(*) FROM bar_dates WHERE state = 'complete'") == 6


def test_clean_bars_are_made_again_from_the_api(
    trisignal: QuickCommandLine, pipeline: Pipeline, databento: DatabentoServer
) -> None:
    databento.conditions = {WEDNESDAY: "missing"}

    answer = trisignal.run("reingest", *ASKED)

    assert answer.exit_code == 0, answer.err
    assert f"{NQ} {WEDNESDAY}: not bought: Databento calls them missing" in answer.err
    assert f"warning: {NQ} {WEDNESDAY}: the API has no bars that could be had" in answer.err
    assert pipeline.query("SELECT DISTINCT layer, source FROM bar_dates") == [
        ("clean", "databento_api")
    ]


def test_a_download_that_is_killed_shows_its_cost_and_is_made_good(
    pipeline: Pipeline, databento: DatabentoServer, tmp_path: Path
) -> None:
    terminal = CommandLine.with_home(
        tmp_path / "other",
        pipeline.raw,
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_API_DIR=str(tmp_path / "api"),
        TRISIGNAL_DATABENTO_GATEWAY=databento.gateway,
    )
    databento.will(BARS, Answer(stalls_at=0.5))
    with terminal.started("fetch", *ASKED, log=tmp_path / "log") as process:
        wait_until(databento.stalled.is_set, "download")
        process.send_signal(signal.SIGKILL)
        process.wait()
    databento.released.set()
    assert pipeline.query("SELECT status, cost_usd FROM data_ingest_runs") == [
        ("running", Decimal("0.375"))
    ]
    assert not list(pipeline.raw.glob("databento_api/*/*.dbn.zst"))

    again, once_more = terminal.succeed("fetch", *ASKED), terminal.succeed("fetch", *ASKED)

    assert "1 files bought for 0.375 USD" in again.out
    assert "0 files bought" in once_more.out
    assert databento.bought == [DATES, DATES]
    audit = pipeline.query("SELECT status, cost_usd, left(error, 5) FROM data_ingest_runs")
    assert sorted(audit) == [
        ("failed", Decimal("0.375"), "stale"),
        ("success", Decimal("0.375"), None),
    ]
    assert len(list(pipeline.raw.glob("databento_api/*/*.dbn.zst"))) == 1
    assert not list(pipeline.raw.glob("databento_api/.unfinished/*"))


def test_the_key_is_written_nowhere(
    trisignal: QuickCommandLine,
    pipeline: Pipeline,
    databento: DatabentoServer,
    tmp_path: Path,
) -> None:
    echo = error(401, "auth_invalid_api_key", f"The API key {KEY} is invalid.")
    with_key = Pipeline(
        replace(
            pipeline.settings,
            api_key=KEY,
            api_gateway=databento.gateway,
            api_dir=tmp_path / "api",
        )
    )
    databento.will(COST, echo)
    told = [trisignal.run("fetch", *ASKED)]
    databento.will(BARS, echo)
    told.append(trisignal.run("reingest", *ASKED))
    told.append(trisignal.run("backfill", *ASKED, "--source", "databento_api"))
    databento.will(COST, echo)
    databento.conditions = {}
    with with_key.instance() as instance:
        failed = with_key.launch(
            instance,
            ("raw_dbn_files",),
            partition_key="2024-06-27|GLBX.MDP3:NQ",
            ops={"raw_dbn_files": {"config": {"source": "databento_api"}}},
            raise_on_error=False,
        )
        assert not failed.success
        logged = [str(entry) for entry in instance.all_logs(failed.run_id)]
    assert any("The API key *** is invalid" in entry for entry in logged)

    assert [answer.exit_code for answer in told] == [1, 1, 0], told
    assert "The API key *** is invalid" in told[0].err
    assert KEY not in "".join(answer.out + answer.err for answer in told) + "".join(logged)
    for url in (pipeline.database.url, pipeline.dagster_url):
        assert not _tables_with(url, KEY)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "metadata.json" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def _tables_with(url: str, text: str) -> list[str]:
    with psycopg.connect(url) as connection:
        names = connection.execute(
            """
            SELECT relname FROM pg_class
            WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
            """
        ).fetchall()
        return [
            name
            for (name,) in names
            if connection.execute(
                sql.SQL("SELECT EXISTS (SELECT FROM {} t WHERE strpos(t::text, %s) > 0)").format(
                    sql.Identifier(name)
                ),
                (text,),
            ).fetchone()
            != (False,)
        ]
