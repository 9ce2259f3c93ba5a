"""One engine behind two real servers, fast and plain, in the loop of the test: what one says the other must say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn

from runstate.engine import Engine, open_engine
from runstate.server.access import Policy
from runstate.server.app import make_api
from runstate.server.fastlane import Lane
from runstate.server.serve import configure, listen, make_lane

PATIENCE_S = 60
_DATE = re.compile(rb"(?m)^date: [^\r\n]*\r\n")
_LENGTH = re.compile(rb"(?im)^content-length: ([0-9]+)\r$")


class Quiet(uvicorn.Server):
    """uvicorn that leaves the signals to pytest."""

    def install_signal_handlers(self) -> None: ...

    async def serve(self, sockets=None) -> None:
        await self._serve(sockets)


@dataclass
class Path:
    """One way into the engine."""

    port: int
    server: Quiet
    asked: list[str] = field(default_factory=list)  #: Targets that reached the application.

    async def connect(self) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, *requests: bytes) -> bytes:
        """Send `requests` at once on one connection; return all that comes before the server closes it or is done."""
        wire = await self.connect()
        try:
            wire.writer.write(b"".join(requests))
            return b"".join([await wire.answer(is_head=request.startswith(b"HEAD")) for request in requests])
        finally:
            await wire.close()


class Wire:
    """One connection, read answer by answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self, *, is_head: bool = False) -> bytes:
        """Return the next answer without its date."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as end:
                return end.partial + b"<closed>"
            length = _LENGTH.search(head)
            body = b"" if is_head or length is None else await self.reader.readexactly(int(length[1]))
        return _DATE.sub(b"", head) + body

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


@dataclass
class Paths:
    engine: Engine
    fast: Path
    plain: Path
    lane: Lane


@asynccontextmanager
async def both_paths(pipelines, folder, policy: Policy | None = None) -> AsyncIterator[Paths]:
    """An engine with both servers over it."""
    policy = policy or Policy()
    failure: BaseException | None = None
    async with open_engine(pipelines, folder) as engine:
        lane = make_lane(engine, policy)
        api = make_api(engine, policy)
        async with asyncio.TaskGroup() as group:
            paths = [await _serve(group, api, way) for way in (lane, None)]
            try:
                yield Paths(engine, *paths, lane)
            except BaseException as exc:
                failure = exc  # raised here it would cancel the servers, and uvloop's end waits for their sockets
            engine.begin_to_end()
            lane.drain()
            for path in paths:
                path.server.should_exit = True
    if failure is not None:
        raise failure


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - others' insides have no events
            await asyncio.sleep(0)


async def _serve(group: asyncio.TaskGroup, api, lane: Lane | None) -> Path:
    listener = listen("127.0.0.1", 0)
    asked: list[str] = []

    async def counting(scope, receive, send) -> None:
        asked.append(scope["path"])
        await api(scope, receive, send)

    server = Quiet(configure(counting, lane))
    path = Path(listener.getsockname()[1], server, asked)
    serving = group.create_task(server.serve([listener]))
    await until(lambda: server.started or serving.done())
    return path
