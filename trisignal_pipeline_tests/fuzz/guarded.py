"""Calls into a process of its own, which may hang, crash or take too much memory without harm."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from trisignal_pipeline_tests.benchmarks.measurement import peak_mb

_SPAWN = get_context("spawn")
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0

Make = Callable[..., AbstractContextManager[Callable[[Any], Any]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take: seconds, and MB of memory that are really there at once."""

    seconds: float = 60.0
    memory_mb: int = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: its value, or the fault that it ended with."""

    value: Any = None
    fault: str | None = None
    seconds: float = 0.0
    peak_mb: float = 0.0


class Guarded:
    """A function of one argument in a process of its own, made anew after every fault.

    `make` is called in that process, and what it opens is closed with it.
    """

    def __init__(self, make: Make, *arguments: Any, limits: Limits) -> None:
        self._make = make
        self._arguments = arguments
        self._limits = limits
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def call(self, argument: Any) -> Answer:
        """The function's answer to `argument`."""
        pipe = self._started()
        began = time.monotonic()
        try:
            pipe.send(argument)
            if not pipe.poll(self._limits.seconds):
                self._stop(wait=False)
                return Answer(fault=f"it hangs: no answer after {self._limits.seconds:g} s")
            answer: Answer = pipe.recv()
        except (EOFError, OSError):
            code = self._stop()
            return Answer(fault=f"the process died (exit code {code})")
        if answer.fault is None and answer.peak_mb > self._limits.memory_mb:
            answer = replace(answer, fault=f"it took {answer.peak_mb:,.0f} MB of memory")
        if answer.fault is not None:
            self._stop()
        return replace(answer, seconds=time.monotonic() - began)

    def _started(self) -> Connection:
        if self._pipe is None:
            self._pipe, other = _SPAWN.Pipe()
            self._process = _SPAWN.Process(
                target=_serve,
                args=(other, self._make, self._arguments, self._limits.memory_mb),
                daemon=True,
            )
            self._process.start()
            other.close()
            # The process says once that it is ready: what it imports counts for no call.
            if not self._pipe.poll(_START_SECONDS):
                self._stop(wait=False)
                raise TimeoutError(f"the process did not start within {_START_SECONDS:g} s")
            self._pipe.recv()
        return self._pipe

    def _stop(self, *, wait: bool = True) -> int | None:
        if self._process is None or self._pipe is None:
            return None
        self._pipe.close()
        self._process.join(_STOP_SECONDS if wait else 0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        self._process = self._pipe = None
        return code


def _serve(
    pipe: Connection,
    make: Make,
    arguments: tuple[Any, ...],
    memory_mb: int,
) -> None:
    # Twice what is allowed, so that what takes too much is told by how much; never the machine.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 21, memory_mb << 21))
    with suppress(EOFError, OSError), make(*arguments) as function:
        pipe.send(None)
        while True:
            argument = pipe.recv()
            try:
                answer = Answer(function(argument), peak_mb=peak_mb())
            # Not only exceptions: a panic of Rust is none.
            except BaseException:
                answer = Answer(fault=traceback.format_exc(limit=-8))
            pipe.send(answer)
