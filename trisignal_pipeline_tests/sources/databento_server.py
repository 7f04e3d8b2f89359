"""A stand-in for Databento's API that the official client talks to: https, its paths, its answers.

It sells the tiny market by continuous symbols, and misbehaves as a test tells it to.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import trustme

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline_tests import tiny_market
from trisignal_pipeline_tests.sources.dbn_encoder import RecordArray, compress, encode

KEY = "db-PlantedKey0123456789abcdefghi"

RANGE, CONDITION, COST, BARS = (
    "metadata.get_dataset_range",
    "metadata.get_dataset_condition",
    "metadata.get_cost",
    "timeseries.get_range",
)

Query = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """One answer out of the ordinary; the next one is ordinary again.

    detail      what an error answer says
    body        what is sent instead of the ordinary body
    headers     sent as well
    breaks_at   after which share of the body the connection is closed
    stalls_at   after which share of the body nothing more comes until the server is released
    """

    status: int = 200
    detail: object = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    breaks_at: float | None = None
    stalls_at: float | None = None


@dataclass
class DatabentoServer:
    """What the stand-in sells, how it is told to misbehave, and what it was asked for.

    sold        how the bars of one date and root are made
    available   the dates it has whole
    conditions  days that are not `available`
    dollars_a_day   what a date costs
    mapped      names of further instruments, and their ids
    """

    gateway: str = ""
    authority: Path = Path()
    available: DateRange = DateRange(date(2010, 6, 6), date(2024, 12, 31))  # noqa: RUF009
    conditions: dict[date, str] = field(default_factory=dict)
    dollars_a_day: float = 0.125
    mapped: dict[str, str] = field(default_factory=dict)
    sold: Callable[[date, str], RecordArray] = tiny_market.bars
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, Query]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def will(self, endpoint: str, *answers: Answer) -> None:
        """Answer the next questions of `endpoint` like this."""
        self.answers.setdefault(endpoint, []).extend(answers)

    def count(self, endpoint: str) -> int:
        """How often `endpoint` was asked."""
        return sum(asked == endpoint for asked, _ in self.asked)

    @property
    def bought(self) -> list[DateRange]:
        """The dates of every download that was begun."""
        return [_dates(query) for endpoint, query in self.asked if endpoint == BARS]

    def bars_file(self, query: Query) -> bytes:
        """The file that a download of `query` is answered with."""
        dates, symbol = _dates(query), query["symbols"]
        root = symbol.partition(".")[0]
        days = [self.sold(day, root) for day in dates if day.weekday() != 5]
        names = {**self.mapped, symbol: str(tiny_market.IDS[root])}
        return compress(
            encode(
                np.concatenate(days) if days else b"",
                mapping={
                    name: [(dates.start, dates.end + timedelta(1), number)]
                    for name, number in names.items()
                },
                symbols=(symbol,),
                stype_in="continuous",
                dataset=query["dataset"],
                schema=query["schema"],
                start=dates.start_ns,
                end=dates.end_ns,
            )
        )

    def ordinary(self, endpoint: str, query: Query) -> bytes:
        """The body of an answer without mischief."""
        if endpoint == BARS:
            return self.bars_file(query)
        if endpoint == RANGE:
            span = {
                "start": f"{self.available.start}T00:00:00.000000000Z",
                "end": f"{self.available.end + timedelta(1)}T00:00:00.000000000Z",
            }
            return json.dumps({**span, "schema": {"ohlcv-1m": span}}).encode()
        if endpoint == COST:
            return json.dumps(self.dollars_a_day * len(_dates(query))).encode()
        dates = DateRange(
            date.fromisoformat(query["start_date"]), date.fromisoformat(query["end_date"])
        )
        return json.dumps(
            [
                {
                    "date": str(day),
                    "condition": self.conditions.get(day, "available"),
                    "last_modified_date": "2024-12-31",
                }
                for day in dates
                if day.weekday() != 5
            ]
        ).encode()


def error(status: int, case: str, message: str, **headers: str) -> Answer:
    """An error answer as the API words them."""
    detail = {"case": case, "message": message, "status_code": status, "docs": "", "payload": {}}
    return Answer(status, detail, headers=headers)


@contextmanager
def running(folder: Path) -> Iterator[DatabentoServer]:
    """A server on a port of its own; its authority's certificate lies in `folder`."""
    authority = trustme.CA()
    market = DatabentoServer(authority=folder / "authority.pem")
    authority.cert_pem.write_to_path(str(market.authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = _Server(("127.0.0.1", 0), _handler(market))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    market.gateway = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield market
    finally:
        market.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that go away in mid-answer are part of the tests."""


def _handler(market: DatabentoServer) -> type[BaseHTTPRequestHandler]:
    credentials = f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(dict(parse_qsl(urlsplit(self.path).query)))

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._answer(dict(parse_qsl(self.rfile.read(length).decode())))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _answer(self, query: Query) -> None:
            endpoint = urlsplit(self.path).path.removeprefix("/v0/")
            market.asked.append((endpoint, query))
            waiting = market.answers.get(endpoint, [])
            answer = waiting.pop(0) if waiting else Answer()
            if self.headers["Authorization"] != credentials:
                answer = error(401, "auth_invalid_api_key", "The API key is invalid.")
            if answer.status != 200:
                body = json.dumps({"detail": answer.detail}).encode()
            elif answer.body is not None:
                body = answer.body
            else:
                body = market.ordinary(endpoint, query)
            self._send(answer, body)

        def _send(self, answer: Answer, body: bytes) -> None:
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            stop = answer.breaks_at if answer.stalls_at is None else answer.stalls_at
            self.wfile.write(body if stop is None else body[: int(len(body) * stop)])
            self.wfile.flush()
            if answer.stalls_at is not None:
                market.stalled.set()
                market.released.wait()

    return Handler


def _dates(query: dict[str, Any]) -> DateRange:
    first, end = (_day(query[name]) for name in ("start", "end"))
    return DateRange(first, end - timedelta(1))


def _day(text: str) -> date:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).date()
