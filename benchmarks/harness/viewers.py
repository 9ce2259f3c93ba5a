"""The load: many connections in one epoll loop, which count the stamps that arrive and how old they are.

A frame is counted by the stamp in its middle, so the same few lines read WebSocket, SSE and socket.io.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

STAMP = re.compile(rb"stamp=(\d{20})")
STAMP_BYTES = 26
AT_ONCE = 200  # connections that are greeted together
RECEIVE_BYTES = 1 << 18
QUIET_S = 3.0
WEBSOCKET = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
GET = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n%b\r\n"


@dataclass(frozen=True)
class Way:
    """How a viewer of one kind of server comes in: what it says, and what it waits for after each saying."""

    says: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def websocket(cls, path: str = "/", until: bytes = b"\r\n\r\n") -> Way:
        """A WebSocket that offers no compression."""
        return cls(((WEBSOCKET % path.encode(), until),))

    @classmethod
    def sse(cls, path: str = "/", until: bytes = b"\r\n\r\n") -> Way:
        """A stream of server-sent events."""
        return cls(((GET % (path.encode(), b"Accept-Encoding: identity\r\n"), until),))


#: socket.io without the polling that it begins with: its open packet, our connect packet (masked with zeros), its answer.
SOCKET_IO = Way(
    (
        (WEBSOCKET % b"/socket.io/?EIO=4&transport=websocket", b"0{"),
        (b"\x81\x82\x00\x00\x00\x0040", b"40{"),
    )
)


@dataclass
class Heard:
    """What the viewers heard."""

    frames: int = 0
    bytes: int = 0
    latencies_ms: list[float] = field(default_factory=list)


class Viewers:
    """Connections that listen; give them something to hear, then `hear`."""

    def __init__(self, port: int, way: Way, count: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count + 500:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 500)), hard))
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        while len(self._sockets) < count:
            self._greet(port, way, min(AT_ONCE, count - len(self._sockets)))

    def _greet(self, port: int, way: Way, count: int) -> None:
        new = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]
        for said, until in way.says:
            for each in new:
                each.sendall(said)
            for each in new:
                got = b""
                while until not in got:
                    more = each.recv(RECEIVE_BYTES)
                    if not more:
                        raise ConnectionError(f"a viewer was not let in: {got[:200]!r}")
                    got += more
        for each in new:
            each.setblocking(False)
            self._poll.register(each, select.EPOLLIN)
            self._sockets[each.fileno()] = each
            self._tails[each.fileno()] = b""

    def hear(self, frames: int, seconds: float) -> Heard:
        """Read until that many stamps have come, or nothing has for a while after `seconds`."""
        heard = Heard()
        took = heard.latencies_ms
        end = time.monotonic() + seconds + QUIET_S
        while heard.frames < frames and time.monotonic() < end:
            for number, _ in self._poll.poll(0.2, 1024):
                try:
                    data = os.read(number, RECEIVE_BYTES)
                except BlockingIOError:
                    continue
                if not data:
                    self._poll.unregister(number)
                    continue
                now = time.monotonic_ns()
                heard.bytes += len(data)
                data = self._tails[number] + data
                last = 0
                for found in STAMP.finditer(data):
                    took.append((now - int(found[1])) / 1e6)
                    heard.frames += 1
                    last = found.end()
                self._tails[number] = data[max(last, len(data) - STAMP_BYTES) :]
        return heard

    def close(self) -> None:
        """Leave, all at once."""
        self._poll.close()
        for each in self._sockets.values():
            each.close()


@contextlib.contextmanager
def viewers(port: int, way: Way, count: int) -> Iterator[Viewers]:
    """Lend viewers for as long as the block lasts."""
    there = Viewers(port, way, count)
    try:
        yield there
    finally:
        there.close()
