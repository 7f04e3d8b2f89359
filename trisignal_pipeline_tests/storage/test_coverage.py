"""Which files serve a market on a date, and what they know of its contracts."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, midnight_ns
from trisignal_pipeline.market.lead_contract import Traded, lead_contracts
from trisignal_pipeline.market.symbols import Market, RollRule, parse_internal
from trisignal_pipeline.sources.sample_files import write_history, write_sample_market
from trisignal_pipeline.storage.catalogue import coverage, refresh, traded
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline_tests.sources.dbn_encoder import DAY, END, MIDNIGHT, records
from trisignal_pipeline_tests.storage.raw_files import file_names, write_file, write_one_day

NEXT = DAY + timedelta(days=1)
DATES = DateRange(DAY, DAY + timedelta(days=2))
NQ = Market(parse_internal("GLBX.MDP3:NQ"))
ES = Market(parse_internal("GLBX.MDP3:ES"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def test_a_date_is_covered_by_the_files_made_for_it(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_one_day(raw, "monday.dbn", DAY, records([0, 1]))
    write_one_day(raw, "tuesday.dbn", NEXT, records([1440]))
    write_file(raw, "both.dbn", start=MIDNIGHT, end=MIDNIGHT + 2 * NS_PER_DAY)
    refresh(database, raw)

    found = coverage(connection, raw, NQ, DATES)

    assert [file_names(found.files(day)) for day in DATES] == [
        ["both.dbn", "monday.dbn"],
        ["both.dbn", "tuesday.dbn"],
        [],
    ]
    assert file_names(coverage(connection, raw, NQ, DateRange(NEXT, NEXT)).verified) == [
        "both.dbn",
        "tuesday.dbn",
    ]


def test_a_file_covers_the_dates_it_was_asked_for_even_without_a_bar_on_them(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn", records([0]), end=midnight_ns(END))
    refresh(database, raw)

    found = coverage(connection, raw, NQ, DATES)

    assert [file_names(found.files(day)) for day in DATES] == [["a.dbn"]] * 3


def test_a_file_without_an_end_reaches_to_its_last_bar(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn", records([0, 1440]), end=None)
    refresh(database, raw)

    found = coverage(connection, raw, NQ, DATES)

    assert [file_names(found.files(day)) for day in DATES] == [["a.dbn"], ["a.dbn"], []]


def test_a_file_that_ends_within_a_microsecond_covers_the_bar_before_its_end(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn", records([0, 1440]), end=MIDNIGHT + NS_PER_DAY + 1)
    refresh(database, raw)

    found = coverage(connection, raw, NQ, DATES)

    assert [file_names(found.files(day)) for day in DATES] == [["a.dbn"], ["a.dbn"], []]


def test_a_file_that_ends_within_a_date_covers_it(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn", end=MIDNIGHT + NS_PER_DAY + 1000)
    refresh(database, raw)

    assert file_names(coverage(connection, raw, NQ, DATES).files(NEXT)) == ["a.dbn"]


def test_a_file_covers_the_roots_in_it_or_asked_for(
    database: Database, connection: Connection, raw: Path
) -> None:
    mapping = {"NQM4": [(DAY, END, "1")], "ESM4": [(DAY, END, "2")]}
    write_file(raw, "two.dbn", records([0, 1], [1, 2]), mapping=mapping, symbols=("NQM4", "ESM4"))
    write_file(raw, "nq.dbn")
    write_file(raw, "es.dbn", records([]), stype_in="parent", symbols=("ES.FUT",), mapping={})
    refresh(database, raw)

    assert file_names(coverage(connection, raw, NQ, DATES).verified) == ["nq.dbn", "two.dbn"]
    assert file_names(coverage(connection, raw, ES, DATES).verified) == ["es.dbn", "two.dbn"]
    assert coverage(connection, raw, Market(parse_internal("GLBX.MDP3:YM")), DATES).verified == ()


def test_a_file_of_another_dataset_covers_nothing_of_ours(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "a.dbn", dataset="XEUR.EOBI")
    refresh(database, raw)

    assert coverage(connection, raw, NQ, DATES).verified == ()
    assert traded(connection, raw, NQ) == []
    other = Market(parse_internal("XEUR.EOBI:NQ"))
    assert file_names(coverage(connection, raw, other, DATES).verified) == ["a.dbn"]


def test_a_continuous_file_serves_the_market_of_its_own_rule_and_rank(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(
        raw,
        "lead.dbn",
        symbols=("NQ.v.0",),
        stype_in="continuous",
        mapping={"NQ.v.0": [(DAY, END, "1")]},
    )
    refresh(database, raw)

    def served(rule: RollRule, rank: int) -> list[str]:
        market = Market(parse_internal("GLBX.MDP3:NQ"), rule, rank)
        return file_names(coverage(connection, raw, market, DATES).verified)

    assert served(RollRule.VOLUME, 0) == ["lead.dbn"]
    assert served(RollRule.VOLUME, 1) == []
    assert served(RollRule.CALENDAR, 0) == []
    assert served(RollRule.OPEN_INTEREST, 0) == []
    [row] = traded(connection, raw, NQ)
    assert (row.contract, row.continuous) == ("#1", "NQ.v.0")


def test_a_refused_file_spoils_the_dates_of_its_header_or_its_name(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(raw, "header.dbn", schema="ohlcv-1d", end=MIDNIGHT + NS_PER_DAY)
    (raw / "nq-20240618.ohlcv-1m.dbn.zst").write_bytes(b"not a file of bars")
    (raw / "nobody-knows.dbn").write_bytes(b"not a file of bars")
    refresh(database, raw)

    found = coverage(connection, raw, NQ, DATES)

    assert found.verified == ()
    assert [file_names(found.refusals(day)) for day in DATES] == [
        ["header.dbn", "nobody-knows.dbn"],
        ["nobody-knows.dbn", "nq-20240618.ohlcv-1m.dbn.zst"],
        ["nobody-knows.dbn"],
    ]


def test_a_refused_file_of_another_root_spoils_nothing_of_ours(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_file(
        raw,
        "es.dbn",
        schema="ohlcv-1d",
        symbols=("ESM4",),
        mapping={"ESM4": [(DAY, END, "1")]},
    )
    refresh(database, raw)

    assert coverage(connection, raw, NQ, DATES).refusals(DAY) == []
    assert file_names(coverage(connection, raw, ES, DATES).refusals(DAY)) == ["es.dbn"]


def test_what_was_traded_is_told_by_file_contract_and_date(
    database: Database, connection: Connection, raw: Path
) -> None:
    mapping = {"NQM4": [(DAY, END, "1")], "NQU4": [(DAY, END, "2")], "NQM4-NQU4": [(DAY, END, "3")]}
    made = records([0, 5, 5, 5, 1440], [1, 1, 2, 3, 2], volume=[1, 2, 4, 8, 16])
    write_file(raw, "a.dbn", made, mapping=mapping, symbols=("NQ.FUT",), stype_in="parent")
    refresh(database, raw)
    five, day = 5 * 60 * 10**9, NS_PER_DAY

    assert sorted(traded(connection, raw, NQ), key=lambda row: (row.date, row.contract)) == [
        Traded(DAY, "NQM4", 3, MIDNIGHT, MIDNIGHT + five),
        Traded(DAY, "NQU4", 4, MIDNIGHT + five, MIDNIGHT + five),
        Traded(NEXT, "NQU4", 16, MIDNIGHT + day, MIDNIGHT + day),
    ]
    on_tuesday = traded(connection, raw, NQ, DateRange(NEXT, NEXT))
    assert [(row.date, row.contract) for row in on_tuesday] == [(NEXT, "NQU4")]


def test_files_that_left_count_only_where_no_other_file_does(
    database: Database, connection: Connection, raw: Path
) -> None:
    old = write_file(raw, "old.dbn", records([0, 1440], volume=99))
    refresh(database, raw)
    old.unlink()
    write_one_day(raw, "new.dbn", NEXT, records([1441], volume=7))
    refresh(database, raw)

    found = {row.date: row.volume for row in traded(connection, raw, NQ)}

    assert found == {DAY: 99, NEXT: 7}


def test_lead_contracts_do_not_change_when_old_files_are_cleared_away(
    database: Database, connection: Connection, raw: Path
) -> None:
    files = write_history(raw, "NQ", date(2024, 5, 20), date(2024, 6, 20))
    refresh(database, raw)
    before = lead_contracts(traded(connection, raw, NQ), RollRule.VOLUME)
    assert len(set(before.values())) == 2

    files[0].unlink()
    refresh(database, raw)

    assert lead_contracts(traded(connection, raw, NQ), RollRule.VOLUME) == before


def test_the_sample_market_is_verified_and_covers_its_week(
    database: Database, connection: Connection, raw: Path
) -> None:
    write_sample_market(raw)

    found = refresh(database, raw)

    assert (found.files, found.read, found.refused) == (3, 3, ())
    week = DateRange(date(2024, 6, 16), date(2024, 6, 21))
    for market, files in ((NQ, 2), (ES, 1)):
        covered = coverage(connection, raw, market, week)
        assert len(covered.verified) == files
        assert [len(covered.files(day)) for day in week] == [1] * 6
