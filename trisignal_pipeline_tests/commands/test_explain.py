"""`trisignal explain` as a trader types it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.errors import RangeError, UnknownSymbolError
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.storage.stored_bars import DAY, NQ, Bar, bar, days_from, store, walk

DATES = days_from(DAY, 1)


@pytest.fixture
def history(database_url: str) -> list[Bar]:
    made = walk(DATES, seed=5, share=0.05)
    for table in (LEGACY, CLEAN):
        store(Database(database_url), made, DATES, table=table)
    return made


@pytest.fixture
def explain(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", database_url)
    return lambda *arguments: CliRunner().invoke(trisignal, ["explain", *arguments])


def test_a_minute_reads_from_its_bar_to_what_is_stored(
    explain: Callable[..., Result], history: list[Bar]
) -> None:
    told = explain(NQ, iso_minute(history[40].ts))
    assert told.exit_code == 0
    lines = told.output.splitlines()
    assert lines[0] == f"{NQ} {iso_minute(history[40].ts)}, from {CLEAN.name}"
    starts = ("bar ", "previous ", "session ", "bias ", "before ", "after ", "rules that fired")
    starts += ("live gaps", "engulfing ", "alignment ", "filters ", "decision ", "stored ")
    rows = [next(row for row, line in enumerate(lines) if line.startswith(s)) for s in starts]
    assert rows == sorted(rows)


def test_an_offset_names_the_same_minute(
    explain: Callable[..., Result], history: list[Bar]
) -> None:
    minute = iso_minute(history[40].ts)
    there = minute.replace("Z", "+00:00")
    assert explain(NQ, there).output == explain(NQ, minute).output


def test_json_holds_what_the_text_says(explain: Callable[..., Result], history: list[Bar]) -> None:
    minute = history[40]
    values = json.loads(explain(NQ, iso_minute(minute.ts), "--format", "json").output)
    assert values["ts"] == values["bar"]["ts"] == iso_minute(minute.ts)
    assert values["previous"]["ts"] == iso_minute(history[39].ts)
    assert float(values["bar"]["close"]) * 1_000_000_000 == minute.close
    assert list(values["timeframes"]) == ["1m", "5m", "15m", "1h", "4h", "1d"]
    assert values["bias_1m"] == values["timeframes"]["1m"]["bias_after"]
    assert values["stored"] == {
        "computed": False,
        "agrees": None,
        "differences": [],
        "in_doubt": False,
    }
    assert values["decision"] in explain(NQ, iso_minute(minute.ts)).output


def test_the_rules_that_fired_are_in_json(
    explain: Callable[..., Result], database_url: str
) -> None:
    # A bullish gap from 20100 to 20102 opens on the third minute and is inverted on the last.
    prices = ((98, 100, 50, 99), (99, 150, 99, 104), (104, 110, 102, 108), (108, 108, 98, 99.5))
    rows = []
    for minute, ohlc in enumerate(prices):
        open_, high, low, close = (int((20_000 + price) * PRICE_UNIT) for price in ohlc)
        rows.append(bar(minute, close, open=open_, high=high, low=low))
    store(Database(database_url), rows, DATES)
    values = json.loads(explain(NQ, iso_minute(rows[-1].ts), "--format", "json").output)
    born = iso_minute(rows[2].ts)
    gap = {"kind": "bullish gap", "bottom": "20100", "top": "20102", "born": born}
    [finished] = values["timeframes"]["1m"]["finished"]
    assert finished["fired"] == [
        {"rule": "inversion", "bias": "Bearish", "level": "20100", "gap": gap}
    ]
    assert (finished["bias_before"], finished["bias_after"]) == ("Bullish", "Bearish")
    assert values["timeframes"]["1m"]["gap_above"] == gap | {"kind": "bearish inverse gap"}
    assert (values["flip"], values["triangle"]) == ("BEAR", "BEAR")


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2024-06-17T00:10:00", "names no time zone"),
        ("2024-06-17T00:10:30Z", "opens at 2024-06-17T00:10:00Z"),
        ("ten past midnight", "is not a minute"),
    ],
)
def test_what_is_no_minute_is_a_usage_error(
    explain: Callable[..., Result], written: str, reason: str
) -> None:
    refused = explain(NQ, written)
    assert refused.exit_code == 2
    assert reason in refused.output


def test_a_minute_without_a_bar_is_an_error(
    explain: Callable[..., Result], history: list[Bar]
) -> None:
    refused = explain(NQ, iso_minute(bar(0, day=DAY.replace(year=2023)).ts))
    assert isinstance(refused.exception, RangeError)
    assert iso_minute(history[0].ts) in str(refused.exception)


def test_a_symbol_that_is_not_registered_is_an_error(explain: Callable[..., Result]) -> None:
    refused = explain("GLBX.MDP3:XX", "2024-06-17T00:10:00Z")
    assert isinstance(refused.exception, UnknownSymbolError)
