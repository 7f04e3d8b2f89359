"""Compiling the kernels, and where the compiled code is kept.

It is kept in `compiled` in the product's own folder (TRISIGNAL_HOME), below a digest of this
package's sources: an installation may be read-only, and the compiler itself tells sources apart by
time and size, which two releases can share. Where that folder can't be used, every process compiles
for itself, in memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from trisignal_pipeline.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()


def inlined(function: Function) -> Function:
    """Make `function` part of the compiled functions that call it (same file only)."""
    return cast("Function", numba.njit(nogil=True)(function))


def compiled(signature: object) -> Callable[[Function], Function]:
    """Compile a function for one signature, or load it if this machine has compiled it before.

    It happens at once, so that there is one version of the code and no call ever waits for it.
    The compiled function releases the interpreter lock.
    """

    def compile_now(function: Function) -> Function:
        folder = _code_folder(Path(function.__code__.co_filename).parent)
        if folder is not None:
            try:
                return _compile_into(folder, signature, function)
            except Exception as error:  # damaged code fails in as many ways as there are bytes
                _log.warning(
                    "compiled code in %s can't be used (%s: %s), compiling in memory; "
                    "the folder can be deleted",
                    folder,
                    type(error).__name__,
                    error,
                )
        return cast("Function", numba.njit(signature, nogil=True)(function))

    return compile_now


def _compile_into(folder: Path, signature: object, function: Function) -> Function:
    # The compiler knows one folder for the whole process; others in it may have set their own.
    settings: Any = numba.config
    with _one_at_a_time:
        theirs = settings.CACHE_DIR
        settings.CACHE_DIR = str(folder)
        try:
            return cast("Function", numba.njit(signature, nogil=True, cache=True)(function))
        finally:
            settings.CACHE_DIR = theirs


def _code_folder(sources: Path) -> Path | None:
    """Where code compiled from files in `sources` belongs; None if it can't be written there."""
    home = Settings.from_environment({"TRISIGNAL_HOME": os.environ.get("TRISIGNAL_HOME", "")}).home
    try:
        # All of them: compiled code has the constants of other files built in.
        content = b"".join(file.read_bytes() for file in sorted(sources.glob("*.py")))
        folder = home / "compiled" / hashlib.sha256(content).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        _log.info("compiled code can't be kept: %s", error)
        return None
