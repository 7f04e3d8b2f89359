"""The worked example of docs/PARITY.md, command by command, on the demo's market."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, DemoHome

DOCUMENT = Path(__file__).parents[2] / "docs" / "PARITY.md"
NQ = "GLBX.MDP3:NQ"
WEEK = (NQ, "--start", "2024-06-16", "--end", "2024-06-21", "--format", "csv")
HEADER = "time,open,high,low,close,Volume,Bias 1m,Bias 5m,Bias 15m,Bias 1h,Bias 4h,Bias 1d"


def _lines(text: str) -> list[str]:
    """Lines as the document has them: without spaces at their ends, and without empty ones."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def terminal(demo_home: DemoHome) -> CommandLine:
    return demo_home.terminal


@pytest.fixture(scope="module")
def chart(terminal: CommandLine) -> list[str]:
    bars = terminal.succeed("bars", *WEEK, "--tf", "1m").out.splitlines()
    biases = terminal.succeed("bias", *WEEK).out.splitlines()
    pairs = zip(bars[1:], biases[1:], strict=True)
    return [HEADER, *(f"{bar},{bias.split(',', 1)[1]}" for bar, bias in pairs)]


def test_the_database_s_own_answers_agree(
    terminal: CommandLine, chart: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "chart.csv"
    path.write_text("\n".join(chart) + "\n", encoding="utf-8")
    answer = terminal.succeed("parity", NQ, str(path))
    said = "6,625 of 6,625 bars agree (100 %)"
    assert said in answer.out
    assert said in DOCUMENT.read_text(encoding="utf-8")


def test_the_planted_differences_are_reported_as_the_document_says(
    terminal: CommandLine, chart: list[str], tmp_path: Path
) -> None:
    planted = [
        line.replace("Bullish", "Bearish", 1) if line.startswith("2024-06-18T13:31:00Z") else line
        for line in chart
        if not line.startswith("2024-06-19T02:15:00Z")
    ]
    path = tmp_path / "planted.csv"
    path.write_text("\n".join(planted) + "\n", encoding="utf-8")
    answer = terminal.run("parity", NQ, str(path))
    shown = re.search(r"```\n(GLBX.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert _lines(answer.out) == _lines(shown[1])
    assert answer.exit_code == 1
    assert terminal.run("parity", NQ, str(path), "--min-agreement", "99.9").exit_code == 0
