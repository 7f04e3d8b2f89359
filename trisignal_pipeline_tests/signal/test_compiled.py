"""Compiled code is made once for a machine, and its place can fail without failing the signal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, logging
logging.basicConfig(level=logging.WARNING, format="%(message)s")
import numba
import numpy as np
from trisignal_pipeline.signal import kernel
from trisignal_pipeline.signal.bias import bias_of, no_bars_yet
prices = np.arange(4)
print(json.dumps({
    "loaded": sum(kernel.run_bias.stats.cache_hits.values()),
    "compiled": sum(kernel.run_bias.stats.cache_misses.values()),
    "bias": bias_of(no_bars_yet(), prices, prices, prices, prices)[1].tolist(),
    "their_folder": numba.config.CACHE_DIR,
}))
"""


def load_kernel(home: Path) -> tuple[dict[str, object], str]:
    """Import the kernel in a process of its own; what it found, and what it logged."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TRISIGNAL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which the kernel was compiled once."""
    home = tmp_path_factory.mktemp("home")
    found, _ = load_kernel(home)
    assert (found["loaded"], found["compiled"]) == (0, 1)
    return home


def test_a_second_process_compiles_nothing(home: Path) -> None:
    found, logged = load_kernel(home)
    assert (found["loaded"], found["compiled"]) == (1, 0)
    assert logged == ""


def test_the_compiled_code_lies_in_the_home_folder_below_a_digest(home: Path) -> None:
    kept = [path.relative_to(home).parts for path in home.rglob("*.nbi")]
    assert kept
    assert all(parts[0] == "compiled" and len(parts[1]) == 16 for parts in kept)


def test_the_compiler_s_own_setting_is_left_alone(home: Path) -> None:
    assert load_kernel(home)[0]["their_folder"] == os.environ.get("NUMBA_CACHE_DIR", "")


def test_a_home_that_cannot_be_written_to_costs_only_the_time(tmp_path: Path) -> None:
    in_the_way = tmp_path / "home"
    in_the_way.write_text("a file where the folder should be")
    found, logged = load_kernel(in_the_way)
    assert found["loaded"] == 0
    assert found["bias"] == [0, 1, 1, 1]
    assert logged == ""


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_code_is_compiled_anew_in_memory(tmp_path: Path, home: Path, suffix: str) -> None:
    copied = tmp_path / "home"
    for path in home.rglob("*.nb?"):
        target = copied / path.relative_to(home)
        target.parent.mkdir(parents=True, exist_ok=True)
        damaged = path.suffix == f".{suffix}"
        target.write_bytes(path.read_bytes()[:-100] if damaged else path.read_bytes())
    found, logged = load_kernel(copied)
    assert found["loaded"] == 0
    assert found["bias"] == [0, 1, 1, 1]
    assert "compiling in memory" in logged
