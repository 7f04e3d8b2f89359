"""What each command prints and returns when it is used rightly."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from trisignal_pipeline.signal import compiled
from trisignal_pipeline_tests.end_to_end.command_line import (
    CommandLine,
    DemoHome,
    QuickCommandLine,
)
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.tiny_market import (
    BARS,
    ES,
    MONDAY,
    NQ,
    SATURDAY,
    TUESDAY,
    WEDNESDAY,
    write_days,
)

GOLD = "GLBX.MDP3:MGC"
WEEK = ("--start", "2024-06-16", "--end", "2024-06-21")


def _dates(start: date, end: date) -> tuple[str, ...]:
    return ("--start", str(start), "--end", str(end))


def test_a_backfill_says_what_it_read_wrote_and_found(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])

    answer = trisignal.run("backfill", NQ, *_dates(MONDAY, TUESDAY))

    assert answer.err == ""
    assert answer.exit_code == 0
    legacy, clean, summary = answer.out.splitlines()
    counts = f"read, {2 * BARS} inserted, 0 updated, 0 unchanged, 0 rejected, 0 removed"
    assert legacy.split() == f"legacy_bars {2 * BARS} {counts}".split()
    assert clean.split() == f"clean_bars {2 * BARS} {counts}".split()
    triangles = pipeline.value("SELECT count(*) FROM triangle_events_v1")
    assert f"{NQ} {MONDAY} to {TUESDAY}: {2 * BARS} bars read, {triangles} triangles in" in summary


def test_both_dates_of_a_range_are_included(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY, WEDNESDAY])
    trisignal.run("backfill", NQ, *_dates(MONDAY, WEDNESDAY))

    rows = trisignal.run("bias", NQ, *_dates(MONDAY, TUESDAY), "--format", "csv").rows

    assert len(rows) == 2 * BARS
    assert (rows[0]["ts"], rows[-1]["ts"]) == (f"{MONDAY}T00:00:00Z", f"{TUESDAY}T23:55:00Z")


def test_later_dates_in_doubt_are_computed_again_and_it_says_so(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    trisignal.run("backfill", NQ, *_dates(TUESDAY, TUESDAY))

    answer = trisignal.run("backfill", NQ, *_dates(MONDAY, MONDAY))

    assert answer.exit_code == 0
    assert f"computed again, being in doubt: {TUESDAY}" in answer.out.splitlines()


def test_the_audit_is_printed_newest_first_and_by_symbol(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY], ("NQ", "ES"))
    for symbol in (NQ, ES):
        trisignal.run("backfill", symbol, *_dates(MONDAY, MONDAY))

    rows = trisignal.run("runs", "--format", "csv").rows

    assert [(row["symbol"], row["asset"], row["status"]) for row in rows] == [
        (ES, "clean_bars", "success"),
        (ES, "legacy_bars", "success"),
        (NQ, "clean_bars", "success"),
        (NQ, "legacy_bars", "success"),
    ]
    for row in rows:
        parts = ("inserted", "updated", "unchanged", "rejected")
        assert int(row["read"]) == sum(int(row[part]) for part in parts) == BARS
    only = trisignal.run("runs", "--symbol", NQ, "--limit", "1", "--format", "json")
    assert [(row["symbol"], row["asset"]) for row in json.loads(only.out)] == [(NQ, "clean_bars")]
    assert "success" in trisignal.run("runs").out


def test_a_saturday_is_a_success_with_no_rows(trisignal: QuickCommandLine) -> None:
    answer = trisignal.run("backfill", NQ, *_dates(SATURDAY, SATURDAY))

    assert answer.err == ""
    assert answer.exit_code == 0
    assert f"{NQ} {SATURDAY}: 0 bars read, 0 triangles" in answer.out
    for command in ("triangles", "bias", "counts"):
        printed = trisignal.run(command, NQ, *_dates(SATURDAY, SATURDAY), "--format", "json")
        assert json.loads(printed.out) == []


def test_a_date_that_no_file_covers_is_a_warning(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    write_days(pipeline.raw, [MONDAY])

    answer = trisignal.run("backfill", NQ, *_dates(MONDAY, WEDNESDAY))

    assert answer.exit_code == 0
    assert answer.err == (
        f"warning: {NQ} {TUESDAY} to {WEDNESDAY}: no file of the raw folder covers the date\n"
    )


def test_a_symbol_can_be_added_set_and_listed(trisignal: QuickCommandLine) -> None:
    assert trisignal.run("symbols", "add", GOLD).out == f"{GOLD} is in the registry\n"
    again = trisignal.run("symbols", "add", GOLD, "tick_size=0.1")
    assert (again.exit_code, again.out) == (0, f"{GOLD} was in the registry already\n")
    changed = trisignal.run(
        "symbols", "set", GOLD, "higher_timeframe_anchor=utc", "aligned_timeframes=1h,4h"
    )
    assert changed.exit_code == 0

    listed = json.loads(trisignal.run("symbols", "list", "--format", "json").out)

    by_symbol = {row["internal_symbol"]: row for row in listed}
    assert list(by_symbol) == [ES, GOLD, NQ, "GLBX.MDP3:RTY", "GLBX.MDP3:YM"]
    gold = by_symbol[GOLD]
    assert (gold["roll_rule"], gold["rank"], gold["is_active"]) == ("v", 0, True)
    assert gold["higher_timeframe_anchor"] == "utc"
    assert gold["tick_size"] == "0.1"
    assert "4h" in gold["aligned_timeframes"]


def test_a_symbol_added_is_a_partition_at_once(
    pipeline: Pipeline, trisignal: QuickCommandLine
) -> None:
    trisignal.run("symbols", "add", GOLD)
    with pipeline.instance() as instance:
        assert GOLD in instance.get_dynamic_partitions("symbol")


COMMANDS = """\

