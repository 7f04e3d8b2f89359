"""The tree of errors: whether to try again is a property of the class."""

from __future__ import annotations

import inspect
import re

import pytest

from trisignal_pipeline import errors
from trisignal_pipeline.errors import TerminalError, TransientError, TrisignalError

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if found.__module__ == errors.__name__
]
LEAVES = [found for found in CLASSES if not found.__subclasses__()]


@pytest.mark.parametrize("error", LEAVES)
def test_every_error_either_may_pass_or_wont(error: type[TrisignalError]) -> None:
    assert issubclass(error, TransientError) != issubclass(error, TerminalError)


def test_every_error_has_one_root() -> None:
    assert all(issubclass(error, TrisignalError) for error in CLASSES)
    assert not issubclass(TrisignalError, (OSError, ValueError))


def test_the_tree_in_the_module_is_the_tree_of_the_classes() -> None:
    drawn = re.findall(r"^ {4}( *)([A-Z]\w+Error)\b", errors.__doc__ or "", re.MULTILINE)

    assert {name for _, name in drawn} == {error.__name__ for error in CLASSES}
    parents: list[str] = []
    for indent, name in drawn:
        depth = len(indent) // 2
        parents = [*parents[:depth], name]
        assert getattr(errors, name).__base__.__name__ == (parents[-2] if depth else "Exception")


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_says_what_it_means(error: type[TrisignalError]) -> None:
    assert error.__doc__
    assert error.__doc__.endswith(".")
