"""Steps that are tried again where that can help: by the class of the error, never by its text."""

# Dagster reads the annotations of what is wrapped here: no postponed evaluation in this file.

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from trisignal_pipeline.errors import ApiUnavailableError, ConfigurationError, TransientError
from trisignal_pipeline.orchestration.lost_runs import tell_worker

RETRIES_VARIABLE = "TRISIGNAL_RETRIES"
DEFAULT_RETRIES = 3

FIRST_WAIT_SECONDS = 10.0
WAITS_GROW_BY = 3.0
LONGEST_WAIT_SECONDS = 300.0
"""What asks for a longer pause had better end and say so."""


def retries(environment: Mapping[str, str] = os.environ) -> int:
    """How often a step is tried again: `TRISIGNAL_RETRIES`, or 3; 0 means never.

    Raises:
        ConfigurationError: the variable holds no whole number from 0 up.
    """
    named = environment.get(RETRIES_VARIABLE)
    if not named:
        return DEFAULT_RETRIES
    if not (named.isascii() and named.isdigit()):
        raise ConfigurationError(
            f"{RETRIES_VARIABLE} is {named!r}; write a whole number, or 0 to try nothing again"
        )
    return int(named)


def tried_again(step: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`step`, which Dagster repeats from its start where it ends in a `TransientError`.

    `step` takes `context` and yields events. They reach Dagster when all of them are there: what
    was yielded before an error would otherwise be yielded twice. Any other error, and the last one
    of all attempts, fails the step as it is.
    """

    @functools.wraps(step)
    def attempt(context: dg.AssetExecutionContext, **arguments: Any) -> Iterator[Any]:
        tell_worker(context.instance, context.run)
        try:
            events = list(step(context, **arguments))
        except TransientError as error:
            wait = _wait_seconds(error, context.retry_number)
            if wait is None:
                raise
            context.log.warning(
                "%s: %s; tried again in %g s", type(error).__name__, error, round(wait, 1)
            )
            # Dagster's own waiting hears of no cancellation before its end.
            time.sleep(wait)
            raise dg.RetryRequested(max_retries=context.retry_number + 1) from error
        yield from events

    return attempt


def _wait_seconds(error: TransientError, retried: int) -> float | None:
    """How long to wait before the next attempt; None if there is to be none."""
    if retried >= retries():
        return None
    wait = min(FIRST_WAIT_SECONDS * WAITS_GROW_BY**retried, LONGEST_WAIT_SECONDS)
    asked_for = error.retry_after_seconds if isinstance(error, ApiUnavailableError) else None
    if asked_for is not None and asked_for > LONGEST_WAIT_SECONDS:
        return None
    return max(wait, asked_for or 0)
