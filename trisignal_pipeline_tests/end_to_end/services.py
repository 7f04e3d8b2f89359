"""A deployment's processes: Redis, daemon, workers, each in a process group that ends with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from trisignal_pipeline.settings import project_file
from trisignal_pipeline_tests.end_to_end.command_line import CommandLine, wait_until
from trisignal_pipeline_tests.end_to_end.webserver import free_port

DAEMON = (sys.executable, "-m", "dagster._daemon", "run")
WEBSERVER = (sys.executable, "-m", "dagster_webserver")

Service = subprocess.Popen[bytes]


@contextmanager
def service(terminal: CommandLine, command: Sequence[str], log: Path) -> Iterator[Service]:
    """A process that is running, its output in `log`; killed at the end with all it started."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=terminal.environment,
            cwd=terminal.cwd,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: Service) -> None:
    """SIGKILL for the process and everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def running_redis(folder: Path, password: str) -> Iterator[str]:
    """The URL of a Redis that asks for `password`. Skips the test where there is no Redis."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not on this machine (Debian: apt-get install redis-server)")
    port = free_port()
    options = {"port": str(port), "bind": "127.0.0.1", "save": "", "requirepass": password}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with (folder / "redis.log").open("w") as log:
        process = subprocess.Popen([program, *words], cwd=folder, stdout=log)
    client = redis.Redis(port=port, password=password)

    def answers() -> bool:
        with suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    try:
        wait_until(answers, "Redis", seconds=20)
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        client.close()
        process.kill()
        process.wait()


def deployment(folder: Path, raw: Path, configuration: str, **settings: str) -> CommandLine:
    """Where services are started, with `configuration` as the `dagster.yaml` of `DAGSTER_HOME`."""
    home = folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text(configuration)
    return CommandLine.with_home(folder, raw, DAGSTER_HOME=str(home), **settings)


def deployed(name: str) -> str:
    """A file of deploy/."""
    return (project_file("deploy") / name).read_text("utf-8")
