"""Files that can't be used: each is refused, with a reason that says what it is and what to do."""

from __future__ import annotations

import hashlib
import random
import re
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.sources import contract_days
from trisignal_pipeline.sources.contract_days import MOST_BARS_A_DAY
from trisignal_pipeline.sources.dbn_file import DbnFile, RefusedFile, inspect
from trisignal_pipeline_tests.sources.dbn_encoder import (
    DAY,
    END,
    MIDNIGHT,
    compress,
    encode,
    records,
    write,
)

NOISE = random.Random(3).randbytes(500)


def refused(path: Path) -> RefusedFile:
    verdict = inspect(path)
    assert isinstance(verdict, RefusedFile), verdict
    content = path.read_bytes()
    assert verdict.sha256 == hashlib.sha256(content).hexdigest()
    assert verdict.size == len(content)
    assert "\n" not in verdict.reason
    return verdict


def refused_content(folder: Path, content: bytes, name: str = "bars.dbn") -> str:
    path = folder / name
    path.write_bytes(content)
    return refused(path).reason


@pytest.mark.parametrize("version", [1, 2, 3])
def test_half_a_compressed_file_is_cut_short(tmp_path: Path, version: int) -> None:
    prices = random.Random(5).choices(range(10**9), k=5_000)
    whole = compress(encode(records([5] * 5_000, open=prices), version=version))
    for cut in (len(whole) // 2, len(whole) - 1, len(whole) - 5):
        assert "cut short" in refused_content(tmp_path, whole[:cut], "bars.dbn.zst")


def test_an_uncompressed_file_cut_in_mid_record_is_cut_short(tmp_path: Path) -> None:
    whole = encode(records([1, 2, 3]))
    reason = refused_content(tmp_path, whole[:-1])
    assert "cut short: 55 bytes of a record of 56 follow record 2" in reason


@pytest.mark.parametrize("length", [3, 7, 8, 100])
def test_a_file_cut_in_its_header_is_cut_short(tmp_path: Path, length: int) -> None:
    assert "cut short within its header" in refused_content(tmp_path, encode()[:length])


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    prices = random.Random(5).choices(range(10**9), k=500)
    whole = bytearray(compress(encode(records([5] * 500, open=prices))))
    whole[len(whole) // 2] ^= 1
    assert "damaged" in refused_content(tmp_path, bytes(whole), "bars.dbn.zst")


def test_something_after_the_compressed_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bars.dbn.zst"
    path.write_bytes(compress(encode(records([1]))) + b"garbage")
    verdict = refused(path)
    assert "not zstd data follows" in verdict.reason
    assert verdict.dataset == "GLBX.MDP3"


def test_something_between_the_records_is_found(tmp_path: Path) -> None:
    made = records([1, 2, 3, 4]).tobytes()
    spliced = encode(made[:112] + NOISE[:112] + made[112:])
    assert "record 3 is no ohlcv-1m bar" in refused_content(tmp_path, spliced)


def test_two_files_joined_into_one_are_found(tmp_path: Path) -> None:
    whole = encode(records([1, 2, 3]))
    assert "record 4 is no ohlcv-1m bar" in refused_content(tmp_path, whole * 57)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"ts_event,rtype,publisher_id\n1,33,1\n", "text"),
        (b"\x1f\x8b\x08\x00rest", "gzip archive"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"PAR1rest of it", "Parquet"),
        (records([1]).tobytes(), "no DBN header and starts with a record .rtype 33.: it is a frag"),
        (b"\x00\xff\x00\xff" * 9, "it is not DBN"),
        (b"\x50\x2a\x4d\x18\x90\x00\x00\x00DBZ\x01" + bytes(200), "DBZ"),
        (b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", "no zstd frame with data"),
        (compress(b"ts_event,rtype\n"), "text"),
        (compress(b""), "it is empty"),
        (b"DBN\x00" + bytes(100), "DBN version 0"),
        (b"DBN\x09" + bytes(100), "DBN version 9"),
        (b"DBN\x03\xff\xff\xff\xff" + bytes(100), "claims 4,294,967,295 bytes of metadata"),
        (b"DBN\x03\x00\x00\x80\x00" + bytes(100), "cut short within its header"),
        (b"DBN\x03\x10\x00\x00\x00" + bytes(100), "header is damaged"),
    ],
)
def test_what_is_no_dbn_file_is_told_by_what_it_is(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "nq-20240601-20240630.ohlcv-1m.dbn.zst"
    path.write_bytes(content)
    verdict = refused(path)
    assert re.search(what, verdict.reason), verdict.reason
    assert verdict.dataset is None
    assert verdict.start_ns is None
    assert verdict.name_dates == DateRange(date(2024, 6, 1), date(2024, 6, 30))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"schema": "trades"}, "it holds trades, not ohlcv-1m"),
        ({"schema": "ohlcv-1h"}, "it holds ohlcv-1h, not ohlcv-1m"),
        ({"schema": None}, "several schemas"),
        ({"dataset": ""}, "no dataset"),
        ({"ts_out": True}, "ts_out"),
        ({"stype_in": None, "stype_out": "raw_symbol"}, "maps nothing to raw_symbol"),
        ({"stype_in": "continuous", "stype_out": "raw_symbol"}, "maps continuous to raw_symbol"),
        ({"mapping": {"NQM4": [(DAY, END, "one")]}}, "instrument id 'one', which is not a number"),
    ],
)
def test_a_header_that_promises_something_else_is_refused(
    tmp_path: Path, header: dict[str, Any], reason: str
) -> None:
    verdict = refused(write(tmp_path / "bars-20200101.dbn.zst", encode(records([1]), **header)))
    assert reason in verdict.reason
    assert verdict.start_ns == MIDNIGHT
    assert verdict.symbols == ("NQM4",)
    assert verdict.roots == ("NQ",)
    assert verdict.name_dates is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rtype": [33, 33, 32]}, "record 3 is no ohlcv-1m bar: rtype 32 with 56 bytes"),
        ({"length": [14, 16, 14]}, "record 2 is no ohlcv-1m bar: rtype 33 with 64 bytes"),
        ({"instrument_id": [1, 1, 9]}, "no name for instrument 9 on 2024-06-17 (bar of"),
        ({"volume": [1, 2**64 - 1, 1]}, "volume of 18,446,744,073,709,551,615"),
        (
            {"ts_event": [MIDNIGHT, MIDNIGHT + 1, MIDNIGHT]},
            "record 2 opens 1 ns after 2024-06-17T00:00:00Z",
        ),
        ({"ts_event": MIDNIGHT - 60 * 10**9}, "record 1 opens 2024-06-16T23:59:00Z, outside"),
        ({"ts_event": MIDNIGHT + 3 * 86_400 * 10**9}, "record 1 opens 2024-06-20T00:00:00Z"),
        ({"ts_event": 2**64 - 1}, "outside the range"),
    ],
)
def test_a_record_that_breaks_the_headers_promise_is_refused(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    verdict = refused(write(tmp_path / "bars.dbn.zst", encode(records([1, 2, 3], **fields))))
    assert reason in verdict.reason
    assert verdict.schema == "ohlcv-1m"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("more", [-200, -10, 8, 56, 112])
def test_a_header_of_the_wrong_length_is_damaged(tmp_path: Path, version: int, more: int) -> None:
    # A longer one would swallow records without a word.
    whole = encode(records([1, 2, 3]), version=version)
    length = max(1, int.from_bytes(whole[4:8], "little") + more)
    content = whole[:4] + length.to_bytes(4, "little") + whole[8:]
    assert "header is damaged" in refused_content(tmp_path, content)


@pytest.mark.parametrize("odd", [b"N\0M4", b"NQ\n4", b"\x1bQM4"])
def test_a_name_that_no_name_has_is_damage(tmp_path: Path, odd: bytes) -> None:
    reason = refused_content(tmp_path, encode(records([1])).replace(b"NQM4", odd))
    assert "is no name" in reason
    assert reason.isprintable()


def test_a_range_that_ends_before_it_starts_is_refused(tmp_path: Path) -> None:
    for end in (MIDNIGHT, MIDNIGHT - 1):
        reason = refused_content(tmp_path, encode(start=MIDNIGHT, end=end))
        assert "its header's range is empty: it ends 2024-06-1" in reason


def test_more_bars_of_a_contract_than_a_day_has_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.dbn.zst", encode(records([7] * (MOST_BARS_A_DAY + 1))))
    assert "more than 7,200 bars of NQM4 on 2024-06-17" in refused(path).reason


def test_more_instruments_than_fit_in_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract_days, "MOST_INSTRUMENT_DAYS", 3)
    path = write(tmp_path / "three.dbn", encode(records([0, 1440, 2880])))
    assert isinstance(inspect(path), DbnFile)
    mapping = {"NQM4": [(DAY, END, "1")], "NQM4-NQU4": [(DAY, END, "2")]}
    path = write(
        tmp_path / "four.dbn", encode(records([0, 1440, 2880, 0], [1, 1, 1, 2]), mapping=mapping)
    )
    assert "bars of more than 3 instruments and dates" in refused(path).reason


