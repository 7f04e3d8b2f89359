"""A relay between client and server that can lose the server's answer to a COMMIT.

To the client such a connection is lost at the one moment when it can't know whether its
transaction was committed. No server does that on demand; a relay does.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_SOCKET = ".s.PGSQL.5432"
_COMMIT = b"COMMIT\0"
_MOST = 1 << 16


class LossyRelay:
    """Passes everything on, but for the answer to the `lose`-th COMMIT of all clients."""

    def __init__(self, folder: Path, server: str, lose: int) -> None:
        self.lost = 0
        self._server = server
        self._commits_left = lose
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(folder / _SOCKET))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = [self._listener]

    def serve(self) -> None:
        """Take clients until the relay is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self._server)
                self._open += [client, upstream]
                thread = threading.Thread(target=self._relay, args=(client, upstream))
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        """End every connection."""
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join()

    def _relay(self, client: socket.socket, upstream: socket.socket) -> None:
        loses = False
        with suppress(OSError, ValueError), closing(client), closing(upstream):
            while True:
                for end in select.select([client, upstream], [], [])[0]:
                    data = end.recv(_MOST)
                    if not data:
                        return
                    if end is client:
                        if _COMMIT in data:
                            self._commits_left -= 1
                            loses = self._commits_left == 0
                        upstream.sendall(data)
                    elif loses:
                        # The server has answered: whatever it was, it is done.
                        self.lost += 1
                        return
                    else:
                        client.sendall(data)


@contextmanager
def lossy(url: str, folder: Path, *, lose: int) -> Iterator[tuple[str, LossyRelay]]:
    """The URL of a relay to the database of `url`, which listens on a Unix socket."""
    [host] = parse_qs(urlsplit(url).query)["host"]
    relay = LossyRelay(folder, f"{host}/{_SOCKET}", lose)
    thread = threading.Thread(target=relay.serve)
    thread.start()
    try:
        yield url.replace(host, os.fspath(folder)), relay
    finally:
        relay.close()
        thread.join()
