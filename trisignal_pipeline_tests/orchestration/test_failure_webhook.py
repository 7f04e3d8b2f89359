"""A failed run reaches the webhook, and the webhook's address reaches nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.definitions import build_defs
from trisignal_pipeline.orchestration.failure_webhook import (
    WEBHOOK_VARIABLE,
    WebhookError,
    failures_are_told,
    post,
    webhook_address,
)
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ


@dataclass(slots=True)
class Listener:
    """A server that takes messages, after answering with `refusals` first."""

    address: str = ""
    refusals: list[int] = field(default_factory=list)
    asked: int = 0
    received: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    heard = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = heard.refusals.pop(0) if heard.refusals else 200
            if status == 200:
                assert self.headers["Content-Type"] == "application/json"
                heard.received.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard.address = f"http://127.0.0.1:{server.server_port}/hook/verysecret"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield heard
        server.shutdown()
        thread.join()


def _tick(instance: dg.DagsterInstance, cursor: str | None) -> str | None:
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=build_defs().get_repository_def()
    ) as context:
        return failures_are_told.evaluate_tick(context).cursor


def test_a_failed_run_is_posted_once_with_its_partitions_and_the_reason(
    pipeline: Pipeline, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEBHOOK_VARIABLE, listener.address)
    pipeline.raw.rmdir()
    with pipeline.instance() as instance:
        cursor = _tick(instance, None)
        backfilled = pipeline.backfill(MONDAY, MONDAY)
        assert not backfilled.succeeded
        cursor = _tick(instance, cursor)
        _tick(instance, cursor)

    [message] = listener.received
    assert [message["run_id"]] == list(backfilled.run_ids)
    assert message["first_partition"] == message["last_partition"] == f"{MONDAY}|{NQ}"
    assert "can't be read" in message["error"]
    assert message["error"] in message["text"]


def test_a_webhook_that_is_down_for_a_moment_is_asked_again(listener: Listener) -> None:
    listener.refusals = [503, 429]
    post(listener.address, {"text": "hello"}, waits=(0, 0))
    assert listener.received == [{"text": "hello"}]


def test_a_webhook_that_stays_away_is_an_error_that_keeps_the_address_secret(
    listener: Listener,
) -> None:
    listener.refusals = [500] * 3
    with pytest.raises(WebhookError, match="answered 500") as failed:
        post(listener.address, {"text": "hello"}, waits=(0, 0))
    assert listener.asked == 3
    assert "verysecret" not in str(failed.value)

    with pytest.raises(WebhookError, match="can't be reached") as failed:
        post("http://127.0.0.1:9/verysecret", {}, waits=())
    assert "verysecret" not in str(failed.value)


def test_an_address_that_is_none_is_refused_without_being_shown() -> None:
    assert webhook_address({}) is None
    for address in ("ftp://host/verysecret", "verysecret", "file:///etc/verysecret", "http://"):
        with pytest.raises(ConfigurationError, match=WEBHOOK_VARIABLE) as refused:
            webhook_address({WEBHOOK_VARIABLE: address})
        assert "verysecret" not in str(refused.value)
