"""Which account the embedded server runs as, and how to do something as that account.

PostgreSQL refuses to run as root. Started by root, the server therefore runs as another existing
account, which owns the data folder; started by anyone else, it runs as that user.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trisignal_pipeline.errors import EmbeddedServerError

# Tried in this order, after the owner of the home. All but the first exist on nearly every system.
_ACCOUNTS_FOR_ROOT = ("postgres", "nobody", "daemon")

# A server lives long and its environment can be read by its account: it gets neither the API keys
# of whoever started it nor a stray PGPORT.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the operating system: the one that owns the data folder."""

    uid: int
    gid: int
    name: str

    @classmethod
    def of_uid(cls, uid: int) -> Account | None:
        """The account with this number; None where it has no entry in the user database."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return None
        return cls(entry.pw_uid, entry.pw_gid, entry.pw_name)

    @classmethod
    def for_new_server(cls, home: Path) -> Account:
        """The account a server that doesn't exist yet is to run as.

        For root: the owner of `home` if that is somebody else (as under sudo), or an account made
        for such a purpose.

        Raises:
            EmbeddedServerError: there is no such account. `initdb` needs an entry in the user
                database, which containers with a made-up user number lack.
        """
        if os.geteuid() != 0:
            own = cls.of_uid(os.geteuid())
            if own is None:
                raise EmbeddedServerError(
                    f"user number {os.geteuid()} has no entry in the user database (/etc/passwd), "
                    "which PostgreSQL's initdb needs: add one, or name a server of your own in "
                    "TRISIGNAL_DATABASE_URL"
                )
            return own
        owner = cls.of_uid(home.stat().st_uid)
        if owner is not None and owner.uid != 0:
            return owner
        for name in _ACCOUNTS_FOR_ROOT:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid, entry.pw_name)
        raise EmbeddedServerError(
            "PostgreSQL refuses to run as root, and none of the accounts "
            f"{', '.join(_ACCOUNTS_FOR_ROOT)} exists: add one (useradd --system postgres), or name "
            "a server of your own in TRISIGNAL_DATABASE_URL"
        )

    @classmethod
    def that_owns(cls, data: Path) -> Account:
        """The account that an existing data folder belongs to.

        Raises:
            EmbeddedServerError: it belongs to root, or to somebody this process can't act for.
        """
        status = data.stat()
        account = cls.of_uid(status.st_uid) or cls(
            status.st_uid, status.st_gid, f"user number {status.st_uid}"
        )
        if account.uid == 0:
            raise EmbeddedServerError(
                f"the data folder {data} belongs to root, which PostgreSQL refuses: give it to "
                "the account it belonged to (chown -R), or start anew with: trisignal db reset"
            )
        if os.geteuid() not in {0, account.uid}:
            raise EmbeddedServerError(
                f"the embedded server in {data} belongs to {account.name}: run trisignal as that "
                "user, or choose a TRISIGNAL_HOME of your own"
            )
        return account

    def run(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path = Path("/"),
        typed: str = "",
        patience: float = 30.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, in a session of its own, and wait for its end.

        Out of the caller's session, so that Ctrl-C in a terminal reaches neither the program nor
        the server it leaves behind. `typed` is its standard input, `patience` is in seconds.

        Raises:
            EmbeddedServerError: it can't be run as this account, or doesn't end.
        """
        switch = os.geteuid() != self.uid
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            return subprocess.run(
                command,
                cwd=folder,
                input=typed,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment | {"LC_ALL": "C"},
                start_new_session=True,
                timeout=patience,
                check=False,
                user=self.uid if switch else None,
                group=self.gid if switch else None,
                extra_groups=[] if switch else None,
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedServerError(
                f"{Path(command[0]).name} did not end within {patience:.0f} s (account "
                f"{self.name}); see whether the disk of {folder} is full or hangs"
            ) from error
        except OSError as error:
            raise EmbeddedServerError(
                f"{command[0]} can't be run as account {self.name}: {error}"
            ) from error

    def can_enter(self, folder: Path) -> bool:
        """Whether this account reaches `folder`. Tried, since modes alone don't tell (ACLs)."""
        return self.run(["/bin/sh", "-c", 'cd "$1"', "sh", folder]).returncode == 0

    def make_folder(self, path: Path) -> None:
        """Make a folder that this account alone may enter.

        One that is there already is kept; it only changes hands if it is this process's own.
        """
        path.mkdir(mode=0o700, exist_ok=True)
        owner = path.lstat().st_uid
        if owner == os.geteuid() != self.uid:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def write_file(self, path: Path, text: str) -> None:
        """Put a file of this account in place, whole or not at all.

        Never through a file that is there: the account may have made it a link to somewhere that
        only root may write.
        """
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            if os.geteuid() != self.uid:
                os.fchown(file.fileno(), self.uid, self.gid)
        Path(temporary).replace(path)


def make_folders(path: Path, mode: int) -> None:
    """Make `path` and its missing parents, `path` itself with `mode`.

    Made by root, each belongs to the owner of the folder it is made in, so that a home that `sudo`
    made in somebody's project stays theirs. Folders that are there already are left as they are.
    """
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_folders(path.parent, 0o777)
    path.mkdir(mode=mode, exist_ok=True)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
