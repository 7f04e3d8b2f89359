"""The campaign: case after case in a guarded process, some of them through the whole product.

A case is its seed; where the specimens are the same, so is the case.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.fuzz.cases import KINDS, make_case
from trisignal_pipeline_tests.fuzz.file_check import Outcome, check_file
from trisignal_pipeline_tests.fuzz.guarded import Guarded, Limits
from trisignal_pipeline_tests.fuzz.pipeline_check import check_pipeline
from trisignal_pipeline_tests.pipeline import open_pipeline

WHOLE_EVERY = 12
"""Of so many cases one goes through the whole product; no multiple of the number of kinds."""

CASE_LIMITS = Limits(seconds=60.0, memory_mb=1024)

SEEDS_OF_A_CAMPAIGN = 1_000_000


@dataclass(frozen=True, slots=True)
class Ended:
    """How a case ended. `fault` is what went wrong, None if nothing did."""

    seed: int
    kind: str
    outcome: Outcome | None
    fault: str | None
    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Places:
    """Where the whole product runs: a server, and databases on it to copy."""

    server: EmbeddedServer
    bars_template: str
    dagster_template: str


def seeds_from(seed: int) -> Iterator[int]:
    """The seeds of the cases of the campaign `seed`."""
    first = seed * SEEDS_OF_A_CAMPAIGN
    yield from range(first, first + SEEDS_OF_A_CAMPAIGN)


def run_cases(
    seeds: Iterable[int], places: Places, limits: Limits = CASE_LIMITS
) -> Iterator[Ended]:
    """Run the cases of `seeds`, one after the other."""
    with Guarded(case_runner, places, limits=limits) as runner:
        for seed in seeds:
            answer = runner.call(seed)
            yield Ended(
                seed,
                KINDS[seed % len(KINDS)],
                answer.value,
                answer.fault,
                answer.seconds,
                answer.peak_mb,
            )


@contextmanager
def case_runner(places: Places) -> Iterator[Callable[[int], Outcome]]:
    """What runs a case by its seed, in the process it will run in."""
    with (
        tempfile.TemporaryDirectory(prefix="trisignal-fuzz-") as folder,
        open_pipeline(
            places.server, places.bars_template, places.dagster_template, Path(folder)
        ) as pipeline,
    ):

        def run(seed: int) -> Outcome:
            case = make_case(seed)
            path = Path(folder, "case.dbn.zst")
            path.write_bytes(case.content)
            outcome = check_file(path)
            if seed % WHOLE_EVERY == 0:
                check_pipeline(pipeline, f"{seed}", [case.content, case.delivered_again])
            return outcome

        yield run
