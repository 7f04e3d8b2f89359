"""The product as a whole: homes with a demo in them, pipelines, and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import (
    CommandLine,
    DemoHome,
    QuickCommandLine,
)
from trisignal_pipeline_tests.pipeline import Pipeline, make_dagster_template, open_pipeline


@pytest.fixture(scope="session")
def dagster_template(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with Dagster's tables, that others are copied from."""
    return make_dagster_template(server, tmp_path_factory.mktemp("dagster"))


@pytest.fixture
def pipeline(
    server: EmbeddedServer, migrated_template: str, dagster_template: str, tmp_path: Path
) -> Iterator[Pipeline]:
    """The whole product, with nothing in it yet."""
    with open_pipeline(server, migrated_template, dagster_template, tmp_path) as opened:
        yield opened


@pytest.fixture
def trisignal(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> QuickCommandLine:
    """The command line on the databases and folders of `pipeline`."""
    return QuickCommandLine(monkeypatch, capsys)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[CommandLine]:
    """A terminal with an empty home, whose embedded server goes with it."""
    opened = CommandLine.with_home(tmp_path)
    yield opened
    _reset(opened)


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoHome]:
    """The demo's first run, in an empty home."""
    opened = CommandLine.with_home(tmp_path_factory.mktemp("demo"))
    yield DemoHome(opened, opened.run("demo"))
    _reset(opened)


def _reset(terminal: CommandLine) -> None:
    EmbeddedServer.for_home(Path(terminal.settings["TRISIGNAL_HOME"]), terminal.environment).reset()
