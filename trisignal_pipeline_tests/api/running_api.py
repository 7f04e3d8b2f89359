"""The application behind a real server on a port of this machine, and what it is asked."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPMessage
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI

from trisignal_pipeline.api.parameters import PREFIX
from trisignal_pipeline_tests.end_to_end.command_line import wait_until


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `content` is unpacked if it came packed."""

    status: int
    headers: HTTPMessage
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The columns of a page."""
        found: dict[str, list[Any]] = self.json["columns"]
        return found

    @property
    def problem(self) -> str:
        """What is said to be wrong."""
        assert self.headers["Content-Type"] == "application/problem+json"
        content = self.json
        assert content["status"] == self.status
        assert content["request_id"] == self.headers["X-Request-Id"]
        return str(content["detail"])


@dataclass(frozen=True, slots=True)
class Api:
    """A server that answers."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET", **asked: object
    ) -> Answer:
        """Ask for a path below the versioned prefix, or from the root if it begins with `/`."""
        target = path if path.startswith("/") else f"{PREFIX}/{path}"
        if asked:
            target += f"?{urlencode(asked)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, headers={**self.headers, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.headers["Content-Encoding"] == "gzip":
            content = gzip.decompress(content)
        return Answer(answer.status, answer.headers, content)


@contextmanager
def running(app: FastAPI) -> Iterator[Api]:
    """The application, served by the server it is served by everywhere."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "server", seconds=30)
        [socket] = server.servers[0].sockets
        yield Api(socket.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
