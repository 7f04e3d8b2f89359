"""A bounded part of the campaign: the same cases in every run of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.fuzz.campaign import WHOLE_EVERY, Places, run_cases
from trisignal_pipeline_tests.fuzz.cases import KINDS, make_case
from trisignal_pipeline_tests.fuzz.file_check import Outcome, check_file
from trisignal_pipeline_tests.fuzz.specimens import generated
from trisignal_pipeline_tests.pipeline import make_dagster_template

CASES_OF_A_KIND = 6
WHOLE_CASES = 7


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_damage_ends_in_bars_a_quarantine_or_a_reason(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "case.dbn.zst"
    for turn in range(CASES_OF_A_KIND):
        path.write_bytes(make_case(kind + turn * len(KINDS)).content)
        check_file(path)


def test_damaged_files_go_through_the_whole_product(
    server: EmbeddedServer, migrated_template: str, tmp_path: Path
) -> None:
    places = Places(server, migrated_template, make_dagster_template(server, tmp_path))
    seeds = range(0, WHOLE_CASES * WHOLE_EVERY, WHOLE_EVERY)
    ended = list(run_cases(seeds, places))
    assert [case.fault for case in ended] == [None] * WHOLE_CASES
    assert {case.outcome for case in ended} == set(Outcome)


def test_specimens_are_in_perfect_order(tmp_path: Path) -> None:
    path = tmp_path / "whole.dbn"
    for specimen in generated():
        path.write_bytes(specimen.content)
        assert check_file(path) in {Outcome.LOADED, Outcome.QUARANTINED}


def test_a_case_is_made_from_its_seed_alone() -> None:
    assert make_case(123) == make_case(123)
    assert make_case(123).content != make_case(123 + len(KINDS)).content
