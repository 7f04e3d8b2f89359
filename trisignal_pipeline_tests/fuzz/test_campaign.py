"""A bounded part of the campaign: the same cases in every run of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from trisignal_pipeline_tests.fuzz.cases import KINDS, make_case
from trisignal_pipeline_tests.fuzz.file_check import Outcome, check_file
from trisignal_pipeline_tests.fuzz.specimens import generated

CASES_OF_A_KIND = 8


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_damage_ends_in_bars_a_quarantine_or_a_reason(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "case.dbn.zst"
    for turn in range(CASES_OF_A_KIND):
        case = make_case(kind + turn * len(KINDS))
        path.write_bytes(case.content)
        check_file(path)


def test_specimens_are_in_perfect_order(tmp_path: Path) -> None:
    path = tmp_path / "whole.dbn"
    for specimen in generated():
        path.write_bytes(specimen.content)
        assert check_file(path) in {Outcome.LOADED, Outcome.QUARANTINED}
