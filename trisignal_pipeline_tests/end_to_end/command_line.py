"""The `trisignal` command as a user runs it: a process, an environment, what it prints."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trisignal_pipeline.cli import main
from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE

COMMAND = (sys.executable, "-c", "from trisignal_pipeline.cli import main; main()")

_OURS = ("TRISIGNAL_", "DAGSTER_")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to."""

    exit_code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of CSV output."""
        return list(csv.DictReader(io.StringIO(self.out)))


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A terminal in the folder `cwd`, with the variables `settings` and none of the suite's."""

    settings: dict[str, str]
    cwd: Path

    @classmethod
    def with_home(cls, folder: Path, raw: Path | None = None, **settings: str) -> CommandLine:
        """A terminal in an empty folder, with a home of its own below `folder`."""
        cwd = folder / "cwd"
        cwd.mkdir(parents=True, exist_ok=True)
        home = {
            "TRISIGNAL_HOME": str(folder / "home"),
            "TRISIGNAL_RAW_DIR": str(raw or folder / "raw"),
        }
        return cls({**home, **settings}, cwd)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(_OURS)
        }
        return {**inherited, **self.settings}

    def run(self, *arguments: str, timeout_seconds: float = 180) -> Answer:
        """Run a command in a process of its own."""
        ended = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    def succeed(self, *arguments: str) -> Answer:
        """Run a command that must end well."""
        answer = self.run(*arguments)
        assert answer.exit_code == 0, answer.err
        return answer

    @contextmanager
    def started(self, *arguments: str, log: Path) -> Iterator[subprocess.Popen[str]]:
        """A command that is running, its output in `log`; killed at the end if it still is."""
        with log.open("w") as output:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=self.environment,
                cwd=self.cwd,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class DemoHome:
    """A home in which `trisignal demo` has run once, and what it printed."""

    terminal: CommandLine
    answer: Answer


@dataclass(frozen=True, slots=True)
class QuickCommandLine:
    """The same commands called in this process, which has Dagster loaded; the suite's environment.

    For what a command says and returns, where a process for each would cost seconds.
    """

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Answer:
        """Run a command."""
        self.capture.readouterr()
        self.patch.setattr(sys, "argv", ["trisignal", *arguments])
        exit_code = 0
        try:
            main()
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        printed = self.capture.readouterr()
        return Answer(exit_code, printed.out, printed.err)

    def set(self, name: str, value: str) -> None:
        """Set a variable of the environment."""
        self.patch.setenv(name, value)

    def use_database(self, url: str) -> None:
        """Let it be another server; Dagster's database lies beside it, as it does by default."""
        self.patch.setenv("TRISIGNAL_DATABASE_URL", url)
        self.patch.delenv(URL_VARIABLE, raising=False)


@contextmanager
def stopped_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    """Let a command end as Ctrl-C ends it, whatever happens: killed, it leaves its own behind."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(90)


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float = 120, every: float = 0.05
) -> None:
    """Look again and again, `every` so many seconds, until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(every)
