"""What the documents state is true: commands, settings, tables, rules, links, worked examples."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import click
import dagster as dg
import numpy as np
import psycopg
import pytest

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.judging import MOST_FAILURE_CASES
from trisignal_pipeline.market.bars import PRICE_UNIT, Bars, concatenate
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, iso_minute
from trisignal_pipeline.market.hygiene import INDEX_FUTURE, Rule
from trisignal_pipeline.market.lead_contract import Traded, lead_contracts, volumes_by_date
from trisignal_pipeline.market.sessions import VERIFIED_SPAN, expected_minutes, sessions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.orchestration.assets.pipeline_health import LIMITS, Limits
from trisignal_pipeline.orchestration.backfill import ALL_ASSETS
from trisignal_pipeline.orchestration.definitions import build_defs
from trisignal_pipeline.orchestration.deployment import DEFAULT_CONCURRENT_RUNS
from trisignal_pipeline.orchestration.new_files import STILL_SECONDS
from trisignal_pipeline.orchestration.partitions import CME_HISTORY_START
from trisignal_pipeline.orchestration.recent_dates_sensor import (
    AFTER_THE_SCHEDULE,
    DEFAULT_KEEP_CURRENT_DAYS,
    IN_VAIN_FOR,
    SOONEST_ASKED_AGAIN,
)
from trisignal_pipeline.orchestration.step_retries import DEFAULT_RETRIES, WAITS_GROW_BY
from trisignal_pipeline.orchestration.step_retries import FIRST_WAIT_SECONDS as FIRST_STEP_WAIT
from trisignal_pipeline.orchestration.step_retries import LONGEST_WAIT_SECONDS as LONGEST_STEP_WAIT
from trisignal_pipeline.orchestration.unasked_runs import FIRST_PAUSE, LONGEST_PAUSE
from trisignal_pipeline.schemas import rule_wordings
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.signal.replay import BiasSeries, advance, start
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES, TIMEFRAMES
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline.sources.databento_api import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    TIMEOUT_SECONDS,
)
from trisignal_pipeline.sources.databento_api import MOST_ATTEMPTS as MOST_ATTEMPTS_TO_BUY
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars
from trisignal_pipeline.sources.sample_files import SAMPLE_WEEK, write_sample_market
from trisignal_pipeline.storage import figures as figures_module
from trisignal_pipeline.storage import health, slow_statements
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS
from trisignal_pipeline.storage.lasting_connection import MOST_ATTEMPTS
from trisignal_pipeline.storage.locks import DEFAULT_PATIENCE_SECONDS
from trisignal_pipeline.storage.migrations import VERSION_TABLE
from trisignal_pipeline.storage.purchases import DEFAULT_BUDGET_USD

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README, DATA_MODEL, TIMESTAMPS, INGESTION, HOUSEKEEPING = (
    ROOT / name
    for name in (
        "README.md",
        "docs/DATA_MODEL_ARCHITECTURE.md",
        "docs/TIMESTAMP_SEMANTICS.md",
        "docs/INGESTION_STRATEGY.md",
        "docs/HOUSEKEEPING.md",
    )
)
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r"TRISIGNAL_[A-Z_]+")
_PLACEHOLDERS = {
    "YEAR": "2011",
    "DATE": "2024-06-18",
    "SYMBOL": "GLBX.MDP3:NQ",
    "TS": "2024-06-18T13:31:00Z",
    "TIME": "2024-06-18T13:31:00Z",
}


def prose(text: str) -> str:
    """What stands outside of fenced blocks."""
    return _FENCE.sub("", text)


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in _FENCE.findall(text) if language in languages]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shell_commands(document: Path) -> Iterator[list[str]]:
    """Each command the document shows, in words, without variables that are set before it."""
    text = document.read_text(encoding="utf-8")
    lines = [line for block in blocks(text, "sh", "console") for line in block.splitlines()]
    lines = "\n".join(lines).replace("\\\n", " ").splitlines()
    spans = [span for span in code_spans(text) if span.startswith(("trisignal ", "make "))]
    for line in lines + spans:
        words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|;&>()")
        words.whitespace_split = True
        command = list(words)
        while command and re.match(r"(export$)|([A-Z_]+=)", command[0]):
            command.pop(0)
        ends = [at for at, word in enumerate(command) if set(word) <= set("|;&>()")]
        command = command[: min(ends, default=len(command))]
        if command and command[0] in {"trisignal", "make"}:
            yield command


def parse(arguments: list[str]) -> str:
    """Parse the arguments as `trisignal` would, down to the command itself; return its path."""
    command: click.Command = trisignal
    context = trisignal.make_context("trisignal", list(arguments))
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest and command.invoke_without_command:
            break
        if not rest:
            raise click.UsageError(f"{context.command_path} alone does nothing")
        name, found, rest = command.resolve_command(context, rest)
        assert name is not None
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
    return context.command_path


@every_document
def test_every_command_shown_exists_and_takes_the_arguments_shown(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for program, *arguments in shell_commands(document):
        if program == "make":
            assert set(arguments) <= targets, f"make {' '.join(arguments)}"
            continue
        given = [_PLACEHOLDERS.get(word, word) for word in arguments]
        if given in (["db"], ["symbols"]):
            continue
        try:
            parse(given)
        except click.exceptions.MissingParameter:
            # Named, not called: `trisignal backfill` in a sentence.
            assert len([word for word in arguments if not word.startswith("-")]) <= 2, arguments
        except click.ClickException as error:
            raise AssertionError(f"trisignal {' '.join(arguments)}: {error.message}") from error


def test_the_check_of_commands_notices_what_does_not_exist() -> None:
    assert parse(["counts", "GLBX.MDP3:NQ", "--start", "2024-01-01", "--end", "2024-01-02"])
    for wrong in (["countz"], ["runs", "--never"], ["symbols", "drop"], ["runs", "--limit", "x"]):
        with pytest.raises(click.ClickException):
            parse(wrong)


def test_the_readme_names_every_command() -> None:
    shown = {arguments[0] for _, *arguments in shell_commands(README) if arguments}
    assert set(trisignal.commands) <= shown
    text = README.read_text("utf-8")
    for group in trisignal.commands.values():
        for name in group.commands if isinstance(group, click.Group) else ():
            assert re.search(rf"`(trisignal {group.name} )?{name}`", text), f"{group.name} {name}"


def settings_read_by_the_code() -> set[str]:
    """Every string of the product's code that is the name of a setting and nothing else."""
    found = set()
    for path in (ROOT / "trisignal_pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and _SETTING.fullmatch(value):
                found.add(value)
    return found


def settings_table() -> dict[str, str]:
    rows = table_rows(README.read_text("utf-8"))
    return {row[0].strip("`"): row[1].strip("`") for row in rows if _SETTING.search(row[0])}


@every_document
def test_every_setting_named_is_read_by_the_code(document: Path) -> None:
    assert set(_SETTING.findall(document.read_text("utf-8"))) <= settings_read_by_the_code()


def test_the_table_of_settings_is_complete_and_states_the_defaults() -> None:
    table = settings_table()
    assert set(table) == settings_read_by_the_code()
    unset = Settings.from_environment({})
    assert Path(table["TRISIGNAL_HOME"]).absolute() == unset.home
    assert Path(table["TRISIGNAL_RAW_DIR"]).absolute() == unset.raw_dir
    assert Path(table["TRISIGNAL_API_DIR"]).absolute() == unset.api_dir
    assert table["TRISIGNAL_DATABENTO_GATEWAY"] == unset.api_gateway
    assert float(table["TRISIGNAL_STATEMENT_SECONDS"]) == unset.statement_seconds
    assert unset.database_url is None
    assert table["TRISIGNAL_DATABASE_URL"] == "the embedded server"
    assert table["TRISIGNAL_FIRST_DATE"] == str(CME_HISTORY_START)
    assert table["TRISIGNAL_CONCURRENT_RUNS"] == str(DEFAULT_CONCURRENT_RUNS)
    assert table["TRISIGNAL_DAILY_BUDGET_USD"] == f"{DEFAULT_BUDGET_USD:g}"
    assert table["TRISIGNAL_KEEP_CURRENT_DAYS"] == str(DEFAULT_KEEP_CURRENT_DAYS)
    assert table["TRISIGNAL_RETRIES"] == str(DEFAULT_RETRIES)


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(document.read_text("utf-8"))):
        assert "://" not in target, target
        file, _, anchor = target.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@every_document
