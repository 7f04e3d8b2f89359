"""Each request: its number, how long it took, what it came to, and what it may not leave behind.

Figures are kept by the route's own pattern, never by the path as it was asked for, so that nobody
can make them grow without end.
"""

from __future__ import annotations

import threading
import time
import uuid
from bisect import bisect_left
from collections import defaultdict

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trisignal_pipeline.api import problems

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the histogram of latencies."""

_HEADERS = {
    # The page's own scripts and styles, and nothing from elsewhere; the digest is that of the one
    # style that the charting library adds, for its logo.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY='; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_NO_ROUTE = "none"


class RequestFigures:
    """How many requests were answered, with what, and how long it took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, int], int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(SECONDS) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        with self._lock:
            self._counts[route, method, status] += 1
            self._buckets[route][bisect_left(SECONDS, seconds)] += 1
            self._sums[route] += seconds

    def exposition(self) -> str:
        """The figures in Prometheus' text format."""
        with self._lock:
            counts, sums = dict(self._counts), dict(self._sums)
            buckets = {route: list(of_route) for route, of_route in self._buckets.items()}
        lines = [
            "# HELP trisignal_api_requests_total requests that were answered",
            "# TYPE trisignal_api_requests_total counter",
            *(
                f'trisignal_api_requests_total{{method="{method}",route="{route}",'
                f'status="{status}"}} {count}'
                for (route, method, status), count in sorted(counts.items())
            ),
            "# HELP trisignal_api_request_seconds how long requests took",
            "# TYPE trisignal_api_request_seconds histogram",
        ]
        for route, of_route in sorted(buckets.items()):
            below = 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), of_route, strict=True):
                below += count
                lines.append(
                    f'trisignal_api_request_seconds_bucket{{route="{route}",le="{bound}"}} {below}'
                )
            lines.append(f'trisignal_api_request_seconds_sum{{route="{route}"}} {sums[route]!r}')
            lines.append(f'trisignal_api_request_seconds_count{{route="{route}"}} {below}')
        return "".join(f"{line}\n" for line in lines)


class RequestsServed:
    """Numbers and times each request, adds the headers of every answer, and lets no error out."""

    def __init__(self, app: ASGIApp, figures: RequestFigures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        method = scope["method"]
        if method == "HEAD":
            # The same answer; the server leaves its content out.
            scope = {**scope, "method": "GET"}
        scope.setdefault("state", {})["request_id"] = request_id = uuid.uuid4().hex[:16]
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status:
                raise  # half an answer is out: only its connection can say that it ended badly
            await problems.of_error(scope, error)(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            seconds = time.perf_counter() - began
            self._figures.add(route, _known(method), status, seconds)


def _known(method: str) -> str:
    return method if method in {"GET", "HEAD", "OPTIONS", "POST"} else "other"
