"""How the server is: its probes and its figures."""

from __future__ import annotations

import re

from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.api.running_api import running

DAY = {
    "symbol": "GLBX.MDP3:NQ",
    "start": "2024-11-26T00:00:00Z",
    "end": "2024-11-27T00:00:00Z",
}
_LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? \S+')


def test_figures_are_of_requests_by_route_and_of_the_pipeline_s_health(week: Database) -> None:
    with running(build_app(week)) as api:
        for _ in range(3):
            api.get("bars", **DAY)
        api.get("bars", **DAY | {"symbol": "GLBX.MDP3:XX"})
        api.get("/some/path")
        api.get("/another/path")
        api.get("bars", method="PATCH")
        answer = api.get("/metrics")

    lines = answer.content.decode().splitlines()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert all(line.startswith(("# HELP ", "# TYPE ")) or _LINE.fullmatch(line) for line in lines)
    route = 'route="/api/hist/v1/bars"'
    requests = "trisignal_api_requests_total"
    assert f'{requests}{{method="GET",{route},status="200"}} 3' in lines
    assert f'{requests}{{method="GET",{route},status="404"}} 1' in lines
    assert f'{requests}{{method="GET",route="none",status="404"}} 2' in lines
    assert f'{requests}{{method="other",{route},status="405"}} 1' in lines
    assert f'trisignal_api_request_seconds_bucket{{{route},le="+Inf"}} 5' in lines
    assert f"trisignal_api_request_seconds_count{{{route}}} 5" in lines
    bars = 'trisignal_stored_rows{table="market_bars_ohlcv_1m_clean",symbol="GLBX.MDP3:NQ"}'
    assert any(line.startswith(bars) for line in lines)


def test_every_request_has_a_number_of_its_own(week: Database) -> None:
    with running(build_app(week)) as api:
        numbers = {api.get("/healthz").headers["X-Request-Id"] for _ in range(3)}
    assert len(numbers) == 3