def test_every_file_of_the_project_that_is_named_exists(document: Path) -> None:
    named = re.compile(
        r"(trisignal_pipeline|trisignal_pipeline_tests|database|deploy|docs|pine)/[\w./-]+"
    )
    for span in code_spans(document.read_text("utf-8")):
        if named.fullmatch(span):
            assert (ROOT / span).exists(), span


def test_pictures_are_pictures_of_a_sensible_size() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*"))
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", document.read_text("utf-8"))
    }
    assert set(pictures) == shown
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert path.stat().st_size < 250_000


def documented_columns() -> dict[str, set[str]]:
    """Table or view -> the columns that the data model lists for it."""
    sections = re.split(r"^### `(\w+)`$", DATA_MODEL.read_text("utf-8"), flags=re.MULTILINE)[1:]
    tables = {}
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        rows = table_rows(body.partition("\n## ")[0])[2:]
        tables[name] = {column for row in rows for column in code_spans(row[0])}
    return tables


def stored_columns(url: str) -> dict[str, set[str]]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            """
            SELECT c.relname, array_agg(a.attname::text)
            FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
              AND NOT c.relispartition AND c.relname <> %s
            GROUP BY c.relname
            """,
            (VERSION_TABLE,),
        ).fetchall()
    return {name: set(columns) for name, columns in found}


