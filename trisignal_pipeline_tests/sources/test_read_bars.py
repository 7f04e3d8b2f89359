"""Reading the bars of one contract a date, from a file that was verified."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import FileChangedError, MissingFileError, RefusedFileError
from trisignal_pipeline.market.bars import UNDEFINED_PRICE, Bars, concatenate
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange
from trisignal_pipeline.sources import records as records_module
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars, read_ranges
from trisignal_pipeline.sources.records import DbnStream, Records
from trisignal_pipeline_tests.sources.dbn_encoder import (
    DAY,
    END,
    MIDNIGHT,
    RecordArray,
    encode,
    records,
    write,
)

SECOND, THIRD = DAY + timedelta(days=1), DAY + timedelta(days=2)
ALL_TIME = (0, 2**63 - 1)


def verified(path: Path) -> DbnFile:
    verdict = inspect(path)
    assert isinstance(verdict, DbnFile), verdict
    return verdict


def read(file: DbnFile, wanted: Mapping[date, str]) -> Bars:
    return concatenate(read_bars(file, wanted, *ALL_TIME))


def minutes(bars: Bars) -> list[int]:
    return [int(ts - MIDNIGHT) // NS_PER_MINUTE for ts in bars.ts]


def test_columns_are_what_was_delivered(tmp_path: Path) -> None:
    made = records([3], open=UNDEFINED_PRICE, high=-7, low=2**62, close=1, volume=42)
    bars = read(verified(write(tmp_path / "bars.dbn.zst", encode(made))), {DAY: "NQM4"})
    assert bars.contract_names() == ["NQM4"]
    assert [int(c[0]) for c in (bars.ts, bars.open, bars.high, bars.low, bars.close)] == [
        MIDNIGHT + 3 * NS_PER_MINUTE,
        UNDEFINED_PRICE,
        -7,
        2**62,
        1,
    ]
    assert int(bars.volume[0]) == 42
    assert bars.ts.dtype == bars.close.dtype == bars.volume.dtype == "int64"


def test_order_and_duplicates_stay_as_delivered(tmp_path: Path) -> None:
    file = verified(
        write(tmp_path / "bars.dbn", encode(records([5, 4, 5, 5], volume=[1, 2, 3, 4])))
    )
    bars = read(file, {DAY: "NQM4"})
    assert minutes(bars) == [5, 4, 5, 5]
    assert bars.volume.tolist() == [1, 2, 3, 4]


def test_each_date_has_its_own_contract(tmp_path: Path) -> None:
    mapping = {"NQM4": [(DAY, END, "1")], "NQU4": [(DAY, END, "2")]}
    made = records([0, 0, 1440, 1440, 2880, 2880], [1, 2] * 3)
    file = verified(write(tmp_path / "bars.dbn", encode(made, mapping=mapping)))
    bars = read(file, {DAY: "NQM4", SECOND: "NQU4"})
    assert minutes(bars) == [0, 1440]
    assert [bars.contracts[code] for code in bars.contract] == ["NQM4", "NQU4"]


def test_a_re_used_id_is_another_contract_on_another_date(tmp_path: Path) -> None:
    mapping = {"NQM4": [(DAY, SECOND, "1")], "NQU4": [(SECOND, END, "1")]}
    file = verified(write(tmp_path / "bars.dbn", encode(records([0, 1440]), mapping=mapping)))
    assert minutes(read(file, {DAY: "NQM4", SECOND: "NQM4"})) == [0]
    assert minutes(read(file, {DAY: "NQU4", SECOND: "NQU4"})) == [1440]


def test_a_contract_with_two_ids_is_read_under_both(tmp_path: Path) -> None:
    mapping = {"NQM4": [(DAY, SECOND, "1"), (SECOND, END, "2")]}
    made = records([0, 1440], [1, 2])
    file = verified(write(tmp_path / "bars.dbn", encode(made, mapping=mapping)))
    assert minutes(read(file, {DAY: "NQM4", SECOND: "NQM4"})) == [0, 1440]


def test_only_bars_of_the_range_are_read(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records([0, 1, 2, 3]))))
    bounds = (MIDNIGHT + NS_PER_MINUTE, MIDNIGHT + 3 * NS_PER_MINUTE)
    assert minutes(concatenate(read_bars(file, {DAY: "NQM4"}, *bounds))) == [1, 2]


def test_an_id_is_wanted_of_continuous_files_only(tmp_path: Path) -> None:
    header: dict[str, Any] = {"stype_in": "continuous", "symbols": ["NQ.v.0"]}
    content = encode(records([0]), mapping={"NQ.v.0": [(DAY, END, "1")]}, **header)
    continuous = verified(write(tmp_path / "continuous.dbn", content))
    named = verified(write(tmp_path / "named.dbn", encode(records([0]))))
    assert read(continuous, {DAY: "#1"}).contract_names() == ["#1"]
    assert len(read(continuous, {DAY: "#2"})) == 0
    assert len(read(named, {DAY: "#1"})) == 0


def test_what_a_file_does_not_hold_is_no_bars(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records([0]))))
    for wanted in ({}, {DAY: "NQZ4"}, {SECOND: "NQM4"}, {date(1999, 1, 1): "NQM4"}):
        assert len(read(file, wanted)) == 0


def test_a_file_that_differs_from_the_catalogue_is_not_read(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records([0]))))
    os.utime(file.path, ns=(file.mtime_ns, file.mtime_ns + 1))
    with pytest.raises(FileChangedError, match=r"bars\.dbn is not the file"):
        read(file, {DAY: "NQM4"})
    file.path.unlink()
    with pytest.raises(MissingFileError):
        read(file, {DAY: "NQM4"})


@pytest.mark.parametrize("change", ["grow", "remove"])
def test_a_change_while_reading_is_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(records_module, "BLOCK_RECORDS", 2)
    made = records([1, 2, 3])
    file = verified(write(tmp_path / "bars.dbn", encode(made)))
    blocks = read_bars(file, {DAY: "NQM4"}, *ALL_TIME)
    assert len(next(blocks)) == 2
    if change == "grow":
        with file.path.open("ab") as growing:
            growing.write(made[:3].tobytes())
    else:
        file.path.unlink()
    with pytest.raises(FileChangedError if change == "grow" else MissingFileError):
        list(blocks)


def test_content_that_changed_in_secret_is_refused(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn.zst", encode(records(range(999)))))
    content = bytearray(file.path.read_bytes())
    content[-30] ^= 0xFF
    file.path.write_bytes(content)
    os.utime(file.path, ns=(file.mtime_ns, file.mtime_ns))
    with pytest.raises(RefusedFileError, match="catalogue it again"):
        read(file, {DAY: "NQM4"})


def _plain(
    made: RecordArray, names: dict[tuple[int, date], str], wanted: Mapping[date, str]
) -> list[tuple[int, str]]:
    found = []
    for record in made:
        day = DAY + timedelta(days=(int(record["ts_event"]) - MIDNIGHT) // (1440 * NS_PER_MINUTE))
        name = names[int(record["instrument_id"]), day]
        if wanted.get(day) == name:
            found.append((int(record["open"]), name))
    return found


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3 * 1440 - 1), st.integers(1, 3)), max_size=50),
    shuffled=st.lists(st.permutations([1, 2, 3]), min_size=3, max_size=3),
    wanted=st.dictionaries(
        st.sampled_from([DAY, SECOND, THIRD]), st.sampled_from(["NQM4", "NQU4", "NQZ4"])
    ),
)
def test_bars_are_those_of_a_plain_filter(
    rows: list[tuple[int, int]], shuffled: list[list[int]], wanted: dict[date, str]
) -> None:
    contracts = ("NQM4", "NQU4", "NQZ4")
    names, mapping = {}, {name: [] for name in contracts}  # type: ignore[var-annotated]
    for offset, ids in enumerate(shuffled):
        day = DAY + timedelta(days=offset)
        for name, number in zip(contracts, ids, strict=True):
            names[number, day] = name
            mapping[name].append((day, day + timedelta(days=1), str(number)))
    made = records([row[0] for row in rows], [row[1] for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        file = verified(write(Path(folder, "bars.dbn.zst"), encode(made, mapping=mapping)))
        bars = read(file, wanted)
    found = [
        (int(price), bars.contracts[code])
        for price, code in zip(bars.open, bars.contract, strict=True)
    ]
    assert found == _plain(made, names, wanted)


RANGES = [DateRange(DAY, DAY), DateRange(SECOND, SECOND), DateRange(THIRD, THIRD)]
WANTED = {DAY: "NQM4", SECOND: "NQM4", THIRD: "NQU4"}


def _shown(bars: Bars) -> list[tuple[int, str, int]]:
    return [
        (int(ts), bars.contracts[code], int(volume))
        for ts, code, volume in zip(bars.ts, bars.contract, bars.volume, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3 * 1440 - 1), st.sampled_from((1, 2)))),
    st.sampled_from([RANGES, RANGES[::2], RANGES[1:], [DateRange(DAY, SECOND), RANGES[2]]]),
    st.booleans(),
    st.integers(1, 5),
)
def test_ranges_in_turn_give_what_each_gives_alone(
    made: list[tuple[int, int]], ranges: list[DateRange], ordered: bool, block: int
) -> None:
    made = sorted(made) if ordered else made
    mapping = {"NQM4": [(DAY, END, "1")], "NQU4": [(DAY, END, "2")]}
    content = encode(
        records(
            [minute for minute, _ in made],
            [instrument for _, instrument in made],
            volume=list(range(len(made))),
        ),
        mapping=mapping,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(records_module, "BLOCK_RECORDS", block)
        file = verified(write(Path(folder) / "bars.dbn", content))
        minutes_made = [minute for minute, _ in made]
        assert file.in_time_order == (minutes_made == sorted(minutes_made))

        in_turn = [_shown(bars) for bars in read_ranges(file, WANTED, ranges)]

        assert in_turn == [
            _shown(
                concatenate(
                    read_bars(
                        file,
                        {day: WANTED[day] for day in dates if day in WANTED},
                        dates.start_ns,
                        dates.end_ns,
                    )
                )
            )
            for dates in ranges
        ]


def _count_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first minute of every block that is decoded from now on."""
    decoded: list[int] = []
    blocks = DbnStream.blocks

    def counted(stream: DbnStream) -> Iterator[Records]:
        for block in blocks(stream):
            decoded.append(int(block["ts"][0] - MIDNIGHT) // NS_PER_MINUTE)
            yield block

    monkeypatch.setattr(records_module, "BLOCK_RECORDS", 2)
    monkeypatch.setattr(DbnStream, "blocks", counted)
    return decoded


def test_a_file_in_order_of_time_is_decoded_once_and_no_further_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records(range(0, 3 * 1440, 360)))))
    decoded = _count_blocks(monkeypatch)

    for _ in read_ranges(file, dict.fromkeys(WANTED, "NQM4"), RANGES[:2]):
        pass

    assert decoded == list(range(0, 2 * 1440 + 1, 720))


