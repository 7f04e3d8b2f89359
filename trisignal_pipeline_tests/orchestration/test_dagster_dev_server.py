"""`dagster dev` as the product starts it: it answers, and it ends with nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.dev_server import run_dev_server
from trisignal_pipeline.settings import Settings

WORKSPACE = """\
load_from:
  - python_module:
      module_name: trisignal_pipeline_tests.orchestration.toy_assets
      attribute: defs
      location_name: toys
"""

SCRIPT = """\
import signal, sys
from pathlib import Path
from trisignal_pipeline.orchestration.dev_server import run_dev_server
from trisignal_pipeline.settings import Settings
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell script that ends its line with &
sys.exit(run_dev_server(
    Settings.from_environment(), port=int(sys.argv[1]), workspace=Path(sys.argv[2])
))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "toys.yaml"
    path.write_text(WORKSPACE)
    return path


def _ask(port: int, query: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)["data"]
        return found


def _wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(0.1)


def _answers(port: int) -> bool:
    try:
        return "version" in _ask(port, "{ version }")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _processes_with(marker: str) -> list[str]:
    """The command lines of all processes whose environment holds `marker`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if marker.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture
def environment(own_settings: Settings, dagster_database: str) -> dict[str, str]:
    return {
        **os.environ,
        "TRISIGNAL_HOME": str(own_settings.home),
        "TRISIGNAL_RAW_DIR": str(own_settings.raw_dir),
        "TRISIGNAL_TEST_MARKER": f"dev-server-{own_settings.home}",
    }


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted in /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_answers_and_a_signal_leaves_no_process_behind(
    stop: signal.Signals, port: int, workspace: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    marker = environment["TRISIGNAL_TEST_MARKER"]
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(port), str(workspace)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until(lambda: _answers(port) or server.poll() is not None, 120, "answer")
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert "toys" in json.dumps(
                _ask(
                    port,
                    "{ workspaceOrError { ... on Workspace {"
                    " locationEntries { name loadStatus } } } }",
                )
            )
            assert len(_processes_with(marker)) > 2

            server.send_signal(stop)
            assert server.wait(120) == 0, (tmp_path / "log").read_text()
        finally:
            server.kill()
            server.wait()
    assert _processes_with(marker) == []


def test_a_server_that_ends_by_itself_is_a_failure(
    port: int, environment: dict[str, str], tmp_path: Path
) -> None:
    missing = tmp_path / "missing.yaml"
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(port), str(missing)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert "missing.yaml" in ended.stderr


def test_a_port_that_is_taken_is_named(own_settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}.*another port"):
            run_dev_server(own_settings, port=port)
    assert not own_settings.home.exists()
