"""The embedded server in bad company: killed, robbed, misled, started four times at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.errors import DatabaseUnavailableError, EmbeddedServerError
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline.storage.server_folder import SOCKET_NAME, exclusive
from trisignal_pipeline_tests.storage.server_watch import answer_of, processes_of

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ENSURE_RUNNING = """
import sys
from pathlib import Path
from trisignal_pipeline.storage.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
sys.stdin.read(1)
server.ensure_running()
print(server.status().pid)
"""


def _starter(home: Path) -> subprocess.Popen[str]:
    """A process that starts the server of `home` as soon as it reads a character."""
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE_RUNNING, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.001)


def _times_open(path: Path) -> int:
    """How many times this process has `path` open."""
    return sum(link.resolve() == path.resolve() for link in Path("/proc/self/fd").iterdir())


def _kill_all_of(server: EmbeddedServer) -> None:
    for pid in processes_of(server):
        os.kill(pid, signal.SIGKILL)
    _wait_for(lambda: not processes_of(server), "the end of every process")


@pytest.fixture
def bystander(embedded: EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the server's account that has nothing to do with the server."""
    owner = embedded.status().data.stat()
    switch = os.geteuid() != owner.st_uid
    process = subprocess.Popen(
        ["sleep", "600"],
        cwd="/",
        user=owner.st_uid if switch else None,
        group=owner.st_gid if switch else None,
        extra_groups=[] if switch else None,
    )
    yield process
    process.kill()
    process.wait()


def test_four_processes_that_start_it_at_once_share_one_server(home: Path) -> None:
    starters = [_starter(home) for _ in range(4)]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("!")
        starter.stdin.flush()
    ends = [starter.communicate(timeout=60) for starter in starters]
    assert [complaint for _, complaint in ends] == [""] * 4
    assert len({pid for pid, _ in ends}) == 1
    assert ends[0][0].strip() == str(EmbeddedServer(home).status().pid)


@pytest.mark.parametrize(
    "trace",
    ["new-*", "new-*/base/1/1247", "new-*/base/5/PG_VERSION", "data", "data/postmaster.pid"],
)
def test_a_starter_that_is_killed_midway_leaves_the_start_to_the_next(
    home: Path, trace: str
) -> None:
    starter = _starter(home)
    assert starter.stdin is not None
    starter.stdin.write("!")
    starter.stdin.flush()
    folder = home / "postgres"
    _wait_for(lambda: any(folder.glob(trace)), trace)
    starter.kill()
    starter.communicate(timeout=20)
    assert starter.returncode == -signal.SIGKILL, "it was quicker than this test"
    server = EmbeddedServer(home)
    server.ensure_running()
    for database in ("trisignal", "dagster"):
        with psycopg.connect(server.url(database)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not list(folder.glob("new-*")), "nothing half-made is left"


@on_linux
def test_after_a_killed_postmaster_even_a_busy_backend_is_in_nobodys_way(
    embedded: EmbeddedServer,
) -> None:
    pid = embedded.status().pid
    assert pid is not None
    with closing(psycopg.connect(embedded.url())) as busy:
        backend = busy.info.backend_pid
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
        busy.pgconn.flush()
        with psycopg.connect(embedded.url(), autocommit=True) as other:
            other.execute("INSERT INTO kept SELECT 43")
            os.kill(pid, signal.SIGKILL)
        _wait_for(lambda: pid not in processes_of(embedded), "the end of the postmaster")
        assert backend in processes_of(embedded), "it doesn't look up from its work"
        embedded.ensure_running()
        assert backend not in processes_of(embedded)
    assert embedded.status().pid != pid
    assert answer_of(embedded) == 42
    with psycopg.connect(embedded.url()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (2,)


@on_linux
def test_a_process_number_that_now_belongs_to_another_program_misleads_nobody(
    embedded: EmbeddedServer, bystander: subprocess.Popen[bytes]
) -> None:
    status = embedded.status()
    _kill_all_of(embedded)
    for note in (status.data / "postmaster.pid", status.socket / f"{SOCKET_NAME}.lock"):
        lines = note.read_text().split("\n")
        assert lines[0] == str(status.pid)
        note.write_text("\n".join([str(bystander.pid), *lines[1:]]))
    assert not embedded.status().running
    embedded.stop()
    embedded.ensure_running()
    assert answer_of(embedded) == 42
    embedded.stop()
    assert bystander.poll() is None


@on_linux
@pytest.mark.parametrize("rest", ["", "garbage\n", "\0\0\0\0"])
def test_a_power_cut_that_spoils_the_pid_file_is_survived(
    embedded: EmbeddedServer, rest: str
) -> None:
    status = embedded.status()
    _kill_all_of(embedded)
    (status.data / "postmaster.pid").write_text(rest)
    embedded.ensure_running()
    assert answer_of(embedded) == 42


def test_a_server_without_its_socket_is_started_again(embedded: EmbeddedServer) -> None:
    status = embedded.status()
    (status.socket / SOCKET_NAME).unlink()
    assert not embedded.status().running
    embedded.ensure_running()
    assert embedded.status().pid != status.pid
    assert answer_of(embedded) == 42


@on_linux
def test_a_home_deleted_under_a_running_server_gets_a_fresh_one(embedded: EmbeddedServer) -> None:
    old = processes_of(embedded)
    shutil.rmtree(embedded.home)
    embedded.ensure_running()
    assert not set(old) & set(processes_of(embedded)), "it would delete the new socket when it ends"
    with psycopg.connect(embedded.url()) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_settings_that_can_not_be_are_told_from_the_log(embedded: EmbeddedServer) -> None:
    with psycopg.connect(embedded.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'")
    embedded.stop()
    with pytest.raises(EmbeddedServerError, match=r"(?s)does not start .*no_such_library"):
        embedded.ensure_running()


def test_waiting_for_another_starter_has_an_end(home: Path) -> None:
    with (
        exclusive(home, patience=1),
        pytest.raises(DatabaseUnavailableError, match="another process"),
        exclusive(home, patience=0.05),
    ):
        pytest.fail("two at the same time")


@on_linux
def test_a_lock_that_was_deleted_with_its_home_excludes_nobody_but_the_new_one_does(
    home: Path,
) -> None:
    got_in = threading.Event()
    leave = threading.Event()

    def wait_and_hold() -> None:
        with exclusive(home, patience=20):
            got_in.set()
            leave.wait(20)

    waiter = threading.Thread(target=wait_and_hold)
    with exclusive(home, patience=1):
        waiter.start()
        _wait_for(lambda: _times_open(home / "postgres" / "lock") == 2, "the waiter to wait")
        shutil.rmtree(home)
    assert got_in.wait(20)
    with pytest.raises(DatabaseUnavailableError), exclusive(home, patience=0.05):
        pytest.fail("two at the same time")
    leave.set()
    waiter.join()
