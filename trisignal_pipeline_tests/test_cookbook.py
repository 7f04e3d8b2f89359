"""Every recipe of the cookbook runs, one after the other, on a month of two markets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from click.testing import CliRunner

from trisignal_pipeline import read
from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.pipeline import create_database, drop_database
from trisignal_pipeline_tests.query.stored_market import (
    generated,
    store_clean,
    store_signals,
    with_roll,
)

COOKBOOK = Path(__file__).parents[1] / "docs/COOKBOOK.md"
JUNE = DateRange(date(2024, 6, 1), date(2024, 6, 30))
_FENCE = re.compile(r"^```(python|sql|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipes(language: str) -> list[tuple[int, str]]:
    """The blocks of a language, each with the line it begins on."""
    text = COOKBOOK.read_text("utf-8")
    return [
        (text[: found.start()].count("\n") + 2, found[2])
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]


@pytest.fixture(scope="module")
def month(
    server: EmbeddedServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database with a month of NQ and ES, which the environment names."""
    name = "cookbook"
    create_database(server, name, migrated_template)
    url = server.url(name)
    for seed, symbol in enumerate(("GLBX.MDP3:NQ", "GLBX.MDP3:ES"), 1):
        bars = with_roll(generated(JUNE, share=0.2, seed=seed), date(2024, 6, 17))
        store_clean(Database(url), bars, JUNE, symbol)
        store_signals(Database(url), JUNE, symbol)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRISIGNAL_DATABASE_URL", url)
        environment.setenv("TRISIGNAL_HOME", str(tmp_path_factory.mktemp("home")))
        yield url
    drop_database(server, name)


def test_every_recipe_runs(month: str) -> None:
    names: dict[str, Any] = {"__name__": "notebook"}
    for line, recipe in recipes("python"):
        # Errors name the line of the document.
        exec(compile("\n" * (line - 1) + recipe, str(COOKBOOK), "exec"), names)

    assert len(recipes("python")) > 5
    assert len(names["events"]) > 100
    assert names["summary"].loc[:, ("5m", "count")].sum() > 20
    assert names["by_session"]["total"].sum() > 100
    assert len(names["agree"]) > 10


def test_every_query_has_an_answer(month: str) -> None:
    queries = [query for _, block in recipes("sql") for query in block.split(";") if query.strip()]

    assert len(queries) > 3
    with psycopg.connect(month) as connection:
        for query in queries:
            assert connection.execute(query.encode()).fetchall(), query


def test_the_file_is_the_frame(month: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [(_, command)] = recipes("sh")

    answer = CliRunner().invoke(trisignal, command.split()[1:])

    assert (answer.exit_code, answer.output) == (0, "")
    frame = read.dataset("GLBX.MDP3:NQ", JUNE.start, JUNE.end)
    written = pd.read_parquet(tmp_path / "nq.parquet", dtype_backend="numpy_nullable")
    assert list(written["ts"]) == list(frame.index)
    assert list(written["close"]) == list(frame["close"])
    assert [path.name for path in tmp_path.iterdir()] == ["nq.parquet"]