def test_the_data_model_lists_every_table_and_column_and_no_other(database_url: str) -> None:
    assert documented_columns() == stored_columns(database_url)


@every_document
def test_every_column_named_with_its_table_exists(document: Path, database_url: str) -> None:
    stored = stored_columns(database_url)
    for span in code_spans(document.read_text("utf-8")):
        table, _, column = span.partition(".")
        if table in stored and column:
            assert column in stored[table], span


@every_document
def test_every_query_shown_can_be_planned(document: Path, database_url: str) -> None:
    queries = [
        query
        for block in blocks(document.read_text("utf-8"), "sql")
        for query in block.split(";")
        if query.strip()
    ]
    with psycopg.connect(database_url) as connection:
        for query in queries:
            connection.execute(f"EXPLAIN {query}".encode())


def test_the_journey_names_every_asset_in_order() -> None:
    journey = DATA_MODEL.read_text("utf-8").partition("## The journey of a bar")[2]
    rows = table_rows(journey.partition("\n## ")[0])[2:]
    assert [code_spans(row[0])[0] for row in rows] == list(ALL_ASSETS)


def test_the_hygiene_rules_are_listed_in_the_words_and_with_the_thresholds_of_the_code() -> None:
    text = INGESTION.read_text("utf-8").partition("## Hygiene rules")[2].partition("\n## ")[0]
    rows = {code_spans(row[0])[0]: row[1] for row in table_rows(text)[2:]}
    assert set(rows) == set(Rule)
    assert rows == dict(rule_wordings(INDEX_FUTURE, tick=PRICE_UNIT // 4))
    assert f"up to {MOST_FAILURE_CASES} of them" in text


def test_budget_and_patience_in_buying_are_as_stated() -> None:
    text = INGESTION.read_text("utf-8").partition("## Buying")[2].partition("\n## ")[0]
    assert f"The budget is {DEFAULT_BUDGET_USD:g} USD unless" in text
    assert f"silence for {TIMEOUT_SECONDS:g} s" in text
    assert f"up to {MOST_ATTEMPTS_TO_BUY} attempts" in text
    assert f"double from about {FIRST_WAIT_SECONDS:g} s" in text
    assert f"(up to {LONGEST_WAIT_SECONDS:g} s)" in text


def test_every_figure_and_limit_of_health_is_listed_with_its_default() -> None:
    figures = {
        value.name: value.labels
        for module in (health, slow_statements, figures_module)
        for value in vars(module).values()
        if isinstance(value, figures_module.Figure)
    }
    rows = table_rows(HOUSEKEEPING.read_text("utf-8"))
    listed = {
        name: tuple(sorted(filter(None, row[1].split(", "))))
        for row in rows
        for name in code_spans(row[0])
        if name in figures
    }
    assert listed == {name: tuple(sorted(labels)) for name, labels in figures.items()}
    limits = {
        code_spans(row[1])[0]: row for row in rows if code_spans(row[1]) and row[2][:1].isdigit()
    }
    assert set(limits) == set(Limits.model_fields)
    for name, field in Limits.model_fields.items():
        assert re.match(rf"{field.default:g}\b", limits[name][2]), name
    assert [code_spans(row[0])[0] for row in limits.values()] == [one.check for one in LIMITS]


def test_batches_retries_and_patience_are_as_stated() -> None:
    text = INGESTION.read_text("utf-8").partition("## Batches, retries, locks")[2]
    assert f"batches of {DEFAULT_BATCH_ROWS}," in text
    assert f"After {MOST_ATTEMPTS} attempts" in text
    assert f"waits up to {DEFAULT_PATIENCE_SECONDS // 60} minutes" in text


def test_waits_of_the_daemon_are_as_stated() -> None:
    text = " ".join((ROOT / "docs/DAILY_OPERATION.md").read_text("utf-8").split())
    waits = [f"{FIRST_STEP_WAIT * WAITS_GROW_BY**retried:g} s" for retried in range(3)]
    assert f"after {', '.join(waits)}, at most {LONGEST_STEP_WAIT:g} s" in text
    assert f"waits {FIRST_PAUSE.seconds // 60} minutes before" in text
    assert LONGEST_PAUSE == IN_VAIN_FOR == timedelta(days=1)
    assert timedelta(minutes=15) == AFTER_THE_SCHEDULE
    assert timedelta(hours=1) == SOONEST_ASKED_AGAIN
    assert STILL_SECONDS == 60


@dataclass(frozen=True)
class DemoMarket:
    """NQ of the sample market, from its files to its signal, without a database."""

    files: list[DbnFile]
    traded: list[Traded]
    bars: Bars
    bias: BiasSeries

    def at(self, ts: int) -> int:
        [row] = np.flatnonzero(self.bars.ts == ts)
        return int(row)


@pytest.fixture(scope="module")
def nq(tmp_path_factory: pytest.TempPathFactory) -> DemoMarket:
    written = write_sample_market(tmp_path_factory.mktemp("sample"))
    inspected = [inspect(path) for path in sorted(written) if path.name.startswith("nq")]
    files = [file for file in inspected if isinstance(file, DbnFile)]
    traded: list[Traded] = [day for file in files for day in file.days]
    leads = lead_contracts(traded, "v")
    parts = [
        part
        for file in files
        for part in read_bars(file, leads, SAMPLE_WEEK.start_ns, SAMPLE_WEEK.end_ns)
    ]
    bars = concatenate(parts)
    bars = bars.take(np.argsort(bars.ts, kind="stable"))
    return DemoMarket(files, traded, bars, advance(start(), bars)[1])


def thousands(number: int) -> str:
    return f"{number:,}"


def test_the_worked_minute_is_the_demo_s(nq: DemoMarket) -> None:
    ts = int(np.datetime64("2024-06-18T13:31", "ns").astype(np.int64))
    row = nq.at(ts)
    units = [int(getattr(nq.bars, name)[row]) for name in ("open", "high", "low", "close")]
    contract, volume = nq.bars.contracts[nq.bars.contract[row]], int(nq.bars.volume[row])
    events = triangles(nq.bars, nq.bias, TriangleFilters(), previous=None)
    [event] = np.flatnonzero(events.ts == ts)
    biases = [BIAS_NAMES[code] for code in nq.bias.bias[row]]
    shown = {row[0]: " | ".join(row[1:]) for row in table_rows(TIMESTAMPS.read_text("utf-8"))}

    record = shown["the record in the file"]
    assert f"{ts} = {iso_minute(ts)[11:19]}" in record
    for name, price in zip(("open", "high", "low", "close"), units, strict=True):
        assert f"{name} {price}" in record
    prices = ", ".join(f"{price / PRICE_UNIT:.9g}" for price in units)
    closes = ts + NS_PER_MINUTE
    assert shown["`market_bars_ohlcv_1m`"].endswith(
        f"{prices}, volume {volume}, contract {contract}"
    )
    assert f"{iso_minute(closes)}, `ts_ms` {closes // 10**6}" in shown["`market_bars_ohlcv_1m`"]
    assert iso_minute(ts) in shown["`market_bars_ohlcv_1m_clean`"]
    assert shown["`bias_series_1m_v1`"].endswith(
        ", ".join(f"{name} {bias}" for name, bias in zip(TIMEFRAMES, biases, strict=True))
    )
    direction = DIRECTION_NAMES[events.direction[event]]
    assert f"{direction}, an engulfing bar" in shown["`triangle_events_v1`"]
    assert events.engulfing[event]
    assert events.sweep_engulfing[event]
    assert BIAS_NAMES[nq.bias.bias[row - 1, 0]] == "Bearish"


def test_minutes_and_bars_of_the_demo_s_dates_are_as_stated(nq: DemoMarket) -> None:
    shown = {row[0]: row[1:3] for row in table_rows(TIMESTAMPS.read_text("utf-8"))}
    minutes = expected_minutes("cme_equity", SAMPLE_WEEK.start, SAMPLE_WEEK.end)
    for day, expected in zip(SAMPLE_WEEK, minutes.tolist(), strict=True):
        dates = DateRange(day, day)
        bars = len(nq.bars.between(dates.start_ns, dates.end_ns))
        assert shown[str(day)] == [thousands(expected), thousands(bars)]


def test_sessions_around_daylight_saving_are_as_stated() -> None:
    rows = table_rows(TIMESTAMPS.read_text("utf-8"))
    shown = [row for row in rows if re.match(r"(Fri|Mon)day \d", row[0])]
    around = sessions("cme_equity", date(2024, 3, 8), date(2024, 3, 11))
    assert [row[1:] for row in shown] == [
        [iso_minute(opens), iso_minute(closes)]
        for opens, closes in zip(around.open_ns.tolist(), around.close_ns.tolist(), strict=True)
    ]
    text = TIMESTAMPS.read_text("utf-8")
    assert f"from {VERIFIED_SPAN.start} to {VERIFIED_SPAN.end}" in text


def test_the_worked_roll_is_the_demo_s(nq: DemoMarket) -> None:
    volumes = volumes_by_date(nq.traded)
    by_volume, by_calendar = lead_contracts(nq.traded, "v"), lead_contracts(nq.traded, "c")
    rows = table_rows(INGESTION.read_text("utf-8"))
    shown = {row[0].split()[-1]: row[1:] for row in rows if "2024-06-" in row[0]}
    assert shown == {
        str(day): [
            thousands(volumes[day]["NQM4"]),
            thousands(volumes[day]["NQU4"]),
            by_volume[day],
            by_calendar[day],
        ]
        for day in SAMPLE_WEEK
    }
    [roll] = np.flatnonzero(np.diff(nq.bars.contract))
    before, after = int(nq.bars.close[roll]), int(nq.bars.open[roll + 1])
    assert (
        f"close of {before / PRICE_UNIT:.9g} to NQU4's first open of {after / PRICE_UNIT:.9g}"
        in " ".join(INGESTION.read_text("utf-8").split())
    )


def test_every_check_is_in_the_table_of_verdicts() -> None:
    declared = {
        (key.asset_key.to_user_string(), key.name)
        for asset in build_defs().assets or ()
        if isinstance(asset, dg.AssetsDefinition)
        for key in asset.check_keys
    }
    of_health = {check for asset, check in declared if asset == "pipeline_health"}
    limits = {row[0].strip("`") for row in table_rows(HOUSEKEEPING.read_text(encoding="utf-8"))}
    assert of_health
    assert of_health <= limits
    declared = {(asset, check) for asset, check in declared if asset != "pipeline_health"}
    described = {
        (row[0].strip("`"), row[1].strip("`"))
        for row in table_rows(DATA_MODEL.read_text(encoding="utf-8"))
        if len(row) == 4 and row[3].startswith(("`WARN`", "`ERROR`")) and row[0]
    }

    assert described - declared == {("legacy_bars", "follows_the_lead_contract")}
    assert declared <= described
