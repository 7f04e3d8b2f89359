"""`trisignal status`, `housekeeping` and `db partitions` as a user types them."""

from __future__ import annotations

import io
import json
import sys

import pytest

from trisignal_pipeline_tests.end_to_end.command_line import QuickCommandLine
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.storage.stored_bars import by_hand
from trisignal_pipeline_tests.tiny_market import BARS, MONDAY, NQ, TUESDAY, write_days

DATES = ("--start", str(MONDAY), "--end", str(TUESDAY))


@pytest.fixture
def stored(pipeline: Pipeline, trisignal: QuickCommandLine) -> Pipeline:
    write_days(pipeline.raw, [MONDAY, TUESDAY])
    assert trisignal.run("backfill", NQ, *DATES).exit_code == 0
    return pipeline


@pytest.mark.usefixtures("stored")
def test_status_tells_of_the_symbols_and_then_of_the_whole(trisignal: QuickCommandLine) -> None:
    symbols = json.loads(trisignal.run("status", "--format", "json").out)
    assert {row["symbol"]: row["clean_bars"] for row in symbols}[NQ] == 2 * BARS
    assert trisignal.run("status", "--format", "csv").rows[0].keys() == symbols[0].keys()

    figures = json.loads(trisignal.run("status", "--health", "--format", "json").out)
    found = {(row["figure"], row["subject"]): row for row in figures}
    assert found["stored_rows", f"market_bars_ohlcv_1m_clean {NQ}"]["value"] == 2 * BARS
    assert found["behind_minutes", NQ]["unit"] == "minutes"
    assert found["disk_free_ratio", "home"]["value"] <= 1

    for_people = trisignal.run("status").out
    for word in ("dates_in_doubt", "table_bytes", "behind_minutes", "ingest_success_ratio"):
        assert word in for_people


def test_housekeeping_shows_what_it_would_delete_and_deletes_it_when_told(
    stored: Pipeline, trisignal: QuickCommandLine
) -> None:
    nothing = trisignal.run("housekeeping")
    assert nothing.exit_code == 0
    assert nothing.err == "no TRISIGNAL_KEEP_ setting is set: everything is kept\n"
    by_hand(
        stored.database.url,
        "INSERT INTO health_figures VALUES ('2020-01-01', 'connections', '', 1), "
        "(now(), 'connections', '', 1)",
    )
    trisignal.set("TRISIGNAL_KEEP_HEALTH_DAYS", "30")
    trisignal.set("TRISIGNAL_KEEP_RUNS_DAYS", "30")

    shown = trisignal.run("housekeeping", "--format", "csv")
    assert shown.rows[0].items() >= {
        "what": "figures of health", "to_delete": "1", "setting": "TRISIGNAL_KEEP_HEALTH_DAYS",
        "days": "30",
    }.items()  # fmt: skip
    assert [row["to_delete"] for row in shown.rows] == ["1", "0"]
    assert "nothing was deleted" in shown.err
    assert stored.value("SELECT count(*) FROM health_figures") == 2

    done = trisignal.run("housekeeping", "--apply", "--format", "csv")
    assert (done.exit_code, done.err) == (0, "")
    assert [row["deleted"] for row in done.rows] == ["1", "0"]
    assert stored.value("SELECT count(*) FROM health_figures") == 1


def test_a_setting_that_can_t_be_used_is_refused_before_anything_is_deleted(
    stored: Pipeline, trisignal: QuickCommandLine
) -> None:
    by_hand(
        stored.database.url,
        "INSERT INTO health_figures VALUES ('2020-01-01', 'connections', '', 1)",
    )
    trisignal.set("TRISIGNAL_KEEP_HEALTH_DAYS", "30")
    trisignal.set("TRISIGNAL_KEEP_RUNS_DAYS", "soon")

    refused = trisignal.run("housekeeping", "--apply")

    assert refused.exit_code == 1
    assert "error: TRISIGNAL_KEEP_RUNS_DAYS is 'soon'" in refused.err
    assert stored.value("SELECT count(*) FROM health_figures") == 1


def test_a_year_is_made_listed_and_dropped_by_command(
    stored: Pipeline, trisignal: QuickCommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert trisignal.run("db", "partitions", "create", "2031").out == "2031: 3 partitions made\n"
    assert trisignal.run("db", "partitions", "create", "2031").out == "2031: they are there\n"
    listed = trisignal.run("db", "partitions", "--format", "csv").rows
    assert {row["partition"][-4:] for row in listed} >= {"2024", "2031"}

    refused = trisignal.run("db", "partitions", "drop", "2024", "--yes")
    assert refused.exit_code == 1
    assert "symbols set GLBX.MDP3:NQ history_start=2025-01-01" in refused.err
    trisignal.run("symbols", "set", NQ, "history_start=2025-01-01")
    assert trisignal.run("refresh").exit_code == 0

    # Nobody answers: nothing is dropped.
    asked = trisignal.run("db", "partitions", "drop", "2024")
    assert asked.exit_code == 1
    assert f"Drop {4 * BARS:,} rows and 4 dates of 2024" in asked.out
    assert stored.value("SELECT count(*) FROM market_bars_ohlcv_1m") == 2 * BARS

    dropped = trisignal.run("db", "partitions", "drop", "2024", "--yes")
    assert (dropped.exit_code, dropped.err) == (0, "")
    assert stored.value("SELECT count(*) FROM market_bars_ohlcv_1m") == 0
    assert stored.value("SELECT count(*) FROM bar_dates") == 0
    assert trisignal.run("refresh").exit_code == 0
