"""The vendor's own files, from an empty home to the expected signals, row for row."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from trisignal_pipeline.sources.dbn_file import RefusedFile, inspect
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import (
    Answer,
    CommandLine,
    QuickCommandLine,
)
from trisignal_pipeline_tests.pipeline import Pipeline, Stored

NQ, ES, GOLD = "GLBX.MDP3:NQ", "GLBX.MDP3:ES", "GLBX.MDP3:MGC"
DATES = ("--start", "2024-11-01", "--end", "2025-01-31")
MINUTES, TRIANGLES = 86_816, 11_880

RESULTS = (
    "market_bars_ohlcv_1m",
    "market_bars_ohlcv_1m_clean",
    "bias_series_1m_v1",
    "triangle_events_v1",
)


def _expected(shared_data: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(shared_data / "nq_fut" / name, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def home(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CommandLine, Answer]]:
    """An empty home in which the three months were backfilled at once."""
    terminal = CommandLine.with_home(tmp_path_factory.mktemp("real"), shared_data / "nq_fut")
    yield terminal, terminal.run("backfill", NQ, *DATES)
    home = Path(terminal.settings["TRISIGNAL_HOME"])
    EmbeddedServer.for_home(home, terminal.environment).reset()


@pytest.fixture(scope="module")
def tables(home: tuple[CommandLine, Answer]) -> dict[str, Stored]:
    """What the tables of that home hold."""
    terminal, _ = home
    url = terminal.succeed("db", "url").out.strip()
    return Pipeline.on(Path(terminal.settings["TRISIGNAL_HOME"]), url).results()


def test_the_backfill_of_three_months_ends_well(home: tuple[CommandLine, Answer]) -> None:
    _, answer = home
    assert answer.err == ""
    assert answer.exit_code == 0
    assert f"{MINUTES:,} bars read, {TRIANGLES:,} triangles" in answer.out


def test_the_bias_of_every_minute_is_the_expected_one(
    home: tuple[CommandLine, Answer], shared_data: Path
) -> None:
    terminal, _ = home
    answer = terminal.succeed("bias", NQ, *DATES, "--format", "csv")

    expected = _expected(shared_data, "expected_bias.csv.gz")
    for row in expected:
        del row["contract"]
    assert len(expected) == MINUTES
    assert answer.out.splitlines()[0] == "ts,bias_1m,bias_m5,bias_m15,bias_h1,bias_h4,bias_d1"
    # Not compared as lists: a difference of two such lists takes minutes to print.
    found = answer.rows
    different = [pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]]
    assert different[:3] == []
    assert len(found) == MINUTES


def test_every_triangle_is_the_expected_one(
    home: tuple[CommandLine, Answer], shared_data: Path
) -> None:
    terminal, _ = home
    found = terminal.succeed("triangles", NQ, *DATES, "--format", "csv").rows

    expected = _expected(shared_data, "expected_triangles.csv.gz")
    for row in expected:
        row["engulfing"] = row["engulfing"].lower()
        row["sweep_engulfing"] = row["sweep_engulfing"].lower()
    assert len(expected) == TRIANGLES
    shown = [{name: row[name] for name in expected[0]} for row in found]
    different = [pair for pair in zip(shown, expected, strict=False) if pair[0] != pair[1]]
    assert different[:3] == []
    assert len(found) == TRIANGLES


def test_each_date_has_the_expected_lead_contract(
    home: tuple[CommandLine, Answer], shared_data: Path
) -> None:
    with (shared_data / "nq_fut" / "expected_lead_contract.csv").open(newline="") as file:
        expected = [(row["date"], row["contract"]) for row in csv.DictReader(file)]
    terminal, _ = home
    url = terminal.succeed("db", "url").out.strip()
    stored = Pipeline.on(Path(terminal.settings["TRISIGNAL_HOME"]), url).query(
        """
        SELECT DISTINCT (ts AT TIME ZONE 'UTC')::date::text, contract
        FROM market_bars_ohlcv_1m_clean ORDER BY 1
        """
    )
    assert stored == expected


def test_three_backfills_in_another_order_give_the_same_rows(
    tables: dict[str, Stored],
    pipeline: Pipeline,
    trisignal: QuickCommandLine,
    shared_data: Path,
) -> None:
    trisignal.set("TRISIGNAL_RAW_DIR", str(shared_data / "nq_fut"))
    for start, end in (
        ("2025-01-01", "2025-01-31"),
        ("2024-11-01", "2024-11-30"),
        ("2024-12-01", "2024-12-31"),
    ):
        answer = trisignal.run("backfill", NQ, "--start", start, "--end", end)
        assert answer.err == ""
    assert answer.exit_code == 0

    found = pipeline.results()

    assert {name: found[name] for name in RESULTS} == {name: tables[name] for name in RESULTS}
    assert found["bias_series_1m_v1"].rows == MINUTES
    assert found["triangle_events_v1"].rows == TRIANGLES


def test_another_root_with_many_spreads_loads_with_the_defaults(
    pipeline: Pipeline, trisignal: QuickCommandLine, shared_data: Path
) -> None:
    trisignal.set("TRISIGNAL_RAW_DIR", str(shared_data / "mgc_fut"))
    assert trisignal.run("symbols", "add", GOLD).exit_code == 0

    answer = trisignal.run("backfill", GOLD, "--start", "2024-11-01", "--end", "2024-11-30")

    assert answer.err == ""
    assert answer.exit_code == 0
    stored = pipeline.results()
    assert stored["bias_series_1m_v1"].rows == stored["market_bars_ohlcv_1m"].rows > 20_000
    contracts = pipeline.query("SELECT DISTINCT contract FROM market_bars_ohlcv_1m")
    assert all("-" not in contract and contract.startswith("MGC") for (contract,) in contracts)
    assert pipeline.value("SELECT min(low) FROM market_bars_ohlcv_1m") > 2_000, "no spread's price"
    one_a_date = pipeline.query(
        """
        SELECT (ts - interval '1 minute')::date, count(DISTINCT contract)
        FROM market_bars_ohlcv_1m GROUP BY 1 HAVING count(DISTINCT contract) > 1
        """
    )
    assert one_a_date == []


@pytest.mark.parametrize(
    ("symbol", "day", "contract"),
    [
        (ES, date(2024, 7, 1), "ESU4"),
        (NQ, date(2024, 7, 1), "NQU4"),
        (ES, date(2024, 5, 9), "ESM4"),
    ],
)
def test_files_of_several_roots_serve_each_of_them(
    pipeline: Pipeline,
    trisignal: QuickCommandLine,
    shared_data: Path,
    symbol: str,
    day: date,
    contract: str,
) -> None:
    trisignal.set("TRISIGNAL_RAW_DIR", str(shared_data / "two_roots"))

    answer = trisignal.run("backfill", symbol, "--start", str(day), "--end", str(day))

    assert answer.err == ""
    assert answer.exit_code == 0
    found = pipeline.query(
        "SELECT symbol, contract, count(*) FROM market_bars_ohlcv_1m_clean GROUP BY 1, 2"
    )
    assert [row[:2] for row in found] == [(symbol, contract)]
    assert found[0][2] == pipeline.results()["bias_series_1m_v1"].rows >= 5


def test_the_same_bars_in_every_dbn_version_are_the_same_bars(
    pipeline: Pipeline, trisignal: QuickCommandLine, shared_data: Path
) -> None:
    trisignal.set("TRISIGNAL_RAW_DIR", str(shared_data / "tiny_es"))

    answer = trisignal.run("backfill", ES, "--start", "2020-12-28", "--end", "2020-12-28")

    assert answer.err == ""
    assert answer.exit_code == 0
    bars = pipeline.query("SELECT contract, volume FROM market_bars_ohlcv_1m ORDER BY ts")
    assert bars == [("ESH1", 353), ("ESH1", 152)]
    assert pipeline.value("SELECT array_agg(dbn_version ORDER BY dbn_version) FROM raw_files") == [
        1,
        2,
        3,
    ]


def test_every_unusable_file_is_refused_with_one_line_that_says_why(
    pipeline: Pipeline, trisignal: QuickCommandLine, shared_data: Path
) -> None:
    folder = shared_data / "unusable"
    trisignal.set("TRISIGNAL_RAW_DIR", str(folder))

    answer = trisignal.run("backfill", ES, "--start", "2020-12-28", "--end", "2020-12-28")

    assert answer.exit_code == 1
    assert "was refused: " in answer.err
    refused = dict(
        pipeline.query("SELECT split_part(path, '/unusable/', 2), reason FROM raw_files")
    )
    assert set(refused) == {file.name for file in folder.iterdir()}
    for name, said in {
        "test_data.mbo.v3.dbn.zst": "it holds mbo, not ohlcv-1m",
        "test_data.trades.v2.dbn.zst": "it holds trades, not ohlcv-1m",
        "test_data.ohlcv-1d.v3.dbn.zst": "it holds ohlcv-1d, not ohlcv-1m",
        "test_data.ohlcv-1d.dbz": "it is DBZ",
        "test_data.definition.dbn.frag.zst": "DBN",
    }.items():
        assert said in refused[name]
        assert "\n" not in refused[name]
        verdict = inspect(folder / name)
        assert isinstance(verdict, RefusedFile)
        assert verdict.reason == refused[name]
    assert all(stored.rows == 0 for stored in pipeline.results().values())
