"""A real PostgreSQL server of the tests' own, gone when they end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from trisignal_pipeline.storage.embedded import EmbeddedServer


@contextmanager
def throwaway_server() -> Iterator[EmbeddedServer]:
    """A running server in a home that is deleted with it."""
    home = Path(tempfile.mkdtemp(prefix="trisignal-tests-"))
    # Where root runs the tests another account runs the server, and has to get here.
    home.chmod(0o755)
    server = EmbeddedServer.for_home(home, os.environ)
    server.ensure_running()
    # Databases are made by the hundred: a third of the time if none need outlive the machine.
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield server
    finally:
        server.reset()
        shutil.rmtree(home)
