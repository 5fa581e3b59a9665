"""Closed-loop load over keep-alive connections: each sends its next request when the answer has come.

The client is as thin as Python allows, so that the server stays what is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Make = Callable[[], bytes]


def request(path: str, body: bytes, headers: str) -> bytes:
    """A POST of JSON, as bytes."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Seen:
    """What one run saw: seconds from request to answer, and answers that were not 200."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    last: bytes = b""


class _Connection(asyncio.Protocol):
    def __init__(self, make: Make, seen: Seen, until: float) -> None:
        self.make, self.seen, self.until = make, seen, until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.wanted = -1
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        self.began = time.perf_counter()
        if self.began >= self.until:
            self.transport.close()
            return
        self.transport.write(self.make())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.wanted < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            at = head.index(b"content-length:") + 15
            stop = head.find(b"\r\n", at)
            self.wanted = end + 4 + int(head[at : stop if stop > 0 else end])
        if len(self.buffer) >= self.wanted:
            self.seen.seconds.append(time.perf_counter() - self.began)
            if not self.buffer.startswith(b"HTTP/1.1 200"):
                self.seen.failed += 1
                self.seen.last = self.buffer
            self.buffer, self.wanted = b"", -1
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def run(port: int, make: Make, connections: int, seconds: float) -> Seen:
    """Load for so long; what was seen. A connection that the server closes ends early."""
    seen = Seen()
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: _Connection(make, seen, until), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for connection in made))
    return seen


async def answer(port: int, message: bytes) -> bytes:
    """The body of one answer. Raises RuntimeError for one that is not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head.decode()}{body[:500].decode()}")
    return body
