"""What goes wrong in the guarded process is told, and the next call is answered all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from trisignal_pipeline_tests.fuzz.guarded import Guarded, Limits


@contextmanager
def _misbehaving() -> Iterator[Callable[[str], str]]:
    yield _misbehave


def _misbehave(how: str) -> str:
    if how == "hangs":
        signal.pause()
    if how == "dies":
        os._exit(7)
    if how.startswith("takes"):
        held = b"x" * (int(how.split()[1]) << 20)
        return f"{len(held)}"
    if how == "raises":
        raise SystemExit("on purpose")
    return how


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with Guarded(_misbehaving, limits=Limits(seconds=2.0, memory_mb=200)) as started:
        yield started


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("hangs", "it hangs: no answer after 2 s"),
        ("dies", "the process died (exit code 7)"),
        ("takes 300 MB", "MB of memory"),
        ("takes 900 MB", "MemoryError"),
        ("raises", "SystemExit: on purpose"),
    ],
)
def test_a_fault_is_told_and_the_next_call_is_answered(
    guarded: Guarded, how: str, fault: str
) -> None:
    assert fault in (guarded.call(how).fault or "")
    answer = guarded.call("behaves")
    assert (answer.value, answer.fault) == ("behaves", None)
