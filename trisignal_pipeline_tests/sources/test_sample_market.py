"""The sample market: the same for the same seed, and like a real one where it matters."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import databento_dbn
import numpy as np
import pytest
import zstandard

from trisignal_pipeline.errors import RangeError, SymbolError
from trisignal_pipeline.market.bars import PRICE_UNIT, Bars, concatenate
from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, DateRange, midnight_ns
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars
from trisignal_pipeline.sources.records import DbnStream, Records
from trisignal_pipeline.sources.sample_files import (
    SAMPLE_WEEK,
    write_history,
    write_sample_market,
)

TICK = PRICE_UNIT // 4
ALL_TIME = (0, 2**63 - 1)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> list[DbnFile]:
    return verified(write_sample_market(tmp_path_factory.mktemp("week")))


def verified(paths: list[Path]) -> list[DbnFile]:
    files = [inspect(path) for path in paths]
    for file in files:
        assert isinstance(file, DbnFile), file
    return files  # type: ignore[return-value]


def lead_bars(files: list[DbnFile], root: str) -> Bars:
    days = [day for file in files for day in file.days if day.root == root]
    leads = lead_contracts(days, "v")
    return concatenate(bars for file in files for bars in read_bars(file, leads, *ALL_TIME))


def rows(files: list[DbnFile], root: str) -> Records:
    blocks = []
    for file in files:
        if file.symbols == (f"{root}.FUT",):
            with file.path.open("rb") as handle:
                blocks += list(DbnStream(handle, compressed=True).blocks())
    return np.concatenate(blocks)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, week: list[DbnFile]) -> None:
    again = verified(write_sample_market(tmp_path / "again", seed=1))
    other = verified(write_sample_market(tmp_path / "other", seed=2))
    assert [file.sha256 for file in again] == [file.sha256 for file in week]
    assert not {file.sha256 for file in other} & {file.sha256 for file in week}


def test_files_are_of_every_version_and_carry_a_checksum(week: list[DbnFile]) -> None:
    assert [(f.dbn_version, f.stype_in, f.symbols) for f in week] == [
        (3, "parent", ("NQ.FUT",)),
        (2, "parent", ("NQ.FUT",)),
        (1, "parent", ("ES.FUT",)),
    ]
    for file in week:
        assert zstandard.get_frame_parameters(file.path.read_bytes()).has_checksum
        assert len(list(file.path.parent.iterdir())) == 3


def test_the_vendors_own_decoder_reads_the_same(week: list[DbnFile]) -> None:
    decoder = databento_dbn.DBNDecoder()
    with zstandard.open(week[0].path, "rb") as content:
        decoder.write(content.read())
    theirs = [r for r in decoder.decode() if isinstance(r, databento_dbn.OHLCVMsg)]
    with week[0].path.open("rb") as handle:
        ours = np.concatenate(list(DbnStream(handle, compressed=True).blocks()))
    columns = ("instrument_id", "ts", "open", "high", "low", "close", "volume")
    assert len(theirs) == week[0].record_count
    assert [
        (r.instrument_id, r.ts_event, r.open, r.high, r.low, r.close, r.volume) for r in theirs
    ] == list(zip(*(ours[name].tolist() for name in columns), strict=True))


@pytest.mark.parametrize("root", ["NQ", "ES"])
def test_the_market_rolls_once_on_the_tuesday_and_the_price_steps(
    week: list[DbnFile], root: str
) -> None:
    bars = lead_bars(week, root)
    assert bars.contract_names() == [f"{root}M4", f"{root}U4"]
    roll = int(np.argmax(bars.contract != bars.contract[0]))
    assert int(bars.ts[roll]) == midnight_ns(date(2024, 6, 18))
    assert bars.close[roll] - bars.close[roll - 1] > 40 * PRICE_UNIT


@pytest.mark.parametrize(("root", "low", "high"), [("NQ", 18_000, 21_500), ("ES", 5_200, 5_900)])
def test_bars_are_bars_on_the_tick_at_the_markets_level(
    week: list[DbnFile], root: str, low: int, high: int
) -> None:
    bars = lead_bars(week, root)
    assert np.all(bars.high >= np.maximum(bars.open, bars.close))
    assert np.all(bars.low <= np.minimum(bars.open, bars.close))
    assert np.all(bars.volume > 0)
    for column in (bars.open, bars.high, bars.low, bars.close):
        assert not np.any(column % TICK)
        assert low * PRICE_UNIT < column.min() < column.max() < high * PRICE_UNIT
    assert np.all(np.diff(bars.ts) >= NS_PER_MINUTE)


def test_the_market_is_open_in_its_sessions_and_nearly_always_trades(week: list[DbnFile]) -> None:
    bars = lead_bars(week, "NQ")
    week_of = sessions("cme_equity", date(2024, 6, 17), date(2024, 6, 21))
    held = np.bincount(week_of.locate(bars.ts), minlength=5)
    length = (week_of.close_ns - week_of.open_ns) // NS_PER_MINUTE
    assert length.tolist() == [1380, 1380, 1140, 1380, 1380]
    assert np.all(week_of.locate(bars.ts) >= 0)
    assert np.all(held > 0.97 * length)
    assert np.all(held[:4] < length[:4])


def test_volume_has_its_high_where_the_stock_market_opens(week: list[DbnFile]) -> None:
    bars = lead_bars(week, "ES")
    monday = bars.between(midnight_ns(date(2024, 6, 17)), midnight_ns(date(2024, 6, 18)))
    hours = np.bincount((monday.ts % NS_PER_DAY // (60 * NS_PER_MINUTE)), monday.volume)
    opening, noon, closing, night = hours[13], hours[17], hours[19], hours[5]
    assert min(opening, closing) > noon > 5 * night


def test_several_instruments_share_a_minute_in_no_useful_order(week: list[DbnFile]) -> None:
    found = rows(week, "NQ")
    assert np.all(np.diff(found["ts"]) >= 0)
    _, counts = np.unique(found["ts"], return_counts=True)
    assert counts.max() >= 4
    assert (counts > 1).mean() > 0.3
    same_minute = np.flatnonzero(np.diff(found["ts"]) == 0)
    ascending = found["instrument_id"][same_minute] < found["instrument_id"][same_minute + 1]
    assert 0.3 < ascending.mean() < 0.7


def test_spreads_have_negative_prices_and_a_tick_of_their_own(week: list[DbnFile]) -> None:
    found = rows(week, "NQ")
    spreads = found[found["high"] < 0]
    assert len(spreads) > 50
    assert np.any(spreads["close"] % TICK)
    assert week[0].record_count - sum(day.bar_count for day in week[0].days) > 0


def test_a_farther_contract_costs_more(week: list[DbnFile]) -> None:
    wanted = ["NQM4", "NQU4", "NQZ4", "NQH5"]
    means = [
        concatenate(
            bars
            for file in week[:2]
            for bars in read_bars(file, dict.fromkeys(SAMPLE_WEEK, name), *ALL_TIME)
        ).close.mean()
        for name in wanted
    ]
    for near, far in pairwise(means):
        assert 100 * PRICE_UNIT < far - near < 600 * PRICE_UNIT


def test_a_history_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    first, last = date(2022, 11, 9), date(2023, 2, 3)
    by_month = verified(write_history(tmp_path / "month", "NQ", first, last))
    by_year = verified(write_history(tmp_path / "year", "NQ", first, last, files="year"))
    whole = verified(write_history(tmp_path / "whole", "NQ", first, last, files="history"))
    assert [len(files) for files in (by_month, by_year, whole)] == [4, 2, 1]
    assert rows(by_month, "NQ").tobytes() == rows(whole, "NQ").tobytes()
    assert rows(by_year, "NQ").tobytes() == rows(whole, "NQ").tobytes()
    assert (whole[0].start_ns, whole[0].end_ns) == (
        DateRange(first, last).start_ns,
        DateRange(first, last).end_ns,
    )


def test_a_history_rolls_every_quarter_and_never_back(tmp_path: Path) -> None:
    files = verified(write_history(tmp_path, "ES", date(2019, 11, 1), date(2021, 1, 31)))
    leads = lead_contracts([day for file in files for day in file.days], "v")
    rolls = [name for before, name in pairwise(leads.values()) if name != before]
    assert rolls == ["ESH0", "ESM0", "ESU0", "ESZ0", "ESH1"]


def test_an_instrument_id_means_different_contracts_over_the_years(tmp_path: Path) -> None:
    dates = date(2020, 1, 6), date(2023, 1, 6)
    early, late = (verified(write_history(tmp_path, "NQ", day, day))[0] for day in dates)
    for file, contract in ((early, "NQH0"), (late, "NQH3")):
        with file.path.open("rb") as handle:
            names = DbnStream(handle, compressed=True).header.names().by_name()
        assert names[contract][0][0] == 1000 + 2020 * 4 % 12


def test_a_root_that_is_not_traded_and_a_range_upside_down_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SymbolError, match="NQ, ES"):
        write_history(tmp_path, "CL", date(2024, 1, 1), date(2024, 1, 2))
    with pytest.raises(RangeError):
        write_history(tmp_path, "NQ", date(2024, 1, 2), date(2024, 1, 1))
