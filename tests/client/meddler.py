"""A machine between client and server that changes or swallows what comes back, byte for byte of the same length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

#: What becomes of bytes on their way to the client; None cuts the connection instead.
Meddle = Callable[[bytes], bytes | None]


class Meddler:
    """Passes on, through `meddle`."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self.meddle: Meddle = lambda passing: passing
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        assert self._target.hostname is not None
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            async with asyncio.TaskGroup() as tasks:
                ways = [
                    tasks.create_task(_pass(reader, back, lambda passing: passing)),
                    tasks.create_task(_pass(there, writer, self._meddled)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            back.close()
            writer.close()

    def _meddled(self, passing: bytes) -> bytes | None:
        return self.meddle(passing)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meddle: Meddle) -> None:
    try:
        while passing := await reader.read(1 << 20):
            passed = meddle(passing)
            if passed is None:
                return
            writer.write(passed)
            await writer.drain()
    except OSError:
        pass


@asynccontextmanager
async def meddling(target: str) -> AsyncGenerator[Meddler]:
    """Give a meddler before the server at `target`."""
    meddler = Meddler(target)
    server = await asyncio.start_server(meddler.handle, "127.0.0.1", 0)
    async with server:
        meddler.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield meddler
        server.close()