demo
dev
db
db migrate
db start
db stop
db status
db reset
db url
db partitions
db partitions create
db partitions drop
housekeeping
status
symbols
symbols list
symbols add
symbols set
backfill
triangles
bias
counts
runs
"""


@pytest.mark.parametrize("command", COMMANDS.splitlines())
def test_help_teaches(command: str, trisignal: QuickCommandLine) -> None:
    answer = trisignal.run(*command.split(), "--help")
    assert answer.exit_code == 0
    assert "Usage:" in answer.out
    words = answer.out.split("Options:")[0].split()
    assert len(words) > 7, "a sentence says what it is for"


def test_the_embedded_server_is_started_stopped_and_deleted_by_command(
    terminal: CommandLine,
) -> None:
    home = terminal.settings["TRISIGNAL_HOME"]
    assert f"embedded server below {home}: stopped" in terminal.succeed("db", "status").out

    assert "running; connect with: psql 'postgresql://" in terminal.succeed("db", "start").out
    assert terminal.succeed("db", "migrate").out.startswith("applied 0001")
    assert terminal.succeed("db", "migrate").out == "the schema is up to date\n"
    status = terminal.succeed("db", "status").out
    assert ": runs\n" in status
    assert "(newest" not in status
    assert terminal.succeed("db", "url").out.startswith("postgresql://")

    terminal.succeed("symbols", "set", NQ, "tick_size=0.5")
    assert terminal.succeed("db", "stop").out == "stopped\n"
    assert ": stopped\n" in terminal.succeed("db", "status").out
    listed = terminal.succeed("symbols", "list", "--format", "csv").rows
    assert {row["internal_symbol"]: row["tick_size"] for row in listed}[NQ] == "0.5"

    assert terminal.succeed("db", "reset", "--yes").out == "deleted\n"
    listed = terminal.succeed("symbols", "list", "--format", "csv").rows
    assert {row["internal_symbol"]: row["tick_size"] for row in listed}[NQ] == "0.25"


def test_a_reset_asks_first(terminal: CommandLine) -> None:
    terminal.succeed("db", "start")
    assert terminal.run("db", "reset").exit_code == 1
    assert ": runs\n" in terminal.succeed("db", "status").out


def test_compiled_code_is_kept_in_the_home(demo_home: DemoHome) -> None:
    kept = Path(demo_home.terminal.settings["TRISIGNAL_HOME"]) / "compiled"
    assert list(kept.rglob("*.nbc"))
    # An installation may be read-only.
    assert list(Path(compiled.__file__).parent.rglob("*.nb[ci]")) == []


def test_it_writes_nothing_where_it_stands(demo_home: DemoHome) -> None:
    demo_home.terminal.succeed("counts", NQ, *WEEK)
    assert list(demo_home.terminal.cwd.iterdir()) == []


def test_it_works_from_any_folder_with_one_home(demo_home: DemoHome, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    elsewhere.chmod(0o500)
    there = CommandLine(demo_home.terminal.settings, elsewhere)

    asked = ("triangles", NQ, *WEEK, "--format", "csv")

    assert there.succeed(*asked) == demo_home.terminal.succeed(*asked)
    assert list(elsewhere.iterdir()) == []
