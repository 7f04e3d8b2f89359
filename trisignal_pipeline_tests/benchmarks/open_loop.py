"""Requests at a fixed rate over a fixed number of connections, whatever the server makes of them.

A request has a time at which it is due. Its latency counts from then, not from when a connection
was free to carry it: a server that stalls is charged with everything that had to wait meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import psycopg

Ask = Callable[[], Awaitable[bool]]
"""Asks once; whether the answer was a good one."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a run: latencies of good answers in milliseconds, and what else there was."""

    latencies_ms: Sequence[float]
    errors: int
    seconds: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies_ms) / self.seconds

    def percentile(self, percent: float) -> float:
        """The latency that so many percent of the answers keep within, in milliseconds."""
        return float(np.percentile(self.latencies_ms, percent))


async def open_loop(asks: Sequence[Ask], rate: float, seconds: float) -> Load:
    """Ask `rate` times a second for so many seconds, each time over the next free one of `asks`."""
    due: asyncio.Queue[float | None] = asyncio.Queue()
    latencies: list[float] = []
    errors = 0

    async def carry(ask: Ask) -> None:
        nonlocal errors
        while (moment := await due.get()) is not None:
            if await ask():
                latencies.append((time.perf_counter() - moment) * 1000)
            else:
                errors += 1

    async with asyncio.TaskGroup() as group:
        for ask in asks:
            group.create_task(carry(ask))
        began = time.perf_counter()
        for number in range(round(rate * seconds)):
            moment = began + number / rate
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            due.put_nowait(moment)
        for _ in asks:
            due.put_nowait(None)
    return Load(latencies, errors, time.perf_counter() - began)


def http_load(
    port: int, targets: Sequence[str], *, connections: int, rate: float, seconds: float
) -> Load:
    """The load of GET requests, `targets` in turn, over connections that are kept open."""

    async def run() -> Load:
        asks = [await _http_ask(port, targets, first) for first in range(connections)]
        return await open_loop(asks, rate, seconds)

    return asyncio.run(run())


def sql_load(url: str, statement: bytes, *, connections: int, rate: float, seconds: float) -> Load:
    """The load of one statement, its rows fetched and not looked at."""

    async def run() -> Load:
        async with AsyncExitStack() as open_ones:
            asks = []
            for _ in range(connections):
                connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
                await open_ones.enter_async_context(connection)
                asks.append(_sql_ask(connection, statement))
            return await open_loop(asks, rate, seconds)

    return asyncio.run(run())


def _sql_ask(connection: psycopg.AsyncConnection, statement: bytes) -> Ask:
    async def ask() -> bool:
        cursor = await connection.execute(statement)
        return cursor.rowcount > 0

    return ask


async def _http_ask(port: int, targets: Sequence[str], first: int) -> Ask:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = first

    async def ask() -> bool:
        nonlocal number
        target = targets[number % len(targets)]
        number += 1
        writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        return head.startswith(b"HTTP/1.1 200")

    return ask
