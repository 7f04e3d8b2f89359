"""Where the embedded server keeps what is its own, and who may change it.

    TRISIGNAL_HOME/postgres/
        lock        held by the process that starts or stops the server
        data/       the cluster
        log/        a week of logs
        socket/     the Unix socket, unless its path is too long for one
        elsewhere   names the folder that holds data, log and socket instead of this one

The last is for root whose home the server's account can't enter. That other folder has a name drawn
at random: a home that was deleted and made anew gets a new server, never the old one's data.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trisignal_pipeline.errors import DatabaseUnavailableError, EmbeddedServerError
from trisignal_pipeline.storage.server_account import Account, make_folders

PORT = 5432  # a part of the socket's name; nothing listens on a network
SOCKET_NAME = f".s.PGSQL.{PORT}"

# Linux takes 107 bytes, macOS 103. A comma would mean two servers to a client.
_LONGEST_SOCKET_PATH = 103
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._ +=@~-]+")
# Not the TMPDIR of the process: every process has to come to the same path, and a short one.
_SHORT_FOLDER = Path("/tmp")  # noqa: S108  # what is made there is checked to be ours

_SHELTERS = (Path("/var/lib/trisignal"), Path("/tmp/trisignal-servers"))  # noqa: S108  # checked


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """The folder that holds data, log and (where its path is short enough) the socket."""

    path: Path

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """The folder of the server's logs."""
        return self.path / "log"

    @property
    def socket(self) -> Path:
        """The folder of the socket: what a client is given as its host."""
        inside = self.path / "socket"
        short = len(os.fsencode(inside / SOCKET_NAME)) <= _LONGEST_SOCKET_PATH
        if short and _PLAIN_PATH.fullmatch(str(inside)):
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return _SHORT_FOLDER / f"trisignal-{digest}"

    @property
    def is_initialised(self) -> bool:
        """Whether there is a cluster, whole: it is made under another name and then renamed."""
        return (self.data / "PG_VERSION").is_file()

    def prepare(self, account: Account) -> None:
        """Make the folders of log and socket, for the account alone.

        Raises:
            EmbeddedServerError: the socket's folder belongs to somebody else.
        """
        account.make_folder(self.log)
        try:
            account.make_folder(self.socket)
            found = self.socket.lstat()
            usable = stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid
        except (FileExistsError, PermissionError):
            usable = False
        if not usable:
            raise EmbeddedServerError(
                f"{self.socket} is needed for the embedded server's socket, but is not a folder of "
                f"account {account.name}: remove it, or choose a shorter TRISIGNAL_HOME"
            )
        self.socket.chmod(0o700)

    def remove(self) -> None:
        """Delete data, log and socket."""
        for folder in (self.socket, self.path):
            if folder.exists():
                shutil.rmtree(folder)


def folder_of_home(home: Path) -> Path:
    """The folder in the home that is the embedded server's: the lock lies there in any case."""
    return home.resolve() / "postgres"


def server_folder(home: Path) -> ServerFolder:
    """Where the server of `home` is, or will be unless its account can't enter the home.

    Raises:
        EmbeddedServerError: the home belongs to somebody else, or names a folder that can't be
            one of ours.
    """
    own = folder_of_home(home)
    try:
        elsewhere = Path((own / "elsewhere").read_text(encoding="utf-8").strip())
    except (FileNotFoundError, NotADirectoryError):
        return ServerFolder(own)
    except PermissionError as error:
        raise EmbeddedServerError(
            f"the embedded server of {home} belongs to somebody else ({error}): choose a "
            "TRISIGNAL_HOME of your own"
        ) from error
    if elsewhere.parent not in _SHELTERS:
        raise EmbeddedServerError(
            f"{own / 'elsewhere'} names {elsewhere}, where no embedded server is ever put; delete "
            f"{own} to start anew"
        )
    return ServerFolder(elsewhere.resolve())


def settle(home: Path, account: Account) -> ServerFolder:
    """Choose the folder of a new server, and remember the choice in the home."""
    own = folder_of_home(home)
    if account.can_enter(own):
        return ServerFolder(own)
    name = f"{_digest_of(own)}-"
    path = Path(tempfile.mkdtemp(prefix=name, dir=shelter_for(account)))
    path.chmod(0o711)  # passable for the account, which owns what lies in it
    note = own / "elsewhere"
    temporary = note.with_suffix(".new")
    temporary.write_text(f"{path}\n", encoding="utf-8")
    temporary.replace(note)
    return ServerFolder(path.resolve())


def left_behind(home: Path) -> list[ServerFolder]:
    """Folders outside the home that an earlier home at the same path had, and that it lost."""
    if os.geteuid() != 0:
        return []
    current = server_folder(home).path
    pattern = f"{_digest_of(folder_of_home(home))}-*"
    return [
        ServerFolder(path)
        for shelter in _SHELTERS
        for path in sorted(shelter.resolve().glob(pattern))
        if path != current
    ]


def shelter_for(account: Account) -> Path:
    """A folder of root's outside every home, which the account can enter.

    Raises:
        EmbeddedServerError: none can be made.
    """
    for shelter in _SHELTERS:
        try:
            if not shelter.exists():
                shelter.mkdir()
                shelter.chmod(0o755)  # whatever the umask
            found = shelter.lstat()
        except OSError:
            continue
        # In a folder that everybody may write, somebody else may have been here first.
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022
        if private and found.st_uid == os.geteuid() and account.can_enter(shelter):
            return shelter
    raise EmbeddedServerError(
        f"account {account.name}, which is to run PostgreSQL, can reach neither TRISIGNAL_HOME nor "
        f"{' nor '.join(map(str, _SHELTERS))}: set TRISIGNAL_HOME to a folder it can enter"
    )


@contextmanager
def exclusive(home: Path, patience: float) -> Iterator[None]:
    """Be the only one, of all processes and threads, to start or stop the server of `home`.

    The kernel gives the lock up when its holder ends, in whatever way. `patience` is in seconds.

    Raises:
        DatabaseUnavailableError: another process has held it for longer than that.
        EmbeddedServerError: the home can't be written.
    """
    own = folder_of_home(home)
    give_up = time.monotonic() + patience
    while True:
        try:
            # Passable for root's server account; private otherwise.
            make_folders(own, 0o711 if os.geteuid() == 0 else 0o700)
            lock = os.open(own / "lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.geteuid() == 0:
                os.chown(lock, own.stat().st_uid, own.stat().st_gid)
        except OSError as error:
            raise EmbeddedServerError(
                f"the embedded server can't be kept in {own}: {error.strerror}; set TRISIGNAL_HOME "
                "to a folder you may write"
            ) from error
        try:
            while not _try_lock(lock):
                if time.monotonic() > give_up:
                    raise DatabaseUnavailableError(
                        f"another process has been starting or stopping the embedded server of "
                        f"{home} for {patience:.0f} s; try again when it is done"
                    )
                time.sleep(0.02)
            if not _is_at(lock, own / "lock"):
                continue  # the home was deleted while we waited: this lock excludes nobody
            yield
            return
        finally:
            os.close(lock)


def _digest_of(own: Path) -> str:
    return hashlib.sha256(os.fsencode(own)).hexdigest()[:12]


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
