"""The worked example of docs/SIGNAL.md is what the code says of the sample market."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.market.minutes import parse_minute
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.explain import explain
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars
from trisignal_pipeline.sources.sample_files import SAMPLE_WEEK, write_sample_market
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.checkpoints import DAILY_STATES
from trisignal_pipeline.storage.explanation import Explanation, StoredSignal, explanation_lines

DOCUMENT = (Path(__file__).parents[1] / "docs" / "SIGNAL.md").read_text("utf-8")
NQ = "GLBX.MDP3:NQ"


@pytest.fixture(scope="module")
def sample_bars(tmp_path_factory: pytest.TempPathFactory) -> Bars:
    written = write_sample_market(tmp_path_factory.mktemp("sample"))
    inspected = [inspect(path) for path in sorted(written) if path.name.startswith("nq")]
    files = [file for file in inspected if isinstance(file, DbnFile)]
    leads = lead_contracts([day for file in files for day in file.days], "v")
    span = SAMPLE_WEEK.start_ns, SAMPLE_WEEK.end_ns
    bars = concatenate(part for file in files for part in read_bars(file, leads, *span))
    return bars.take(np.argsort(bars.ts, kind="stable"))


def test_the_explained_minute_is_the_demo_s(sample_bars: Bars) -> None:
    _, _, shown = DOCUMENT.partition(f"trisignal explain {NQ} ")
    [row] = np.flatnonzero(sample_bars.ts == parse_minute(shown.splitlines()[0]))
    before, _ = advance(start(), sample_bars.take(slice(0, row)))
    minute = explain(before, sample_bars.take(slice(row, row + 1)), TriangleFilters())
    stored = StoredSignal(computed=True)
    lines = explanation_lines(Explanation(NQ, CLEAN.name, None, minute, stored))
    assert shown.partition("```text\n")[2].partition("\n```")[0].splitlines() == lines


def test_the_number_of_daily_states_is_as_stated() -> None:
    numbers = {10: "ten"}
    assert f"each of the newest {numbers[DAILY_STATES]} dates" in " ".join(DOCUMENT.split())
