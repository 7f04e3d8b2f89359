"""The Dagster UI on this machine: `dagster dev`, started so that it can also be stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.instance import environment_of_services
from trisignal_pipeline.settings import Settings, project_file

STOP_TIMEOUT_SECONDS = 60.0
"""How long Dagster may take to end its services and code servers by itself."""

LEFT_BEHIND_TIMEOUT_SECONDS = 5.0
"""How long what is left after that may take."""

_POLL_SECONDS = 0.1

_SUPERSEDED = "Function `dev_command` is superseded"
"""Dagster recommends `dg dev`, which wants a project laid out its own way."""


def run_dev_server(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    workspace: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run webserver and daemon until SIGINT, SIGTERM or SIGHUP; call from the main thread.

    `workspace` is the file that says what they load; None means the product's own.

    Returns 0 after a signal. Otherwise Dagster's own exit code, or 1 where it calls the loss of a
    service a success. No process of Dagster is left behind.

    Raises:
        ConfigurationError: the port is taken, or Dagster's folder can't be made.
    """
    _require_free(host, port)
    variables = environment_of_services(settings, environment)
    command = [sys.executable, "-W", f"ignore:{_SUPERSEDED}"]
    command += ["-m", "dagster", "dev", "--host", host, "--port", str(port)]
    command += ["--workspace", str(workspace or project_file("workspace.yaml"))]
    with _stop_signals() as received:
        child = subprocess.Popen(
            command,
            env=variables,
            # Dagster warns of any other dagster.yaml in the folder that it is started in.
            cwd=variables["DAGSTER_HOME"],
            # A terminal sends Ctrl-C to the whole group, and a second one on top of ours would
            # interrupt Dagster while it ends its services.
            start_new_session=True,
        )
        try:
            while child.poll() is None and not received:
                time.sleep(_POLL_SECONDS)
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(STOP_TIMEOUT_SECONDS)
        finally:
            _end_group(child)
    return 0 if received else child.returncode or 1


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"the UI can't listen on {host}:{port} ({error.strerror}); choose another port"
            ) from error


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect the signals that ask to stop, instead of dying of them.

    A process started in the background by a script ignores SIGINT, and hands that on to its
    children, which then can't be stopped. A handler, other than that, is not inherited.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in stopping}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End what is left of the child's process group, itself included."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + LEFT_BEHIND_TIMEOUT_SECONDS
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        while _group_lives(child) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    child.wait()


def _group_lives(child: subprocess.Popen[bytes]) -> bool:
    child.poll()
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True
