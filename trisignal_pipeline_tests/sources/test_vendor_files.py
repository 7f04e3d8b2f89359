"""Real vendor files, where this machine has them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from trisignal_pipeline.market.bars import concatenate
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, inspect, read_bars
from trisignal_pipeline.sources.raw_folder import candidate_files


def verified(folder: Path) -> list[DbnFile]:
    files = [inspect(path) for path in candidate_files(folder)]
    for file in files:
        assert isinstance(file, DbnFile), file
    return files  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("folder", "counts", "roots"),
    [
        ("tiny_es", [2, 2, 2], {"ES"}),
        ("two_roots", [20, 60, 10], {"ES", "NQ"}),
        ("mgc_fut", [68_408], {"MGC"}),
        ("nq_fut", [36_381, 53_195, 38_618], {"NQ"}),
    ],
)
def test_good_files_are_verified(
    shared_data: Path, folder: str, counts: list[int], roots: set[str]
) -> None:
    files = verified(shared_data / folder)
    assert [file.record_count for file in files] == counts
    assert {root for file in files for root in file.roots} == roots


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_data.definition.dbn.frag.zst", "no DBN header and starts with a record (rtype 19)"),
        ("test_data.mbo.v3.dbn.zst", "it holds mbo, not ohlcv-1m"),
        ("test_data.ohlcv-1d.dbz", "it is DBZ"),
        ("test_data.ohlcv-1d.v3.dbn.zst", "it holds ohlcv-1d, not ohlcv-1m"),
        ("test_data.trades.v2.dbn.zst", "it holds trades, not ohlcv-1m"),
    ],
)
def test_unusable_files_are_refused(shared_data: Path, name: str, reason: str) -> None:
    assert shared_data / "unusable" / name in candidate_files(shared_data / "unusable")
    verdict = inspect(shared_data / "unusable" / name)
    assert isinstance(verdict, RefusedFile)
    assert reason in verdict.reason


def test_half_a_real_file_is_refused(shared_data: Path, tmp_path: Path) -> None:
    whole = next((shared_data / "nq_fut").glob("*20241101*.zst"))
    content = whole.read_bytes()
    half = tmp_path / whole.name
    half.write_bytes(content[: len(content) // 2])
    verdict = inspect(half)
    assert isinstance(verdict, RefusedFile)
    assert "cut short" in verdict.reason
    assert verdict.roots == ("NQ",)


def test_spreads_are_left_out_of_what_a_file_holds(shared_data: Path) -> None:
    (file,) = verified(shared_data / "mgc_fut")
    counted = sum(day.bar_count for day in file.days)
    assert 0.70 < counted / file.record_count < 0.80
    assert all("-" not in day.contract for day in file.days)


def test_the_lead_contract_of_real_files_is_the_expected_one(shared_data: Path) -> None:
    files = verified(shared_data / "nq_fut")
    leads = lead_contracts([day for file in files for day in file.days], "v")
    with (shared_data / "nq_fut" / "expected_lead_contract.csv").open() as lines:
        expected = {row["date"]: row["contract"] for row in csv.DictReader(lines)}
    assert {str(day): contract for day, contract in leads.items()} == expected


def test_the_lead_contracts_minutes_are_the_expected_ones(shared_data: Path) -> None:
    files = verified(shared_data / "nq_fut")
    leads = lead_contracts([day for file in files for day in file.days], "v")
    everything = DateRange(min(leads), max(leads))
    bars = concatenate(
        bars
        for file in files
        for bars in read_bars(file, leads, everything.start_ns, everything.end_ns)
    )
    with gzip.open(shared_data / "nq_fut" / "expected_bias.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    stamps = np.array([row["ts"].removesuffix("Z") for row in rows], "datetime64[ns]")
    assert np.array_equal(bars.ts, stamps.astype(np.int64))
    assert [bars.contracts[code] for code in bars.contract] == [row["contract"] for row in rows]
