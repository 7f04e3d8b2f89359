"""A server of one's own, with the users and databases that docs/SECURITY.md sets up."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from trisignal_pipeline.storage.embedded import EmbeddedServer

SECURITY = Path(__file__).parents[2] / "docs" / "SECURITY.md"
USERS = ("market_owner", "market_pipeline", "market_desk")


@contextmanager
def documented_server(password: str | None = None) -> Iterator[EmbeddedServer]:
    """A server that has never heard of the product, set up by the document's statements.

    With `password` all three users have it, and have to give it.
    """
    folder = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    folder.chmod(0o755)  # for the account that runs the server where root runs the tests
    server = EmbeddedServer(folder / "home")
    server.ensure_running()
    [statements] = re.findall(
        r"^```postgresql\n(.*?)^```$", SECURITY.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        for statement in filter(str.strip, statements.split(";")):
            administrator.execute(statement.encode())
        if password is not None:
            for user in USERS:
                administrator.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                        sql.Identifier(user), sql.Literal(password)
                    )
                )
            access = server.status().data / "pg_hba.conf"
            access.write_text("local all trisignal trust\nlocal all all scram-sha-256\n")
            administrator.execute("SELECT pg_reload_conf()")
    try:
        yield server
    finally:
        server.reset()
        shutil.rmtree(folder)


def url_of(
    server: EmbeddedServer, user: str, database: str = "market", password: str | None = None
) -> str:
    """Where `user` finds `database`."""
    url = make_url(server.url(database)).set(username=user, password=password)
    # SQLAlchemy leaves blanks as they are, which libpq does not take.
    return url.render_as_string(hide_password=False).replace(" ", "%20")
