"""The HTTP interface under load: a day of bars and a day of triangles, beside the bare SQL."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from urllib.parse import urlencode

from trisignal_pipeline_tests.benchmarks.measurement import Measured
from trisignal_pipeline_tests.benchmarks.open_loop import Load, http_load, sql_load
from trisignal_pipeline_tests.benchmarks.trisignal_command import Trisignal, fresh_home
from trisignal_pipeline_tests.end_to_end.command_line import wait_until
from trisignal_pipeline_tests.end_to_end.webserver import free_port

CONNECTIONS = 50
RATE = 100
SECONDS = 20

SYMBOL = "GLBX.MDP3:NQ"
STORED = date(2024, 5, 1), date(2024, 6, 30)
LATER = date(2024, 7, 1), date(2026, 3, 31)
DAYS = [date(2024, 6, day) for day in (3, 4, 5, 6, 7, 10, 11, 12, 13, 14)]

BARE_SQL = {
    "bars": b"SELECT ts, open, high, low, close, volume, contract "
    b"FROM market_bars_ohlcv_1m_clean WHERE symbol = 'GLBX.MDP3:NQ' "
    b"AND ts >= '2024-06-05Z' AND ts < '2024-06-06Z' ORDER BY ts",
    "triangles/events": b"SELECT * FROM triangle_events_v1 WHERE symbol = 'GLBX.MDP3:NQ' "
    b"AND ts >= '2024-06-05Z' AND ts < '2024-06-06Z' ORDER BY ts",
}


def measure() -> Sequence[Measured]:
    """Latencies at a fixed rate, on a quiet machine and while a backfill is writing."""
    figures: list[Measured] = []
    with fresh_home() as trisignal:
        trisignal.generate("NQ", STORED[0], LATER[1])
        _backfill(trisignal, *STORED)
        url = trisignal.run("db", "url").output.strip()
        for path, statement in BARE_SQL.items():
            load = sql_load(url, statement, connections=8, rate=RATE, seconds=SECONDS / 2)
            figures += _figures(f"bare SQL, a day of {path}", load)
        with _serving(trisignal) as port:
            for path in BARE_SQL:
                http_load(port, _targets(path), connections=4, rate=RATE / 4, seconds=2)
                figures += _figures(f"a day of {path}", _load(port, [path]), at_most=100)
                all_at_once = http_load(
                    port, _targets(path), connections=CONNECTIONS, rate=1e6, seconds=1e-3
                )
                figures += [Measured(f"a day of {path}: at most", all_at_once.rate, "a second")]
            writing = trisignal.start("backfill", SYMBOL, *_dates(*LATER))
            try:
                wait_until(lambda: _is_writing(port), "backfill that writes", seconds=60)
                load = _load(port, list(BARE_SQL))
                assert writing.poll() is None, "the backfill ended before the load did"
                figures += _figures("both in turn while a backfill writes", load, at_most=300)
            finally:
                writing.kill()
                writing.wait()
    return figures


def _load(port: int, paths: Sequence[str]) -> Load:
    targets = [target for path in paths for target in _targets(path)]
    return http_load(port, targets, connections=CONNECTIONS, rate=RATE, seconds=SECONDS)


def _figures(what: str, load: Load, at_most: float | None = None) -> list[Measured]:
    return [
        Measured(f"{what}: answers a second", load.rate, ""),
        Measured(f"{what}: median", load.percentile(50), "ms"),
        Measured(f"{what}: 99 of 100", load.percentile(99), "ms", at_most=at_most),
        Measured(f"{what}: errors", load.errors, "", at_most=0),
    ]


def _targets(path: str) -> list[str]:
    """The path for each of some days, so that no one of them is always at hand."""
    return [
        f"/api/hist/v1/{path}?"
        + urlencode({"symbol": SYMBOL, "start": f"{day}T00:00:00Z", "end": f"{day}T23:59:00Z"})
        for day in DAYS
    ]


def _backfill(trisignal: Trisignal, first: date, last: date) -> None:
    trisignal.run("backfill", SYMBOL, *_dates(first, last), "--batch-rows", "50000")


def _dates(first: date, last: date) -> tuple[str, ...]:
    return "--start", str(first), "--end", str(last)


@contextmanager
def _serving(trisignal: Trisignal) -> Iterator[int]:
    port = free_port()
    process = trisignal.start("api", "--port", str(port))
    try:
        wait_until(lambda: _status(port, "/readyz") == 200, "server", seconds=60)
        yield port
    finally:
        process.terminate()
        process.wait()


def _status(port: int, path: str) -> int:
    return _get(port, path)[0]


def _is_writing(port: int) -> bool:
    return b'trisignal_ingest_runs{status="running"} 1' in _get(port, "/metrics")[1]


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()
