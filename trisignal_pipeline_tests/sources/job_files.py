"""What a job of the vendor leaves beside its files, right and wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

JOB = "GLBX-20240920-ABCDEFGHIJ"


def entry_of(path: Path) -> dict[str, Any]:
    """How a manifest lists the file at `path`."""
    content = path.read_bytes()
    return {
        "filename": path.name,
        "size": len(content),
        "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "urls": {"https": f"https://example.com/{path.name}"},
    }


def write_manifest(
    folder: Path, entries: Sequence[Mapping[str, Any]] | None = None, job_id: str = JOB
) -> Path:
    """A manifest of `entries`, or else of every file in `folder`."""
    if entries is None:
        entries = [entry_of(path) for path in sorted(folder.iterdir()) if path.is_file()]
    path = folder / "manifest.json"
    path.write_text(json.dumps({"job_id": job_id, "files": list(entries)}))
    return path


def write_metadata(folder: Path, job_id: str = JOB, dataset: str = "GLBX.MDP3") -> Path:
    """The metadata of a job."""
    path = folder / "metadata.json"
    query = {"dataset": dataset, "schema": "ohlcv-1m", "symbols": ["NQ.FUT"], "stype_in": "parent"}
    path.write_text(json.dumps({"version": 1, "job_id": job_id, "query": query}))
    return path


def write_conditions(folder: Path, **conditions: str) -> Path:
    """Conditions by date, the dates written `d2024_06_17`."""
    path = folder / "condition.json"
    listed = [
        {
            "date": day.removeprefix("d").replace("_", "-"),
            "condition": condition,
            "last_modified_date": "2024-09-01",
        }
        for day, condition in conditions.items()
    ]
    path.write_text(json.dumps(listed))
    return path
