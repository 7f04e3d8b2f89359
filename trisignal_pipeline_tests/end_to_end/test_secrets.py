"""No secret is written anywhere: some are planted, work goes well and fails, and all is searched.

Searched is everything that was written: what commands printed, every file below the home, the
server's log, and every value of every table of both databases, Dagster's packed ones too.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from trisignal_pipeline.orchestration.dagster_database import URL_VARIABLE
from trisignal_pipeline.orchestration.failure_webhook import WEBHOOK_VARIABLE
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.sources import databento_api
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.end_to_end.command_line import (
    CommandLine,
    QuickCommandLine,
    wait_until,
)
from trisignal_pipeline_tests.end_to_end.market_server import documented_server, url_of
from trisignal_pipeline_tests.end_to_end.webserver import Webserver, free_port
from trisignal_pipeline_tests.tiny_market import MONDAY, NQ, TUESDAY, WEDNESDAY, write_days

# Each with a part that no way of quoting changes, which is what is searched for.
PASSWORD = "Pl4ntedPassword/:@ %é"
WRONG_PASSWORD = "Wr0ngPassword/:@ %é"
API_KEY = "db-Pl4ntedKeyOfDatabento0123456"
WEBHOOK_TOKEN = "Pl4ntedWebhookToken"
TOKENS = ("Pl4ntedPassword", "Wr0ngPassword", "Pl4ntedKeyOfDatabento", WEBHOOK_TOKEN)

DATES = ("--start", str(MONDAY), "--end", str(TUESDAY))
LATER = ("--start", str(WEDNESDAY), "--end", str(WEDNESDAY))

UNCAUGHT = """
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.connection import Database
settings = Settings.from_environment()
print(settings, [settings], Database.for_settings(settings))
with Database.for_settings(settings).connect("nobody catches this") as connection:
    connection.execute("SELECT 1/0")
"""


def written_forms(token: str) -> Iterator[bytes]:
    """The token as it stands, and as it stands within anything that is encoded in base64."""
    yield token.encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + token.encode())
        # Only the characters that nothing but the token decides.
        certain = encoded[-(-before * 8 // 6) : (before + len(token)) * 8 // 6]
        yield certain
        yield certain.translate(bytes.maketrans(b"+/", b"-_"))


@dataclass
class Written:
    """Everything that was written, by where it is."""

    found: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, place: str, *contents: str | bytes) -> None:
        kept = self.found.setdefault(place, [])
        for content in contents:
            kept.append(content.encode() if isinstance(content, str) else content)

    def add_files(self, place: str, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                self.add(place, str(path), path.read_bytes())

    def add_database(self, place: str, url: str) -> None:
        with psycopg.connect(url) as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                "AND relkind IN ('r', 'p') AND NOT relispartition"
            ).fetchall()
            for (name,) in tables:
                query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))
                for row in connection.execute(query):
                    for value in row:
                        self.add(place, value if isinstance(value, bytes) else str(value))
                        if isinstance(value, bytes) and value[:1] == b"\x78":
                            self.add(place, zlib.decompress(value))

    def places_of(self, token: str) -> dict[str, bytes]:
        """Where the token is, in whatever form, and what stands around it."""
        found = {}
        for place, contents in self.found.items():
            for content in contents:
                for form in written_forms(token):
                    if (at := content.find(form)) >= 0:
                        found[place] = content[max(0, at - 200) : at + 100]
        return found


@pytest.fixture(scope="module")
def market_server() -> Iterator[EmbeddedServer]:
    with documented_server(PASSWORD) as server:
        yield server


@pytest.fixture
def terminal(
    market_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """A terminal with secrets in its environment, which is this process's own too."""
    terminal = CommandLine.with_home(
        tmp_path,
        TRISIGNAL_DATABASE_URL=url_of(market_server, "market_pipeline", password=PASSWORD),
        DATABENTO_API_KEY=API_KEY,
        TRISIGNAL_DATABENTO_GATEWAY=f"https://127.0.0.1:{free_port()}",
        # The error that ends a run is to be told, and not survived.
        TRISIGNAL_RETRIES="0",
        **{WEBHOOK_VARIABLE: f"http://127.0.0.1:{free_port()}/{WEBHOOK_TOKEN}"},
    )
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", URL_VARIABLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in terminal.settings.items():
        monkeypatch.setenv(name, value)
    return terminal


def _unusable(server: EmbeddedServer) -> list[str]:
    """URLs that fail in one way each."""
    word = quote(WRONG_PASSWORD, safe="")
    return [
        url_of(server, "market_pipeline", password=WRONG_PASSWORD),
        f"postgresql://market_pipeline:{word}@127.0.0.1:{free_port()}/market",
        f"postgresql://market_pipeline:{word}@nowhere.invalid/market",
        f"postgresql://nowhere.invalid/market?user=market_pipeline&password={word}",
        f"postgresql://market_pipeline:{WRONG_PASSWORD}@127.0.0.1/market",
        "postgresql://market_pipeline:Wr0ngPassword with blanks@127.0.0.1/market",
        f"postgresql://market_pipeline:{word}%zz@127.0.0.1/market",
        f"postgresql://market_pipeline:{word}@127.0.0.1/market?nonsense=1",
    ]


