"""The bare limit of Python: asyncio (uvloop) and httptools, which answer one prepared response or a 304."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import uvloop

BODY = b"x" * 1300
ETAG = b'"1-00000000.7"'
HEADERS = b"ETag: " + ETAG + b"\r\nCache-Control: no-cache\r\n"
FULL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
    len(BODY),
    HEADERS,
    BODY,
)
SAME = b"HTTP/1.1 304 Not Modified\r\n%b\r\n" % HEADERS


class Protocol(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.is_same = False

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Note the path."""
        self.url, self.is_same = url, False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Compare the tag."""
        if name.lower() == b"if-none-match":
            self.is_same = value == ETAG

    def on_message_complete(self) -> None:
        """Answer."""
        self.transport.write(SAME if self.is_same else FULL)


async def main() -> None:
    """Serve until the end."""
    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0, backlog=2048)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