def test_a_file_in_no_order_is_decoded_for_each_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records([1440, 0, 2880, 1441]))))
    decoded = _count_blocks(monkeypatch)

    found = [minutes(bars) for bars in read_ranges(file, dict.fromkeys(WANTED, "NQM4"), RANGES)]

    assert found == [[0], [1440, 1441], [2880]]
    assert decoded == [1440, 2880] * 3


def test_a_file_that_changes_between_two_ranges_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.dbn", encode(records([0, 1440, 2880])))
    ranges = read_ranges(verified(path), dict.fromkeys(WANTED, "NQM4"), RANGES)

    assert minutes(next(ranges)) == [0]
    os.utime(path, ns=(0, 0))
    with pytest.raises(FileChangedError):
        next(ranges)


def test_bars_that_have_changed_places_unseen_are_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.dbn", encode(records([0, 1, 2])))
    file = verified(path)
    seen = path.stat()
    write(path, encode(records([2, 1, 0])))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    with pytest.raises(RefusedFileError, match="not in the order of time"):
        list(read_ranges(file, {DAY: "NQM4"}, RANGES[:1]))


def test_no_file_stays_open_once_its_last_range_is_read(tmp_path: Path) -> None:
    file = verified(write(tmp_path / "bars.dbn", encode(records([0, 1440]))))
    ranges = read_ranges(file, dict.fromkeys(WANTED, "NQM4"), RANGES[:2])

    next(ranges), next(ranges)

    assert str(file.path) not in {
        str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()
    }
