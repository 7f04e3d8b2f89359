"""`trisignal api` as a process: where it listens, who is answered, and how it ends."""

from __future__ import annotations

import signal
from pathlib import Path

from trisignal_pipeline_tests.api.running_api import Api
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.end_to_end.webserver import free_port

SECRET = "a-token-of-some-length-0123456789"
SPAN = {
    "symbol": "GLBX.MDP3:NQ",
    "start": "2024-06-24T00:00:00Z",
    "end": "2024-06-25T00:00:00Z",
}


def answers(api: Api) -> bool:
    try:
        return api.get("/healthz").status == 200
    except OSError:
        return False


def test_it_answers_behind_a_token_and_stops_when_it_is_told_to(
    tmp_path: Path, database_url: str
) -> None:
    terminal = CommandLine.with_home(tmp_path, TRISIGNAL_DATABASE_URL=database_url)
    guarded = CommandLine.with_home(
        tmp_path, TRISIGNAL_DATABASE_URL=database_url, TRISIGNAL_API_TOKEN=SECRET
    )
    refused = terminal.run("api", "--host", "0.0.0.0")
    assert refused.exit_code == 1
    assert "TRISIGNAL_API_TOKEN" in refused.err

    api, log = Api(free_port()), tmp_path / "api.log"
    with guarded.started("api", "--host", "0.0.0.0", "--port", str(api.port), log=log) as process:
        wait_until(lambda: answers(api), "server", seconds=60)
        assert api.get("/readyz").status == 200
        assert api.get("bars", **SPAN).status == 401
        borne = {"Authorization": f"Bearer {SECRET}"}
        empty = api.get("bars", borne, **SPAN)
        assert (empty.status, empty.json["rows"]) == (200, 0)
        assert empty.headers["Server"] is None
        figures = api.get("/metrics", borne).content.decode()
        assert (
            'trisignal_api_requests_total{method="GET",route="/readyz",status="200"} 1' in figures
        )
        assert "\ntrisignal_table_bytes{" in figures
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM
    written = log.read_text("utf-8")
    assert f"http://0.0.0.0:{api.port}" in written
    assert SECRET not in written
    assert "Traceback" not in written
