"""What the command line says to what can't be right: one clear line, and an exit code."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from trisignal_pipeline.market.dates import NS_PER_SECOND
from trisignal_pipeline_tests.end_to_end.command_line import Answer, CommandLine, QuickCommandLine
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    MONDAY,
    NQ,
    TUESDAY,
    WEDNESDAY,
    bars,
    changed,
    file_of,
    write_day,
    write_days,
)

ON_MONDAY = ("--start", str(MONDAY), "--end", str(MONDAY))
SECRET = "hunter2"  # a password that must not show


def _assert_one_line(answer: Answer, *said: str, exit_code: int = 1) -> None:
    assert answer.exit_code == exit_code
    assert "Traceback" not in answer.err
    [line] = answer.err.splitlines()
    assert line.startswith("error: ")
    for part in said:
        assert part in line


@pytest.mark.parametrize("command", ["backfill", "triangles", "bias", "counts"])
@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("GLBX.MDP3:MGC", "add it with: trisignal symbols add GLBX.MDP3:MGC"),
        ("NQ", "symbol 'NQ' is not an internal symbol; write DATASET:ROOT"),
        ("GLBX.MDP3:NQ'; DROP", "is not an internal symbol"),
    ],
)
def test_a_symbol_that_is_not_known_is_refused(
    trisignal: QuickCommandLine, command: str, symbol: str, said: str
) -> None:
    _assert_one_line(trisignal.run(command, symbol, *ON_MONDAY), said)


@pytest.mark.parametrize("command", ["backfill", "triangles", "bias", "counts"])
def test_an_end_before_the_start_is_refused(trisignal: QuickCommandLine, command: str) -> None:
    answer = trisignal.run(command, NQ, "--start", "2024-06-25", "--end", "2024-06-24")
    _assert_one_line(answer, "ends on 2024-06-24, before it starts on 2024-06-25")


@pytest.mark.parametrize("written", ["2024-13-01", "yesterday", "01.06.2024", ""])
def test_a_date_that_is_none_is_refused(trisignal: QuickCommandLine, written: str) -> None:
    answer = trisignal.run("counts", NQ, "--start", written, "--end", "2024-06-24")
    assert answer.exit_code == 2
    assert "is not a date; write it as 2024-11-01" in answer.err


def test_dates_that_are_not_over_are_refused(trisignal: QuickCommandLine) -> None:
    future = str(date.today() + timedelta(days=3))  # noqa: DTZ011 ahead of every timezone's today
    answer = trisignal.run("backfill", NQ, "--start", "2024-06-24", "--end", future)
    _assert_one_line(answer, "the newest UTC date that is over")


def test_dates_before_the_first_partition_are_refused(trisignal: QuickCommandLine) -> None:
    answer = trisignal.run("backfill", NQ, "--start", "2009-12-31", "--end", "2010-12-31")
    _assert_one_line(answer, "is not within 2010-06-06 to", "TRISIGNAL_FIRST_DATE")


def test_a_date_covered_only_by_a_truncated_file_is_an_error_that_says_why(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    cut = file_of(pipeline.raw, TUESDAY)
    cut.write_bytes(cut.read_bytes()[:-2000])

    answer = trisignal.run("backfill", NQ, "--start", str(MONDAY), "--end", str(TUESDAY))

    _assert_one_line(answer, f"{NQ} {TUESDAY}: no verified file covers the date; {cut.name} was")
    assert "download it again" in answer.err
    assert f"{BARS} read" in answer.out, "the date beside it is done all the same"


def test_an_unaligned_minute_is_an_error_that_names_it(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    good = bars(MONDAY)
    late = changed(good, 0, ts_event=good["ts_event"][0] + 59 * NS_PER_SECOND)
    write_day(pipeline.raw, MONDAY, delivered=late)

    answer = trisignal.run("backfill", NQ, *ON_MONDAY)

    _assert_one_line(answer, f"59,000,000,000 ns after {MONDAY}T00:00:00Z", "on the minute")


def test_a_refused_file_beside_a_good_one_of_the_same_date_is_no_error(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    good = write_day(pipeline.raw, MONDAY)
    good.with_name("half.dbn.zst").write_bytes(good.read_bytes()[:-2000])

    answer = trisignal.run("backfill", NQ, *ON_MONDAY)

    [line] = answer.err.splitlines()
    assert line.startswith("refused: half.dbn.zst: it is cut short")
    assert answer.exit_code == 0


def test_the_open_interest_rule_is_refused_with_its_reason(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY])
    assert trisignal.run("symbols", "set", NQ, "roll_rule=n").exit_code == 0

    answer = trisignal.run("backfill", NQ, *ON_MONDAY)

    _assert_one_line(
        answer,
        "LeadContractError: roll rule n follows the highest open interest, which OHLCV files don't",
        "set the symbol's roll_rule to v or c",
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("colour=blue", "colour can't be set; settable are roll_rule, rank"),
        ("roll_rule=x", "roll_rule can't be 'x'"),
        ("higher_timeframe_anchor=moon", "higher_timeframe_anchor can't be 'moon'"),
        ("tick_size=-1", "tick_size can't be '-1'"),
        ("rank=one", "rank can't be 'one'"),
        ("aligned_timeframes=2h", "aligned_timeframes can't be"),
    ],
)
def test_a_setting_the_registry_can_t_take_is_refused(
    trisignal: QuickCommandLine, setting: str, said: str
) -> None:
    _assert_one_line(trisignal.run("symbols", "set", NQ, setting), said)


def test_a_setting_without_a_value_is_refused(trisignal: QuickCommandLine) -> None:
    answer = trisignal.run("symbols", "set", NQ, "roll_rule")
    assert answer.exit_code == 2
    assert "'roll_rule' is not of the form NAME=VALUE" in answer.err


@pytest.mark.parametrize("place", ["missing", "a file"])
def test_a_raw_folder_that_is_none_is_refused(
    trisignal: QuickCommandLine, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / place
    if place == "a file":
        folder.write_bytes(b"")
    trisignal.set("TRISIGNAL_RAW_DIR", str(folder))

    answer = trisignal.run("backfill", NQ, *ON_MONDAY)

    _assert_one_line(answer, f"the raw folder {folder} can't be read", "TRISIGNAL_RAW_DIR")


@pytest.mark.parametrize("command", ["backfill", "triangles", "symbols list", "db migrate"])
def test_a_database_that_can_t_be_reached_is_one_line_without_the_password(
    trisignal: QuickCommandLine, command: str
) -> None:
    trisignal.use_database(f"postgresql://trader:{SECRET}@127.0.0.1:1/bars")
    arguments = (NQ, *ON_MONDAY) if command in {"backfill", "triangles"} else ()

    answer = trisignal.run(*command.split(), *arguments)

    _assert_one_line(answer, "the database can't be reached (bars at 127.0.0.1)")
    assert "TRISIGNAL_DATABASE_URL" in answer.err
    assert SECRET not in answer.err + answer.out


def test_a_url_of_something_else_is_refused_unshown(trisignal: QuickCommandLine) -> None:
    trisignal.use_database(f"mysql://trader:{SECRET}@127.0.0.1/bars")
    answer = trisignal.run("symbols", "list")
    _assert_one_line(answer, "TRISIGNAL_DATABASE_URL must start with postgresql://")
    assert SECRET not in answer.err


def test_the_url_is_printed_without_its_password(
    trisignal: QuickCommandLine,
) -> None:
    trisignal.use_database(f"postgresql://trader:{SECRET}@127.0.0.1:1/bars")
    answer = trisignal.run("db", "url")
    assert (answer.exit_code, answer.out) == (0, "postgresql://trader:***@127.0.0.1:1/bars\n")


@pytest.mark.parametrize("command", ["start", "stop", "reset"])
def test_a_server_of_one_s_own_is_neither_started_nor_stopped_nor_deleted(
    trisignal: QuickCommandLine, command: str
) -> None:
    _assert_one_line(trisignal.run("db", command), "neither starts nor stops nor deletes")


@pytest.mark.parametrize("command", ["backfill", "triangles"])
def test_a_database_of_one_s_own_without_our_schema_is_not_touched_unasked(
    trisignal: QuickCommandLine, empty_database_url: str, command: str
) -> None:
    trisignal.use_database(empty_database_url)
    _assert_one_line(trisignal.run(command, NQ, *ON_MONDAY), "run: trisignal db migrate")

    assert trisignal.run("db", "migrate").exit_code == 0
    assert trisignal.run("triangles", NQ, *ON_MONDAY).exit_code == 0


def test_a_home_that_can_t_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"")
    answer = CommandLine.with_home(tmp_path).run("counts", NQ, *ON_MONDAY)
    _assert_one_line(answer, f"{tmp_path / 'home'}", "set TRISIGNAL_HOME to a folder")


def test_a_first_date_that_is_none_is_refused(tmp_path: Path) -> None:
    terminal = CommandLine.with_home(tmp_path, TRISIGNAL_FIRST_DATE="early")
    answer = terminal.run("backfill", NQ, *ON_MONDAY)
    _assert_one_line(answer, "TRISIGNAL_FIRST_DATE is 'early'; write a date such as 2010-06-06")


def test_a_process_of_its_own_says_it_in_one_line_too(tmp_path: Path) -> None:
    terminal = CommandLine.with_home(
        tmp_path, TRISIGNAL_DATABASE_URL=f"postgresql://trader:{SECRET}@127.0.0.1:1/bars"
    )
    answer = terminal.run("backfill", NQ, "--start", str(MONDAY), "--end", str(WEDNESDAY))
    _assert_one_line(answer, "the database can't be reached")
    assert SECRET not in answer.err
