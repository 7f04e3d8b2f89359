"""The embedded PostgreSQL server: found, started, stopped, reset.

One server per TRISIGNAL_HOME, shared by every process that has that home. Whoever comes first
starts it; nobody stops it but `stop` and `reset`. It listens on a Unix socket that its account
alone may use, and on no network. Durability is PostgreSQL's own, with nothing switched off.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from trisignal_pipeline.errors import DatabaseUnavailableError, EmbeddedServerError
from trisignal_pipeline.storage.server_account import Account
from trisignal_pipeline.storage.server_binaries import Binaries, find_binaries
from trisignal_pipeline.storage.server_cluster import (
    ROLE,
    START_WITHIN_S,
    check_version,
    initialise,
    launch,
    tail,
    write_settings,
)
from trisignal_pipeline.storage.server_folder import (
    PORT,
    ServerFolder,
    exclusive,
    folder_of_home,
    left_behind,
    server_folder,
    settle,
    shelter_for,
)
from trisignal_pipeline.storage.server_process import (
    clear_traces,
    end_gently,
    end_leftovers,
    live_postmaster,
    serving_pid,
    wait_until,
)

_STOP_WITHIN_S = 120

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What can be said about a server. size_bytes is what its data folder takes on disk.

    version is None before the first start, and only the major one of a server that can't be asked.
    note is anything a user may wonder about.
    """

    running: bool
    version: str | None
    data: Path
    socket: Path
    log: Path
    pid: int | None
    size_bytes: int
    note: str | None


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """The PostgreSQL server of one home.

    home      TRISIGNAL_HOME
    binaries  a folder with PostgreSQL's programs; None means those that were installed with us
    """

    home: Path
    binaries: Path | None = None

    @classmethod
    def for_home(cls, home: Path, environment: Mapping[str, str] = os.environ) -> EmbeddedServer:
        """The server of `home`, with the programs that `TRISIGNAL_POSTGRES_BIN` names, if any."""
        named = environment.get("TRISIGNAL_POSTGRES_BIN")
        return cls(home, Path(named) if named else None)

    def ensure_running(self) -> None:
        """See to it that the server runs; cheap where it does already (below 1 ms).

        Any number of processes may call this at the same time. A server that died, or that lost
        its socket, is started again; the first start makes the databases `trisignal` and
        `dagster`.

        Raises:
            EmbeddedServerError: it can't be set up or started here. The message says why.
            DatabaseUnavailableError: it is not ready yet; trying again may help.
        """
        if serving_pid(server_folder(self.home)) is not None:
            return
        with exclusive(self.home, patience=START_WITHIN_S + _STOP_WITHIN_S):
            folder = server_folder(self.home)
            if serving_pid(folder) is not None:
                return  # somebody else started it while this process waited
            try:
                self._start()
            except OSError as error:
                raise EmbeddedServerError(
                    f"the embedded server in {folder.path} can't be started: {error}"
                ) from error

    def url(self, database: str = "trisignal") -> str:
        """Where clients find `database`, in the form that psycopg and SQLAlchemy both accept.

        Valid once the server has run: its first start decides where the socket lies. The URL says
        all that PGHOST, PGPORT, PGUSER, PGDATABASE and PGPASSWORD could say; what it doesn't say,
        a client library still takes from the environment (PGTZ, PGHOSTADDR, PGSERVICE).
        """
        socket = quote(str(server_folder(self.home).socket))
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={socket}&port={PORT}"

    def status(self) -> ServerStatus:
        """How the server is, without starting it."""
        folder = server_folder(self.home)
        pid = serving_pid(folder)
        version = None
        if folder.is_initialised:
            version = (folder.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if pid is not None:
            with suppress(psycopg.Error), psycopg.connect(self.url("postgres")) as connection:
                version = connection.info.parameter_status("server_version")
        elsewhere = folder.path != folder_of_home(self.home)
        return ServerStatus(
            running=pid is not None,
            version=version,
            data=folder.data,
            socket=folder.socket,
            log=folder.log,
            pid=pid,
            size_bytes=_size_of(folder.data),
            note=(
                f"the data lies outside {self.home}, which the server's account can't enter"
                if elsewhere
                else None
            ),
        )

    def stop(self) -> None:
        """Stop the server and wait until it is down. No harm if it isn't running.

        Raises:
            DatabaseUnavailableError: it doesn't end.
        """
        if not folder_of_home(self.home).is_dir():
            return
        with exclusive(self.home, patience=START_WITHIN_S + _STOP_WITHIN_S):
            self._stop(server_folder(self.home))

    def reset(self) -> None:
        """Stop the server and delete everything that is its own: data, logs, socket.

        Raises:
            DatabaseUnavailableError: it doesn't end.
        """
        own = folder_of_home(self.home)
        if not own.is_dir():
            return
        with exclusive(self.home, patience=START_WITHIN_S + _STOP_WITHIN_S):
            folder = server_folder(self.home)
            self._stop(folder)
            folder.remove()
            if own.exists():
                shutil.rmtree(own)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the server logged; empty if it never did."""
        return tail(server_folder(self.home), lines)

    def _start(self) -> None:
        """Start the server, and make it first if there is none. The caller excludes others."""
        folder = server_folder(self.home)
        if folder.is_initialised:
            account = Account.that_owns(folder.data)
        else:
            account = Account.for_new_server(folder_of_home(self.home))
            if folder.path == folder_of_home(self.home):
                folder = settle(self.home, account)
        _check_reachable(folder, account)
        binaries = self._binaries(account)
        for lost in left_behind(self.home):
            self._stop(lost)
            _log.warning(
                "%s holds the data of an earlier %s: delete it if it isn't needed",
                lost.path,
                self.home,
            )
        if not folder.is_initialised:
            end_leftovers(folder)
            initialise(folder, account, binaries)
        check_version(folder, binaries)
        postmaster = live_postmaster(folder)
        if postmaster is not None:
            if _becomes_ready(folder):
                return
            end_gently(postmaster, _STOP_WITHIN_S)
        end_leftovers(folder)
        folder.prepare(account)
        clear_traces(folder, account)
        write_settings(folder, account, binaries)
        launch(folder, account, binaries)

    def _stop(self, folder: ServerFolder) -> None:
        postmaster = live_postmaster(folder)
        if postmaster is not None:
            end_gently(postmaster, _STOP_WITHIN_S)
        end_leftovers(folder)

    def _binaries(self, account: Account) -> Binaries:
        return find_binaries(self.binaries, account, lambda: shelter_for(account))


def _check_reachable(folder: ServerFolder, account: Account) -> None:
    if not folder.path.is_dir():
        raise EmbeddedServerError(
            f"the embedded server's data was in {folder.path}, which is gone; to start anew, use: "
            "trisignal db reset"
        )
    if not account.can_enter(folder.path):
        raise EmbeddedServerError(
            f"account {account.name}, which the embedded server runs as, can't enter "
            f"{folder.path} any more: give the folders above it back their mode (chmod a+x)"
        )


def _becomes_ready(folder: ServerFolder) -> bool:
    """Wait for a server that somebody started who did not live to see it ready."""

    def is_settled() -> bool:
        postmaster = live_postmaster(folder)
        return postmaster is None or postmaster.state in {"ready", "stopping"}

    if not wait_until(is_settled, START_WITHIN_S):
        raise DatabaseUnavailableError(
            f"the embedded server in {folder.path} has been recovering for {START_WITHIN_S} s; "
            "try again later"
        )
    return serving_pid(folder) is not None


def _size_of(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # a running server makes and deletes files all the time
    return total


def running_server(home: Path) -> EmbeddedServer:
    """The embedded server of `home`, running, for clients in this process.

    libpq reads PGHOSTADDR, PGSERVICE, PGSSLMODE and others behind a URL's back. They are meant for
    servers of one's own, and taken out of this process's environment, and so of its children's.

    Raises:
        EmbeddedServerError: the server can't be set up on this machine.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    server = EmbeddedServer.for_home(home, os.environ)
    server.ensure_running()
    return server
