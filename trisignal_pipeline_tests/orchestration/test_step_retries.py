"""A step is tried again by the class of its error, and nothing of it is told to Dagster twice."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import WILL_RETRY_TAG

from trisignal_pipeline.errors import (
    ApiRefusedError,
    ApiUnavailableError,
    ConfigurationError,
    DatabaseUnavailableError,
    RefusedFileError,
    SymbolBusyError,
)
from trisignal_pipeline.orchestration import step_retries
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.orchestration.range_run import StepFailure, step_failure
from trisignal_pipeline.orchestration.step_retries import retries, tried_again
from trisignal_pipeline.storage.migrations import VERSION_TABLE
from trisignal_pipeline_tests.pipeline import RAW, Pipeline
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, write_day

AWAY = DatabaseUnavailableError("the database is away")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are only noted."""
    noted: list[float] = []
    monkeypatch.setattr(step_retries, "time", SimpleNamespace(sleep=noted.append))
    return noted


def _run(instance: dg.DagsterInstance, errors: Sequence[Exception]) -> tuple[Any, int]:
    """A run of one step whose attempts end in `errors` after an output, one each, and then well."""
    coming, attempts = iter(errors), []

    @dg.op
    @tried_again
    def work(context: dg.OpExecutionContext) -> Iterator[dg.Output[int]]:
        attempts.append(context.retry_number)
        yield dg.Output(context.retry_number)
        if (error := next(coming, None)) is not None:
            raise error

    @dg.job
    def one_step() -> None:
        work()

    result = one_step.execute_in_process(instance=instance, raise_on_error=False)
    return result, len(attempts)


def _count(result: Any, of_type: Callable[[dg.DagsterEvent], bool]) -> int:
    return sum(map(of_type, result.all_events))


def test_an_error_that_may_pass_is_survived_and_outputs_are_told_once(
    instance: dg.DagsterInstance, waits: list[float]
) -> None:
    result, attempts = _run(instance, [AWAY, SymbolBusyError("another run")])

    assert (result.success, attempts) == (True, 3)
    assert waits == [10, 30]
    assert _count(result, lambda event: event.is_successful_output) == 1
    assert result.output_for_node("work") == 2
    warned = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "DatabaseUnavailableError: the database is away; tried again in 10 s" in warned


def test_after_the_last_attempt_the_error_is_told_as_it_is(
    instance: dg.DagsterInstance, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISIGNAL_RETRIES", "2")

    result, attempts = _run(instance, [AWAY] * 9)

    assert (result.success, attempts, len(waits)) == (False, 3, 2)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert step_failure(failure) == StepFailure(
        "work", "DatabaseUnavailableError", "the database is away"
    )


@pytest.mark.parametrize(
    "error", [RefusedFileError("cut"), ApiRefusedError("no"), ValueError("a mistake")]
)
def test_any_other_error_fails_at_once(
    instance: dg.DagsterInstance, waits: list[float], error: Exception
) -> None:
    result, attempts = _run(instance, [error])

    assert (result.success, attempts, waits) == (False, 1, [])
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert step_failure(failure).error_class == type(error).__name__


def test_nothing_is_tried_again_where_the_setting_says_so(
    instance: dg.DagsterInstance, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISIGNAL_RETRIES", "0")

    result, attempts = _run(instance, [AWAY])

    assert (result.success, attempts, waits) == (False, 1, [])


@pytest.mark.parametrize(
    ("asked_for", "attempts", "waited"), [(120, 2, [120]), (2, 2, [10]), (3600, 1, [])]
)
def test_the_api_s_own_wish_for_a_pause_counts(
    instance: dg.DagsterInstance,
    waits: list[float],
    asked_for: float,
    attempts: int,
    waited: list[float],
) -> None:
    busy = ApiUnavailableError("busy", retry_after_seconds=asked_for)

    result, tried = _run(instance, [busy])

    assert (result.success, tried, waits) == (attempts == 2, attempts, waited)


@pytest.mark.parametrize(("named", "number"), [("", 3), ("0", 0), ("12", 12)])
def test_how_often_is_a_setting(named: str, number: int) -> None:
    assert retries({"TRISIGNAL_RETRIES": named}) == number


@pytest.mark.parametrize("named", ["-1", "often", "1.5", "²"])
def test_a_number_that_is_none_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_RETRIES"):
        retries({"TRISIGNAL_RETRIES": named})


def test_a_run_over_a_schema_that_the_code_doesn_t_know_is_not_launched_again(
    pipeline: Pipeline,
) -> None:
    write_day(pipeline.raw, MONDAY)
    with pipeline.instance() as instance:
        pipeline.query(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
        failed = pipeline.launch(
            instance, [RAW], partition_key=partition_key(NQ, MONDAY), raise_on_error=False
        )
        run = instance.get_run_by_id(failed.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.tags[WILL_RETRY_TAG] == "false"
