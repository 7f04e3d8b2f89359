"""Looking at an embedded server from outside: its data, its processes."""

from __future__ import annotations

from pathlib import Path

import psycopg

from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.server_process import name_of


def answer_of(server: EmbeddedServer) -> int:
    """The one row that the fixture `embedded` stored."""
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT answer FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def processes_of(server: EmbeddedServer) -> list[int]:
    """Every process of the server, by the name they all carry."""
    name = name_of(server.status().data.parent).encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and name in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
