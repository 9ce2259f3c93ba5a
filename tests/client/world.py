"""A server that a test plays, on a real socket, and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve

from runstate.core.canonical import decode, digest, encode
from runstate.core.sse import encode as event

EPOCH = "100-aaaaaaaa"


class ManualClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self._now_ms = 1_000_000
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return self._now_ms

    async def sleep_until(self, at_ms: int) -> None:
        while self._now_ms < at_ms:
            await self._moved.wait()

    def advance(self, ms: int) -> None:
        """Move time on and wake who waited for it."""
        self._now_ms += ms
        self._moved.set()
        self._moved = asyncio.Event()


class Answers:
    """An HTTP server of raw bytes: what it was asked, and what it answers to `METHOD /path`."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str], bytes]] = []  #: Request line, headers, body.
        self.answers: dict[str, Callable[[asyncio.StreamWriter], Awaitable[None]]] = {}

    def say(self, request: str, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer `request` with one message."""
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        message = "\r\n".join(lines).encode() + b"\r\n\r\n" + body

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(message)

        self.answers[request] = answer

    def stream(self, request: str, frames: asyncio.Queue[bytes | None]) -> None:
        """Answer `request` with an event stream that brings what is put into `frames`, until None."""

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            while (frame := await frames.get()) is not None:
                writer.write(frame)
                await writer.drain()

        self.answers[request] = answer

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = head[0].split(" ")
            self.asked.append((f"{method} {path}", headers, body))
            answer = self.answers.get(f"{method} {path.partition('?')[0]}")
            if answer is not None:
                await answer(writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def answering() -> AsyncGenerator[Answers]:
    """Give an HTTP server on a free port."""
    answers = Answers()
    server = await asyncio.start_server(answers.handle, "127.0.0.1", 0)
    async with server:
        answers.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield answers


class Sockets:
    """A WebSocket server: each connection that a client made, in order."""

    def __init__(self) -> None:
        self.url = ""
        self.opened: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def handle(self, socket: ServerConnection) -> None:
        """Hold one connection until the client or the test ends it."""
        self.opened.put_nowait(socket)
        await socket.wait_closed()


@asynccontextmanager
async def sockets() -> AsyncGenerator[Sockets]:
    """Give a WebSocket server on a free port."""
    world = Sockets()
    async with serve(world.handle, "127.0.0.1", 0) as server:
        world.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield world


def at(revision: int) -> str:
    return f"{EPOCH}.{revision}"


def run(version: int, state: str, run_id: str = "r1", *, status: str = "running") -> dict:
    """Return a run document of PROTOCOL D1."""
    nothing = dict.fromkeys(
        ["current_stage", "started_at", "updated_at", "ended_at", "error", "error_code", "stop_requested"]
    )
    return {
        **nothing,
        "schema": 1,
        "epoch": EPOCH,
        "pipeline": "market",
        "run_id": run_id,
        "version": version,
        "state": state,
        "status": status,
        "retry_count": 0,
        "metadata": {},
        "trigger": {"kind": "manual", "by": None},
        "stage_order": [],
        "stages": {},
    }


def change(document: dict, revision: int) -> dict:
    data = {"old_state": "idle", "new_state": document["state"], "canonical_state": document}
    named = {"event": "state_change", "kind": "run", "run_id": document["run_id"], "stage": "pipeline"}
    commit = {"position": at(revision), "version": document["version"], "digest": digest(encode(document))}
    return {**named, **commit, "timestamp": "2026-11-23T17:36:00.000Z", "data": data}


def hello(revision: int) -> bytes:
    told = {"protocol": 1, "server": "s", "epoch": EPOCH, "position": at(revision), "heartbeat_ms": 5000}
    return encode({"type": "hello", **told})


def snapshot(revision: int, *changes: dict) -> bytes:
    told = {"reason": "initial", "position": at(revision), "more": False, "changes": list(changes)}
    return encode({"type": "snapshot", **told})


def transition(start: int, end: int, *changes: dict) -> bytes:
    told = {"from": at(start), "to": at(end), "server_time": "2026-11-23T17:36:00.000Z", "source_age_ms": 3}
    return encode({"type": "transition", **told, "changes": list(changes)})


async def send(socket: ServerConnection, *frames: bytes) -> None:
    """Send frames as text, as PROTOCOL F1 wants them."""
    for frame in frames:
        await socket.send(frame.decode())


def events(*frames: bytes) -> bytes:
    return b"".join(event(frame) for frame in frames)


__all__ = [
    "EPOCH",
    "Answers",
    "ManualClock",
    "Sockets",
    "answering",
    "at",
    "change",
    "decode",
    "encode",
    "events",
    "hello",
    "run",
    "send",
    "snapshot",
    "sockets",
    "transition",
]
