"""Verified files: what is learned of them, whatever their version and symbology."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import ConfigurationError, FileChangedError, MissingFileError
from trisignal_pipeline.market.bars import UNDEFINED_PRICE
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange
from trisignal_pipeline.sources.contract_days import MOST_BARS_A_DAY
from trisignal_pipeline.sources.dbn_file import DbnFile, dates_in_name, inspect
from trisignal_pipeline_tests.sources.dbn_encoder import (
    DAY,
    END,
    MIDNIGHT,
    compress,
    encode,
    records,
    write,
)

NEXT_DAY = DAY + timedelta(days=1)


def verified(path: Path) -> DbnFile:
    verdict = inspect(path)
    assert isinstance(verdict, DbnFile), verdict
    return verdict


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", ["bars.dbn", "bars.dbn.zst"])
def test_a_whole_file_of_any_version_is_verified(tmp_path: Path, version: int, name: str) -> None:
    made = records([0, 1, 5, 1440], volume=[1, 2, 3, 4])
    file = verified(write(tmp_path / name, encode(made, version=version)))
    content = file.path.read_bytes()
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert file.size == len(content)
    assert file.mtime_ns == file.path.stat().st_mtime_ns
    assert (file.dbn_version, file.dataset, file.schema) == (version, "GLBX.MDP3", "ohlcv-1m")
    assert (file.stype_in, file.symbols, file.roots) == ("raw_symbol", ("NQM4",), ("NQ",))
    assert (file.start_ns, file.end_ns) == (MIDNIGHT, MIDNIGHT + 3 * 1440 * NS_PER_MINUTE)
    assert (file.first_ns, file.last_ns) == (MIDNIGHT, MIDNIGHT + 1440 * NS_PER_MINUTE)
    assert file.record_count == 4
    assert [(d.date, d.contract, d.volume, d.bar_count) for d in file.days] == [
        (DAY, "NQM4", 6, 3),
        (NEXT_DAY, "NQM4", 4, 1),
    ]
    assert (file.days[0].first_ns, file.days[0].last_ns) == (
        MIDNIGHT,
        MIDNIGHT + 5 * NS_PER_MINUTE,
    )


def test_a_file_without_records_is_verified(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn.zst", encode()))
    assert (file.record_count, file.first_ns, file.last_ns, file.days) == (0, None, None, ())


def test_a_header_without_an_end_leaves_the_end_open(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records([0, 99]), end=None)))
    assert file.end_ns is None
    assert file.last_ns == MIDNIGHT + 99 * NS_PER_MINUTE


def test_several_frames_and_skippable_ones_are_one_file(tmp_path: Path) -> None:
    content = encode(records(range(100)))
    skippable = bytes.fromhex("502a4d18 03000000 000000")
    path = tmp_path / "bars.dbn.zst"
    path.write_bytes(
        skippable + compress(content[:333]) + compress(b"") + compress(content[333:]) + skippable
    )
    assert verified(path).record_count == 100


def test_parent_symbology_leaves_spreads_out_and_tells_roots_apart(tmp_path: Path) -> None:
    mapping = {
        "NQM4": [(DAY, END, "1")],
        "NQM4-NQU4": [(DAY, END, "2")],
        "NQU4": [(DAY, END, "3")],
        "ESM4": [(DAY, END, "4")],
        "UD:1V: GN 0912345": [(DAY, END, "5")],
    }
    made = records([0, 0, 0, 1, 1, 2], [1, 2, 3, 4, 5, 3])
    made["low"][1] = made["close"][1] = -250
    content = encode(made, stype_in="parent", symbols=["ES.FUT", "NQ.FUT"], mapping=mapping)
    file = verified(write(tmp_path / "bars.dbn.zst", content))
    assert file.record_count == 6
    assert file.roots == ("ES", "NQ")
    assert [(d.root, d.contract, d.bar_count) for d in file.days] == [
        ("ES", "ESM4", 1),
        ("NQ", "NQM4", 1),
        ("NQ", "NQU4", 2),
    ]


def test_ids_mean_what_the_mapping_says_on_the_date(tmp_path: Path) -> None:
    # Instrument 1 is given to another contract, and NQU4 gets a second id.
    mapping = {
        "NQM4": [(DAY, NEXT_DAY, "1")],
        "NQU4": [(DAY, NEXT_DAY, "2"), (NEXT_DAY, END, "1")],
    }
    made = records([0, 0, 1439, 1440, 1441], [1, 2, 1, 1, 1], volume=[1, 2, 4, 8, 16])
    file = verified(write(tmp_path / "bars.dbn", encode(made, mapping=mapping)))
    assert [(d.date, d.contract, d.volume) for d in file.days] == [
        (DAY, "NQM4", 5),
        (DAY, "NQU4", 2),
        (NEXT_DAY, "NQU4", 24),
    ]


def test_a_mapping_from_ids_to_symbols_is_read_the_other_way_round(tmp_path: Path) -> None:
    content = encode(
        records([0, 1], [7, 8]),
        stype_in="instrument_id",
        stype_out="raw_symbol",
        symbols=["7", "8"],
        mapping={"7": [(DAY, END, "NQM4")], "8": [(DAY, END, "NQU4")]},
    )
    file = verified(write(tmp_path / "bars.dbn", content))
    assert [day.contract for day in file.days] == ["NQM4", "NQU4"]


def test_instruments_of_a_continuous_symbol_are_called_by_their_id(tmp_path: Path) -> None:
    content = encode(
        records([0, 1, 1440], [7, 7, 8]),
        stype_in="continuous",
        symbols=["NQ.v.0"],
        mapping={"NQ.v.0": [(DAY, NEXT_DAY, "7"), (NEXT_DAY, END, "8")]},
    )
    file = verified(write(tmp_path / "bars.dbn.zst", content))
    assert [(d.date, d.root, d.contract, d.continuous, d.bar_count) for d in file.days] == [
        (DAY, "NQ", "#7", "NQ.v.0", 2),
        (NEXT_DAY, "NQ", "#8", "NQ.v.0", 1),
    ]


def test_prices_are_not_judged_here(tmp_path: Path) -> None:
    made = records([0], open=UNDEFINED_PRICE, high=-1, low=5, close=0)
    assert verified(write(tmp_path / "bars.dbn", encode(made))).record_count == 1


_BARS = st.lists(
    st.tuples(st.integers(0, 3 * 1440 - 1), st.integers(1, 3), st.integers(0, 9)), max_size=60
)


@settings(max_examples=50)
@given(bars=_BARS)
def test_days_are_those_of_a_plain_count(bars: list[tuple[int, int, int]]) -> None:
    names = {1: "NQM4", 2: "NQM4-NQU4", 3: "NQU4"}
    plain: defaultdict[tuple[date, str], list[tuple[int, int]]] = defaultdict(list)
    for minute, number, volume in bars:
        if number != 2:
            day = DAY + timedelta(days=minute // 1440)
            plain[day, names[number]].append((minute, volume))

    made = records([b[0] for b in bars], [b[1] for b in bars], volume=[b[2] for b in bars])
    mapping = {name: [(DAY, END, str(number))] for number, name in names.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = verified(write(Path(folder, "bars.dbn"), encode(made, mapping=mapping)))
    assert [
        (d.date, d.contract, d.bar_count, d.volume, d.first_ns, d.last_ns) for d in file.days
    ] == [
        (
            *key,
            len(found),
            sum(volume for _, volume in found),
            MIDNIGHT + min(found)[0] * NS_PER_MINUTE,
            MIDNIGHT + max(found)[0] * NS_PER_MINUTE,
        )
        for key, found in sorted(plain.items())
    ]


def test_a_file_that_unpacks_to_hundreds_of_megabytes_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bars.dbn.zst"
    mapping = {f"X{number}": [(DAY, END, f"{number}")] for number in range(1000)}
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as out:
        out.write(encode(mapping=mapping))
        for number in range(1000):
            block = records([7] * MOST_BARS_A_DAY, number, open=100, high=100, low=100, close=100)
            out.write(block.tobytes())
    assert path.stat().st_size < 1_000_000
    # In a process of its own, since what counts is the most memory it ever had.
    script = (
        "import resource, sys; from pathlib import Path;"
        "from trisignal_pipeline.sources.dbn_file import inspect;"
        "usage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "before = usage();"
        "print(inspect(Path(sys.argv[1])).record_count, usage() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True
    )
    count, kilobytes = map(int, done.stdout.split())
    assert count == 1000 * MOST_BARS_A_DAY
    assert kilobytes < 80_000


def test_a_file_that_is_still_being_written_gets_no_verdict(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.dbn", encode(records([7] * 400_000)))
    started, done = threading.Event(), threading.Event()

    def keep_writing() -> None:
        with path.open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(records([7]).tobytes())
                started.set()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        assert started.wait(10)
        with pytest.raises(FileChangedError, match="wait until nothing writes to it"):
            inspect(path)
    finally:
        done.set()
        writer.join()


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.dbn is gone"):
        inspect(tmp_path / "nowhere.dbn")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.dbn"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(ConfigurationError, match=r"is not a file|Is a directory"):
            inspect(path)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("glbx-mdp3-20241101-20241130.ohlcv-1m.dbn.zst", "2024-11-01", "2024-11-30"),
        ("glbx-mdp3-20241101.ohlcv-1m.dbn.zst", "2024-11-01", "2024-11-01"),
        ("futures_2024-05-09T09-55_2024-05-10T10-05.dbn", "2024-05-09", "2024-05-10"),
        ("nq-2024-11-30.dbn", "2024-11-30", "2024-11-30"),
    ],
)
def test_a_file_name_may_tell_dates(name: str, first: str, last: str) -> None:
    expected = DateRange(date.fromisoformat(first), date.fromisoformat(last))
    assert dates_in_name(name) == expected


@pytest.mark.parametrize("name", ["bars.dbn", "x-20241301.dbn", "x-20240231.dbn", "9120241101.dbn"])
def test_a_file_name_may_tell_none(name: str) -> None:
    assert dates_in_name(name) is None
