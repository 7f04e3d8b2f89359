"""A cluster: made, configured, launched. What PostgreSQL's own programs are needed for.

`postgresql.conf` and `pg_hba.conf` are written anew at every start. To tune the server, use
ALTER SYSTEM: that is kept, and comes later.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from trisignal_pipeline.errors import DatabaseUnavailableError, EmbeddedServerError
from trisignal_pipeline.storage.server_account import Account
from trisignal_pipeline.storage.server_binaries import Binaries
from trisignal_pipeline.storage.server_folder import PORT, ServerFolder
from trisignal_pipeline.storage.server_process import (
    live_postmaster,
    name_of,
    serving_pid,
    wait_until,
)

ROLE = "trisignal"
DATABASES = ("trisignal", "dagster")

# Recovery after a crash reads at most max_wal_size of log again.
START_WITHIN_S = 180
_ENOUGH_OF_A_LOG = 256 * 1024  # bytes

_SETTINGS = """\
# Written at every start of the server. To change a setting, use ALTER SYSTEM.
listen_addresses = ''
port = {port}
unix_socket_directories = '"{socket}"'
unix_socket_permissions = 0700
max_connections = 200

# A laptop's share: one user, a few busy connections.
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 32MB
maintenance_work_mem = 256MB
random_page_cost = 1.1
jit = off
# In files of the data folder: a container's /dev/shm is small, and desktop systems may empty it
# when the user who started the server logs out.
dynamic_shared_memory_type = mmap

# Every commit is on disk when it returns. There are no replicas to write a longer log for.
fsync = on
full_page_writes = on
synchronous_commit = on
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
min_wal_size = 128MB
max_wal_size = 2GB
checkpoint_timeout = 15min

# One file for each day of the week, begun anew when its day comes round.
logging_collector = on
log_directory = '../log'
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_line_prefix = '%m [%p] %d '
log_checkpoints = off

timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
shared_preload_libraries = '{preloaded}'
"""

_ACCESS = """\
# Whoever may enter the socket's folder may connect: the server's account, and root.
local all all trust
"""


def check_version(folder: ServerFolder, binaries: Binaries) -> None:
    """See that these programs can serve this data folder: that the major version is the same.

    Raises:
        EmbeddedServerError: it is another. The message names both, and the ways out.
    """
    version = (folder.data / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != str(binaries.major):
        raise EmbeddedServerError(
            f"the data in {folder.data} was written by PostgreSQL {version}, but the programs in "
            f"{binaries.folder} are PostgreSQL {binaries.version}: name programs of version "
            f"{version} in TRISIGNAL_POSTGRES_BIN and dump the data with their pg_dumpall, or "
            "delete it with: trisignal db reset"
        )


def initialise(folder: ServerFolder, account: Account, binaries: Binaries) -> None:
    """Make a cluster with its databases, under another name until it is whole and on disk.

    Raises:
        EmbeddedServerError: it can't be made; what PostgreSQL said is in the message.
    """
    for unfinished in folder.path.glob("new-*"):
        # Of a start that was killed: its initdb may go on writing until it misses what is deleted.
        wait_until(partial(_is_removed, unfinished), patience=10.0)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=folder.path))
    if os.geteuid() != account.uid:
        os.chown(new, account.uid, account.gid)
    # C.UTF-8 by PostgreSQL itself, so that an upgrade of the system can't reorder an index.
    locale = (
        ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.major >= 17 else []
    )
    steps = (
        [
            *("initdb", "-D", new.name, "--username", ROLE, "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", *locale, "--data-checksums", "--no-sync", "--no-instructions"),
        ],
        ["postgres", "--single", "-D", new.name, *("-c", "exit_on_error=on"), "postgres"],
        ["initdb", "-D", new.name, "--sync-only"],
    )
    create = "".join(f"CREATE DATABASE {database};\n" for database in DATABASES)
    try:
        for program, *arguments in steps:
            step = account.run(
                [binaries.program(program), *arguments],
                folder=folder.path,
                typed=create,  # initdb doesn't read it
                patience=START_WITHIN_S,
            )
            if step.returncode != 0:
                raise EmbeddedServerError(
                    f"{program} could not make a data folder in {folder.path} (account "
                    f"{account.name}): {(step.stderr or step.stdout).strip()[-2000:]}"
                )
        new.rename(folder.data)
        _sync(folder.path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_settings(folder: ServerFolder, account: Account, binaries: Binaries) -> None:
    """Write the server's settings, and who may connect."""
    preloaded = "pg_stat_statements" if binaries.carry("pg_stat_statements") else ""
    settings = _SETTINGS.format(port=PORT, socket=folder.socket, preloaded=preloaded)
    account.write_file(folder.data / "postgresql.conf", settings)
    account.write_file(folder.data / "pg_hba.conf", _ACCESS)


def launch(folder: ServerFolder, account: Account, binaries: Binaries) -> None:
    """Start the server and wait until it serves.

    Raises:
        EmbeddedServerError: it ended at once; the end of its log is in the message.
        DatabaseUnavailableError: it is still recovering from a crash.
    """
    # Relative to the folder: pg_ctl hands these paths to a shell, which would expand a $ in them.
    early_log = folder.log / "start.log"
    early_log.unlink(missing_ok=True)
    attempt = account.run(
        [
            *(binaries.program("pg_ctl"), "start", "--wait", f"--timeout={START_WITHIN_S}"),
            *("-D", folder.data.name, "-l", f"{folder.log.name}/{early_log.name}"),
            *("-o", f"-c cluster_name={name_of(folder.path)}"),
        ],
        folder=folder.path,
        patience=START_WITHIN_S + 30,
    )
    if serving_pid(folder) is not None:
        return
    if live_postmaster(folder) is not None:
        raise DatabaseUnavailableError(
            f"the embedded server in {folder.path} has been recovering for {START_WITHIN_S} s and "
            "goes on with it; try again later"
        )
    reason = tail(folder, 12) or (attempt.stderr or attempt.stdout).strip()
    raise EmbeddedServerError(
        f"PostgreSQL {binaries.version} does not start in {folder.data}. The end of its log:\n"
        f"{reason}"
    )


def tail(folder: ServerFolder, lines: int) -> str:
    """The last lines of the logs, the newest at the end."""
    logs = sorted(folder.log.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    texts = [_end_of(path) for path in logs]
    return "\n".join("".join(texts).splitlines()[-lines:])


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _ENOUGH_OF_A_LOG))
        return file.read(_ENOUGH_OF_A_LOG).decode(errors="replace")


def _is_removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
