"""`trisignal parity`: what it prints, and when it succeeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline_tests.query.plain_chart import Row, iso_time, minute_of, write_export
from trisignal_pipeline_tests.query.stored_market import NQ, StoredMarket


@pytest.fixture
def run(
    holiday_market: StoredMarket, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", holiday_market.database.url)

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(trisignal, ["parity", NQ, *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return run


def test_full_agreement_is_success(
    run: Callable[..., tuple[int, str]],
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    rows = charts("1h")
    for row in rows:
        row["time"] = iso_time(row)
    code, said = run(write_export(tmp_path / "chart.csv", rows))
    assert code == 0, said
    assert f"{len(rows):,} of {len(rows):,} bars agree (100 %)" in said


def test_a_difference_is_failure_unless_so_much_is_allowed(
    run: Callable[..., tuple[int, str]],
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    rows = charts("1h")
    rows[7]["low"] = "12.5"
    path = write_export(tmp_path / "chart.csv", rows)
    code, said = run(path)
    assert code == 1
    assert "first 1 of 1 differences" in said
    assert iso_minute(minute_of(rows[7])) in said
    rate = 100 * (len(rows) - 1) / len(rows)
    assert run(path, "--min-agreement", rate - 0.01)[0] == 0
    assert run(path, "--min-agreement", rate + 0.01)[0] == 1
    assert run(path, "--end", "2024-11-26")[0] == 0


def test_json_holds_everything(
    run: Callable[..., tuple[int, str]],
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    rows = charts("4h")
    row = rows.pop(2)
    truth = rows[4]["open"]
    rows[4]["open"] = "1"
    path = write_export(tmp_path / "chart.csv", rows)
    code, said = run(path, "--format", "json")
    found = json.loads(said)
    assert code == 1
    assert found["bars"] == len(rows) + 1
    assert found["agreeing"] == len(rows) - 1
    assert found["only_in_database"] == {"bars": 1, "first": [iso_minute(minute_of(row))]}
    assert found["only_in_chart"] == {"bars": 0, "first": []}
    assert found["differences"] == [
        {
            "ts": iso_minute(minute_of(rows[4])),
            "line": 6,
            "column": "open",
            "chart": "1",
            "database": f"{float(truth):.12g}",
        }
    ]
    assert {"column": "Bias 4h", "compared": len(rows), "agreeing": len(rows)} in found["columns"]


def test_dates_beyond_the_export_are_refused(
    run: Callable[..., tuple[int, str]],
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    path = write_export(tmp_path / "chart.csv", charts("1h"))
    with pytest.raises(RangeError, match="no bar of the export starts on 2025-01-01"):
        run(path, "--start", "2025-01-01")
