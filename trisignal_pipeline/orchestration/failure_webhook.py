"""Somebody hears of a failed run: a POST to the address that `TRISIGNAL_FAILURE_WEBHOOK` names.

The address often is the secret (who knows it may post), so it is never shown.
"""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from trisignal_pipeline.errors import ConfigurationError, TransientError

WEBHOOK_VARIABLE = "TRISIGNAL_FAILURE_WEBHOOK"
TIMEOUT_SECONDS = 10.0
WAITS_SECONDS = (1.0, 4.0)
"""Before the second and the third attempt. Dagster itself tells a failure once and not again."""

MOST_MESSAGE_CHARACTERS = 2000


class WebhookError(TransientError):
    """The webhook did not take the message."""


def webhook_address(environment: Mapping[str, str] = os.environ) -> str | None:
    """Where failures are posted to; None if nobody wants to hear of them.

    Raises:
        ConfigurationError: the variable holds no http or https address.
    """
    address = environment.get(WEBHOOK_VARIABLE)
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"{WEBHOOK_VARIABLE} must be an http or https address (its value is not shown: it may "
            "be a secret)"
        )
    return address


def failure_message(run: dg.DagsterRun, error: str | None) -> dict[str, Any]:
    """What is posted: which run of which partitions failed and why.

    `text` says it all in one line, which is what chat services show.
    """
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or run.tags.get(PARTITION_NAME_TAG)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, first)
    where = "" if first is None else f" for {first}" + ("" if last == first else f" to {last}")
    reason = " ".join((error or "no reason was recorded").split())[:MOST_MESSAGE_CHARACTERS]
    return {
        "text": f"trisignal: run {run.run_id[:8]} of {run.job_name}{where} failed: {reason}",
        "run_id": run.run_id,
        "job": run.job_name,
        "first_partition": first,
        "last_partition": last,
        "error": reason,
    }


def post(address: str, message: Mapping[str, Any], waits: Sequence[float] = WAITS_SECONDS) -> None:
    """Post `message` as JSON, once more after each of `waits` (seconds) if it isn't taken.

    Raises:
        WebhookError: it was not taken; the address is not in the text.
    """
    for wait in waits:
        try:
            return _post(address, message)
        except WebhookError:
            time.sleep(wait)
    return _post(address, message)


def _post(address: str, message: Mapping[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310  the scheme was checked
        address,
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise WebhookError(f"the failure webhook answered {error.code} {error.reason}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise WebhookError(f"the failure webhook can't be reached: {reason}") from None


@dg.run_failure_sensor(
    minimum_interval_seconds=30,
    default_status=(
        dg.DefaultSensorStatus.RUNNING if webhook_address() else dg.DefaultSensorStatus.STOPPED
    ),
    description=(
        f"Posts every failed run to the address in {WEBHOOK_VARIABLE}. Runs by default where it "
        "is set."
    ),
)
def failures_are_told(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Post one failure."""
    address = webhook_address()
    if address is None:
        return dg.SkipReason(f"{WEBHOOK_VARIABLE} is not set")
    post(address, failure_message(context.dagster_run, _reason(context)))
    return None


def _reason(context: dg.RunFailureSensorContext) -> str | None:
    """What the failed step says, which tells more than that the run failed."""
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        if data.error is not None:
            cause = data.error.cause or data.error
            return f"{cause.cls_name}: {cause.message.removeprefix(f'{cause.cls_name}: ')}"
    return context.failure_event.message
