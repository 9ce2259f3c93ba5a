"""What stands between clients and a server where nobody asked for it: proxies that mean well, and do harm.

Each takes one request from a connection, passes it on, and does with the answer what its `Way` says. It runs in the
test's own event loop, so clients of other processes can be behind it too.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Headers = dict[str, str]


@dataclass(frozen=True)
class Way:
    """One way to a server."""

    name: str
    comes_to: str  #: The transport that a client falls back to there.
    upgrades: bool = False  #: Whether WebSockets pass; else the upgrade is taken from the request, which goes on plain.
    streams: Literal["pass", "refuse", "hold"] = "pass"  #: `hold`: the head passes, and no byte of the events.
    tag: Literal["weak", "none"] | None = None  #: Compresses, and so weakens or strips the ETag.
    keeps_s: float = 0.0  #: A cache for so long, by the path alone and whatever the server says of it.
    cut_after_s: float | None = None  #: Every connection ends so long after it began; what others do after 60 s.


WAYS = (
    Way("nothing upgraded", "sse"),
    Way("streams refused", "long-poll", streams="refuse"),
    Way("streams held back", "long-poll", streams="hold"),
    Way("compressed, tags weakened", "long-poll", streams="refuse", tag="weak"),
    Way("compressed, tags stripped", "long-poll", streams="refuse", tag="none"),
    Way("cached without the query", "long-poll", streams="refuse", keeps_s=0.4),
    Way("WebSockets cut", "websocket", upgrades=True, cut_after_s=0.7),
    Way("streams cut", "sse", cut_after_s=0.7),
)


class Hostile:
    """A proxy that is one way."""

    def __init__(self, way: Way, target: str) -> None:
        self.way, self.url = way, ""
        self.asked: Counter[str] = Counter()  #: Requests, by path.
        self._target = urlsplit(target)
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            async with asyncio.timeout(self.way.cut_after_s):
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, headers = await _head(reader)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, _, rest = line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        self.asked[path] += 1
        if path == "/api/stream" and self.way.streams == "refuse":
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>")
            return
        now_s = asyncio.get_running_loop().time()
        until_s, kept = self._kept.get(path, (0.0, b""))
        if method == "GET" and now_s < until_s:
            writer.write(kept)
            return
        is_upgrade = "upgrade" in headers and self.way.upgrades
        if not is_upgrade:
            headers.pop("upgrade", None)
            headers["connection"] = "close"
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            back.write(_encoded(line, headers) + body)
            status, told = await _head(there)
            if is_upgrade or told.get("content-type", "").startswith("text/event-stream"):
                writer.write(_encoded(status, told))
                await _pump((there, writer, self.way.streams == "hold"), (reader, back, False))
                return
            answer = self._changed(status, told, await there.read())
            if method == "GET" and " 200 " in status and self.way.keeps_s:
                self._kept[path] = now_s + self.way.keeps_s, answer
            writer.write(answer)
            await writer.drain()
        finally:
            back.close()

    def _changed(self, status: str, headers: Headers, body: bytes) -> bytes:
        headers["connection"] = "close"
        if self.way.tag is not None and "etag" in headers:
            headers["etag"] = f"W/{headers['etag']}"
            if self.way.tag == "none":
                del headers["etag"]
            if body:
                body = gzip.compress(body)
                headers |= {"content-encoding": "gzip", "content-length": str(len(body))}
        return _encoded(status, headers) + body


async def _head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return line, {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest if each)}


def _encoded(line: str, headers: Headers) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")


async def _pump(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter, bool]) -> None:
    """Pass bytes both ways, or swallow them, until one side ends."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallows: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                if not swallows:
                    writer.write(piece)
                    await writer.drain()

    async with asyncio.TaskGroup() as tasks:
        pumps = [tasks.create_task(pump(*way)) for way in ways]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for one in pumps:
            one.cancel()


@asynccontextmanager
async def hostile(target: str) -> AsyncGenerator[list[Hostile]]:
    """Give a proxy of each way to the server at `target`."""
    async with AsyncExitStack() as stack:
        proxies = [Hostile(way, target) for way in WAYS]
        for proxy in proxies:
            server = await stack.enter_async_context(await asyncio.start_server(proxy.handle, "127.0.0.1", 0))
            proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxies
