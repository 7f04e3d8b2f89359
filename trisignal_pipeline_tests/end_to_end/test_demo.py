"""`trisignal demo` on a bare machine: it writes what it says, and a second run changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
from psycopg import sql

from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, DemoHome

NQ, ES = "GLBX.MDP3:NQ", "GLBX.MDP3:ES"
WEEK = ("--start", "2024-06-16", "--end", "2024-06-21")

# What a run leaves by its nature: the audit's rows, and when a verdict was given.
PASSING = {"data_ingest_runs": None, "data_quality_results": ["checked_at", "dagster_run_id"]}


def _tables(terminal: CommandLine) -> dict[str, tuple[int, str]]:
    """Rows and a digest of every table, with ids and times of writing."""
    url = terminal.succeed("db", "url").out.strip()
    found = {}
    with psycopg.connect(url) as connection:
        names = connection.execute(
            """
            SELECT c.relname FROM pg_class c
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND c.relnamespace = 'public'::regnamespace
            """
        ).fetchall()
        for (name,) in names:
            without = PASSING.get(name, [])
            if without is None:
                continue
            row = connection.execute(
                sql.SQL(
                    "SELECT count(*), md5(string_agg(line, E'\\n' ORDER BY line)) FROM "
                    "(SELECT (to_jsonb(t) - %s::text[])::text AS line FROM {} t) AS lines"
                ).format(sql.Identifier(name)),
                (without,),
            ).fetchone()
            assert row is not None
            found[name] = row
    return found


def test_the_demo_ends_well_and_prints_what_it_did(demo_home: DemoHome) -> None:
    answer = demo_home.answer

    assert answer.exit_code == 0, answer.err
    assert answer.err == ""
    for said in (
        "wrote 3 DBN files of an invented market",
        "market_bars_ohlcv_1m_clean",
        "bias_series_1m_v1",
        "The audit",
        "The last triangles",
        "trisignal dev",
    ):
        assert said in answer.out


def test_the_tables_hold_what_the_demo_says(demo_home: DemoHome) -> None:
    tables = _tables(demo_home.terminal)
    printed = {
        tuple(line.split()[:2]): int(line.split()[2])
        for line in demo_home.answer.out.splitlines()
        if line.split()[1:2] in ([NQ], [ES]) and line.split()[0] in tables
    }
    assert len(printed) == 8
    for name in {name for name, _ in printed}:
        assert tables[name][0] == printed[name, NQ] + printed[name, ES]


def test_the_demo_s_market_has_what_makes_markets_hard(demo_home: DemoHome) -> None:
    rows = demo_home.terminal.succeed("triangles", NQ, *WEEK, "--format", "csv").rows
    assert {row["contract"] for row in rows} == {"NQM4", "NQU4"}, "a roll"
    counts = json.loads(demo_home.terminal.succeed("counts", NQ, *WEEK, "--format", "json").out)
    assert counts[0]["date"] == "2024-06-16", "a session that opens on a Sunday"
    assert len(counts) == 6
    files = sorted(Path(demo_home.terminal.settings["TRISIGNAL_RAW_DIR"]).rglob("*.dbn.zst"))
    assert [file.name.split("-fut")[0] for file in files] == ["es", "nq", "nq"]


def test_a_second_run_changes_nothing(demo_home: DemoHome) -> None:
    before = _tables(demo_home.terminal)
    assert before["triangle_events_v1"][0] > 0

    again = demo_home.terminal.succeed("demo")

    assert _tables(demo_home.terminal) == before
    assert "wrote" not in again.out
    assert " 0 inserted, 0 updated" in again.out


def test_every_command_that_reads_agrees_with_the_others(demo_home: DemoHome) -> None:
    terminal = demo_home.terminal
    triangles = terminal.succeed("triangles", NQ, *WEEK, "--format", "csv").rows
    bias = {row["ts"]: row for row in terminal.succeed("bias", NQ, *WEEK, "--format", "csv").rows}
    counts = terminal.succeed("counts", NQ, *WEEK, "--format", "csv").rows
    as_json = json.loads(terminal.succeed("triangles", NQ, *WEEK, "--format", "json").out)

    assert sum(int(row["total"]) for row in counts) == len(triangles) == len(as_json)
    for row in triangles:
        on_minute = bias[row["ts"]]
        assert all(row[name] == on_minute[name] for name in on_minute)
        assert row["direction"] == {"Bullish": "BULL", "Bearish": "BEAR"}[row["bias_1m"]]
    assert [row["ts"] for row in as_json] == [row["ts"] for row in triangles]
    assert list(triangles[0])[:10] == [
        "ts",
        "direction",
        "bias_1m",
        "bias_m5",
        "bias_m15",
        "bias_h1",
        "bias_h4",
        "bias_d1",
        "htf_bullish",
        "htf_bearish",
    ]
    assert list(next(iter(bias.values()))) == [
        "ts",
        "bias_1m",
        "bias_m5",
        "bias_m15",
        "bias_h1",
        "bias_h4",
        "bias_d1",
    ]


def test_a_folder_or_database_with_a_real_market_is_not_mixed_with_the_demo_s(
    demo_home: DemoHome, tmp_path: Path
) -> None:
    stranger = tmp_path / "raw" / "mine.dbn.zst"
    stranger.parent.mkdir()
    stranger.write_bytes(b"")
    settings = {**demo_home.terminal.settings, "TRISIGNAL_RAW_DIR": str(stranger.parent)}

    answer = CommandLine(settings, demo_home.terminal.cwd).run("demo")

    assert answer.exit_code == 1
    assert f"files that are not the demo's ({stranger})" in answer.err
    assert list(stranger.parent.iterdir()) == [stranger]