def test_an_instrument_without_letters_for_a_name_has_none(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.dbn", encode(records([1]), mapping={"": [(DAY, END, "1")]}))
    assert "no name for instrument 1" in refused(path).reason


def test_an_id_outside_its_interval_has_no_name(tmp_path: Path) -> None:
    mapping = {"NQM4": [(DAY, DAY + timedelta(days=1), "1")]}
    path = write(tmp_path / "bars.dbn", encode(records([1439, 1440]), mapping=mapping))
    assert "no name for instrument 1 on 2024-06-18" in refused(path).reason


def test_a_name_that_is_no_continuous_symbol_is_refused_in_a_file_of_them(tmp_path: Path) -> None:
    header: dict[str, Any] = {"mapping": {"NQ.v.O": [(DAY, END, "1")]}, "symbols": ["NQ.v.0"]}
    path = write(tmp_path / "bars.dbn", encode(records([1]), stype_in="continuous", **header))
    assert "calls instrument 1 NQ.v.O, which is none" in refused(path).reason


def test_an_id_with_two_names_is_refused_where_it_has_bars(tmp_path: Path) -> None:
    mapping = {
        "NQ.c.0": [(DAY, END, "1")],
        "NQ.v.0": [(DAY, DAY + timedelta(days=1), "2"), (DAY + timedelta(days=1), END, "1")],
    }
    header: dict[str, Any] = {
        "mapping": mapping,
        "stype_in": "continuous",
        "symbols": ["NQ.c.0", "NQ.v.0"],
    }
    apart = write(tmp_path / "apart.dbn", encode(records([0, 1], [1, 2]), **header))
    assert isinstance(inspect(apart), DbnFile)
    both = write(tmp_path / "both.dbn", encode(records([1440]), **header))
    assert "both NQ.c.0 and NQ.v.0" in refused(both).reason


_CONTENT = encode(records(range(30)))
_DAMAGE: dict[str, Callable[[bytes, int, bytes], bytes]] = {
    "cut": lambda whole, at, _: whole[:at],
    "overwrite": lambda whole, at, junk: whole[:at] + junk + whole[at + len(junk) :],
    "insert": lambda whole, at, junk: whole[:at] + junk + whole[at:],
}


@settings(max_examples=300, deadline=None)
@given(
    damage=st.sampled_from(sorted(_DAMAGE)),
    compressed=st.booleans(),
    at=st.integers(0, len(_CONTENT)),
    junk=st.binary(min_size=1, max_size=70),
)
def test_no_damage_makes_anything_but_a_verdict(
    damage: str, compressed: bool, at: int, junk: bytes
) -> None:
    whole = compress(_CONTENT) if compressed else _CONTENT
    content = _DAMAGE[damage](whole, min(at, len(whole)), junk)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bars.dbn")
        path.write_bytes(content)
        verdict = inspect(path)
    # With a checksum, what passes is what was written, down to the last bar.
    if compressed and isinstance(verdict, DbnFile):
        assert verdict.record_count == 30
        assert [day.volume for day in verdict.days] == [300]
    assert verdict.sha256 == hashlib.sha256(content).hexdigest()