def test_no_secret_is_written_anywhere(
    market_server: EmbeddedServer,
    terminal: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    trisignal, written = QuickCommandLine(monkeypatch, capsys), Written()
    owner = url_of(market_server, "market_owner", password=PASSWORD)
    worker = terminal.settings["TRISIGNAL_DATABASE_URL"]
    raw = Path(terminal.settings["TRISIGNAL_RAW_DIR"])
    files = write_days(raw, [MONDAY, TUESDAY, WEDNESDAY])
    (raw / "cut.dbn.zst").write_bytes(files[0].read_bytes()[:-9])

    def run(*arguments: str, exit_code: int | None = None) -> None:
        answer = trisignal.run(*arguments)
        written.add("printed", answer.out, answer.err)
        assert exit_code in (None, answer.exit_code), (arguments, answer.err)

    def by_administrator(statement: str) -> None:
        with psycopg.connect(market_server.url("market")) as connection:
            connection.execute(statement.encode())

    # Work that goes well.
    trisignal.set("TRISIGNAL_DATABASE_URL", owner)
    run("db", "migrate", exit_code=0)
    trisignal.set("TRISIGNAL_DATABASE_URL", worker)
    run("backfill", NQ, *DATES, exit_code=0)
    run("symbols", "set", NQ, "discontinuity_points=400", exit_code=0)
    for arguments in (("status",), ("runs",), ("db", "status"), ("db", "url"), ("refresh",)):
        run(*arguments, exit_code=0)

    # Commands that fail before they begin.
    for url in _unusable(market_server):
        trisignal.set("TRISIGNAL_DATABASE_URL", url)
        run("status", exit_code=1)
        run("backfill", NQ, *DATES, exit_code=1)
        run("db", "url")
        trisignal.set("TRISIGNAL_DATABASE_URL", worker)
        trisignal.set(URL_VARIABLE, url)
        run("backfill", NQ, *DATES, exit_code=1)
        monkeypatch.delenv(URL_VARIABLE)
    wrong_password, *_, wrong_option = _unusable(market_server)
    trisignal.set("TRISIGNAL_DATABASE_URL", wrong_password)
    for arguments in (("runs",), ("db", "status"), ("db", "migrate"), ("dev",), ("refresh",)):
        run(*arguments, exit_code=1)
    trisignal.set("TRISIGNAL_DATABASE_URL", worker)
    for url in (worker, wrong_password, wrong_option):
        ended = subprocess.run(
            [sys.executable, "-c", UNCAUGHT],
            env={**terminal.environment, "TRISIGNAL_DATABASE_URL": url},
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 1
        assert b"Traceback" in ended.stderr
        written.add("printed", ended.stdout, ended.stderr)

    # Databento can't be reached.
    monkeypatch.setattr(databento_api, "FIRST_WAIT_SECONDS", 0.01)
    run("fetch", NQ, "--start", "2024-06-27", "--end", "2024-06-27", exit_code=1)
    run("reingest", NQ, *DATES, exit_code=1)

    # Runs that fail, of an error and of a connection that is ended.
    by_administrator(
        """
        CREATE SEQUENCE failures;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF nextval('failures') % 2 = 1 THEN
                RAISE EXCEPTION 'not today';
            END IF;
            PERFORM pg_terminate_backend(pg_backend_pid());
            RETURN NULL;
        END $$;
        CREATE TRIGGER fail AFTER INSERT ON signal_dates
        FOR EACH STATEMENT EXECUTE FUNCTION fail();
        """
    )
    run("backfill", NQ, *LATER, exit_code=1)
    run("backfill", NQ, *LATER, exit_code=1)

    # The same in the UI: a worker's process, its captured output, the sensors and their ticks.
    web, log = Webserver(free_port()), tmp_path / "log"
    with terminal.started("dev", "--port", str(web.port), log=log) as dev:
        wait_until(lambda: dev.poll() is not None or web.answers(), "answer", seconds=300)
        launched = web.launch_one(partition_key(NQ, WEDNESDAY))
        wait_until(lambda: web.run_status(launched) == "FAILURE", "failed run", seconds=300)
        wait_until(lambda: _webhook_was_tried(market_server), "tick of the webhook", seconds=300)
        dev.terminate()
        dev.wait(120)

    # Everything that was written.
    written.add_files("files", tmp_path)
    written.add_files("the server's log", market_server.status().log)
    for name in ("market", "market_dagster"):
        written.add_database(name, market_server.url(name))
    # The search finds what is there, in each place.
    assert set(written.places_of("market_pipeline")) >= {"printed", "the server's log"}
    assert set(written.places_of(NQ)) >= {"printed", "files", "market", "market_dagster"}
    assert "market_dagster" in written.places_of("legacy_bars")

    assert {token: places for token in TOKENS if (places := written.places_of(token))} == {}


def _webhook_was_tried(server: EmbeddedServer) -> bool:
    with psycopg.connect(server.url("market_dagster")) as connection:
        return bool(
            connection.execute(
                "SELECT FROM job_ticks WHERE tick_body LIKE '%failure webhook can''t be reached%'"
            ).fetchall()
        )


@pytest.mark.parametrize("form", [b"%s", b"user:%s@host", b"b64"])
def test_the_search_finds_a_secret_in_whatever_form(form: bytes) -> None:
    hidden = quote(PASSWORD, safe="").encode()
    if form == b"b64":
        contents = [base64.b64encode(b"x" * before + hidden) for before in range(3)]
    else:
        contents = [form % hidden]
    for content in contents:
        written = Written()
        written.add("somewhere", b"before " + content + b" after")
        assert set(written.places_of(TOKENS[0])) == {"somewhere"}
