"""The running server: which process it is, whether it serves, and what is left of one that died.

A process number in a file proves nothing: after a crash the number may be another program's. What
proves something is who listens on the socket, which the kernel knows, and the name that a server
carries in the list of processes. (The folder a process works in would be proof as well, but root
in a container may not see it.)
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trisignal_pipeline.errors import DatabaseUnavailableError, EmbeddedServerError
from trisignal_pipeline.storage.server_account import Account
from trisignal_pipeline.storage.server_folder import SOCKET_NAME, ServerFolder

_ANSWER_WITHIN_S = 10
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2  # of macOS, which Python doesn't name
_ELSEWHERE = 0  # the process number of somebody whom this container can't see


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What `postmaster.pid` says. It may be stale.

    data and state are empty while a server is writing the file.
    """

    pid: int
    data: str
    state: str

    @classmethod
    def noted_in(cls, data: Path) -> Postmaster | None:
        """The server that `data` names as its own; None if it names none, or nothing readable.

        Raises:
            EmbeddedServerError: the data folder belongs to somebody else.
        """
        try:
            text = (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise EmbeddedServerError(
                f"the embedded server in {data} belongs to somebody else ({error}): run trisignal "
                "as that user, or choose a TRISIGNAL_HOME of your own"
            ) from error
        lines = [*text.split("\n"), *[""] * 8]
        try:
            pid = int(lines[0])
        except ValueError:
            return None  # empty or garbled: the machine lost power while it was written
        return cls(pid, data=lines[1], state=lines[7].strip())


def name_of(folder: Path) -> str:
    """The name (`cluster_name`) under which the server in `folder` is in the list of processes."""
    return f"trisignal-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def serving_pid(folder: ServerFolder) -> int | None:
    """The process that serves this very folder, by its socket; None if none does. Takes < 1 ms.

    Raises:
        DatabaseUnavailableError: a server listens but doesn't answer.
    """
    postmaster = Postmaster.noted_in(folder.data)
    if postmaster is None or postmaster.state != "ready":
        return None
    if postmaster.data != str(folder.data):
        return None  # the home was moved, or copied, with a server running
    return postmaster.pid if _listener(folder.socket) in {postmaster.pid, _ELSEWHERE} else None


def live_postmaster(folder: ServerFolder) -> Postmaster | None:
    """The server that runs in this folder, serving or not: it may be recovering, or unreachable.

    Raises:
        DatabaseUnavailableError: it runs in another container, which shares this folder.
    """
    postmaster = Postmaster.noted_in(folder.data)
    if postmaster is None:
        return None
    if postmaster.data == str(folder.data) and _listener(folder.socket) == _ELSEWHERE:
        raise DatabaseUnavailableError(
            f"the embedded server in {folder.path} was started in another container, where alone "
            "it can be started and stopped"
        )
    noted = Path(postmaster.data) if postmaster.data else folder.data
    if noted != folder.data:
        at_origin = Postmaster.noted_in(noted)
        if at_origin is not None and at_origin.pid == postmaster.pid:
            return None  # this folder is a copy of one whose server runs
    if not is_running(postmaster.pid, noted.parent):
        return None
    return replace(postmaster, data=str(noted))


def is_running(pid: int, folder: Path) -> bool:
    """Whether process `pid` is a server that was started in `folder`, or a part of one."""
    return _is_named(_command_of(pid), name_of(folder))


def end_gently(postmaster: Postmaster, patience: float) -> None:
    """Shut a server down: its clients are sent away, a checkpoint is written. Waits for the end.

    Raises:
        DatabaseUnavailableError: it is still at it after `patience` seconds.
    """
    folder = Path(postmaster.data).parent
    _send(postmaster.pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
    if not wait_until(lambda: not is_running(postmaster.pid, folder), patience):
        raise DatabaseUnavailableError(
            f"the embedded server in {folder} (process {postmaster.pid}) has been shutting down "
            f"for {patience:.0f} s; try again later"
        )


def end_leftovers(folder: ServerFolder) -> None:
    """End what a dead server, or the server of a deleted home at this path, left running.

    Such processes can't do anything useful any more: what they had not committed is lost. But they
    hold shared memory, without which no new server starts, and would delete a new server's socket.

    Raises:
        EmbeddedServerError: they don't end.
    """
    name = name_of(folder.path)

    def running() -> list[int]:
        return [pid for pid, command in _all_commands() if _is_named(command, name)]

    for pid in running():
        _send(pid, signal.SIGKILL)
    if not wait_until(lambda: not running(), patience=30.0):
        raise EmbeddedServerError(
            f"processes {running()} of an earlier server in {folder.path} can't be ended: end them "
            "by hand, or restart the machine"
        )


def clear_traces(folder: ServerFolder, account: Account) -> None:
    """Make the files of a dead server harmless for the next one.

    PostgreSQL believes a process number in such a file as long as any process has it. The socket's
    file is deleted. `postmaster.pid` is not, as it also leads PostgreSQL to shared memory that may
    still be in use: it is made to name this process, which PostgreSQL knows for the one that
    starts it (and so can't be a server).
    """
    for trace in (folder.socket / SOCKET_NAME, folder.socket / f"{SOCKET_NAME}.lock"):
        trace.unlink(missing_ok=True)
    path = folder.data / "postmaster.pid"
    if not path.exists():
        return
    if Postmaster.noted_in(folder.data) is None:
        path.unlink()
        return
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    account.write_file(path, "\n".join([str(os.getpid()), *lines[1:]]))


def wait_until(condition: Callable[[], bool], patience: float) -> bool:
    """Wait until `condition` holds, for at most `patience` seconds; whether it does."""
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True


def _listener(folder: Path) -> int | None:
    """The process that listens on the socket in `folder`: 0 if it can't be seen from here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # Not settimeout(): that makes a busy server's full queue look like an error at once.
        limit = struct.pack("ll", _ANSWER_WITHIN_S, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            client.connect(os.fspath(folder / SOCKET_NAME))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        except PermissionError as error:
            raise EmbeddedServerError(
                f"the embedded server's socket in {folder} belongs to somebody else: choose a "
                "TRISIGNAL_HOME of your own"
            ) from error
        except BlockingIOError as error:
            raise DatabaseUnavailableError(
                f"the embedded server in {folder} has not answered for {_ANSWER_WITHIN_S} s"
            ) from error
        if sys.platform == "linux":
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("iII", credentials)[0])
        return client.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)


def _send(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedServerError(
            f"process {pid} of the embedded server belongs to somebody else"
        ) from error


def _is_named(command: str, name: str) -> bool:
    """Whether a command line is that of a server with this name, or of one of its processes.

    Not of a shell or an editor in whose command line the name occurs.
    """
    return command.startswith(f"postgres: {name}: ") or (
        command.endswith(f" -c cluster_name={name}") and "postgres -D " in command
    )


def _all_commands() -> Iterator[tuple[int, str]]:
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                yield int(entry.name), _command_of(int(entry.name))
        return
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.strip()


def _command_of(pid: int) -> str:
    """The command line of a process; empty if there is no such process, or only its remains."""
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return ""
        return os.fsdecode(words.rstrip(b"\0 ").replace(b"\0", b" "))
    return dict(_all_commands()).get(pid, "")
