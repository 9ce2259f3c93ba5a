"""The three ways to frames: WebSocket, event stream, and plain answers (PROTOCOL §4, F13).

Law: a transport moves messages and holds no rule. It is a coroutine that hears frames until the connection ends, and
returns how it ended; cancelling it closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import websockets
from websockets.asyncio.client import ClientConnection

from runstate.client.clock import Clock
from runstate.client.frames import parse_frame, parse_trouble
from runstate.client.http import milliseconds
from runstate.core.poll import Answer, Ask, Path, Poll, round_of, take
from runstate.core.replica import Frame, Trouble
from runstate.core.sse import SseDecoder

#: Takes each frame with the latest `retry` of its stream, in milliseconds.
Hear = Callable[[Frame, int], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
CLOSE_WITHIN_S = 1.0  # a peer that is gone does not answer the closing handshake


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended."""

    trouble: Trouble | None = None  #: What the server answered instead of a stream.
    retry_ms: int = 0  #: Do not come back sooner.


async def run_websocket(
    base: httpx.URL, headers: Mapping[str, str], query: Mapping[str, str], hear: Hear, outbox: asyncio.Queue[str]
) -> End:
    """Hear what a WebSocket brings, and send what is put into `outbox`."""
    address = base.join("api/ws").copy_with(scheme="wss" if base.scheme == "https" else "ws", params=query)
    connecting = websockets.connect(
        str(address),
        additional_headers=headers,
        compression=None,
        max_size=None,  # a snapshot's part holds at least one document, and the server bounds those
        open_timeout=None,  # the link gives up
        ping_interval=None,  # heartbeats are frames
        close_timeout=CLOSE_WITHIN_S,
        proxy=None if base.host in LOOPBACK else True,
    )
    try:
        async with connecting as socket, asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(_write(socket, outbox))
            await _read(socket, hear)
            writer.cancel()
    except websockets.InvalidStatus as exc:
        return _refusal(exc.response.body or b"", exc.response.status_code, exc.response.headers.get("Retry-After"))
    except (OSError, websockets.WebSocketException):
        pass
    return End()


async def run_event_stream(client: httpx.AsyncClient, query: Mapping[str, str], hear: Hear) -> End:
    """Hear what an event stream brings."""
    decoder = SseDecoder()
    try:
        async with client.stream(
            "GET",
            "api/stream",
            params=dict(query),
            headers={"accept": "text/event-stream"},
            timeout=httpx.Timeout(client.timeout.connect, read=None),  # heartbeats tell the link whether it lives
        ) as response:
            if response.status_code != httpx.codes.OK:
                return _refusal(await response.aread(), response.status_code, response.headers.get("retry-after"))
            async for received in response.aiter_bytes():
                decoder, events = decoder.feed(received)
                for event in events:
                    await hear(parse_frame(event.data), decoder.retry_ms or 0)
    except httpx.HTTPError:
        pass
    return End(retry_ms=decoder.retry_ms or 0)


async def run_long_poll(client: httpx.AsyncClient, topics: tuple[str, ...], hear: Hear, clock: Clock) -> End:
    """Hear what plain answers come to."""
    poll = Poll(topics)
    while not poll.has_ended:
        asked = round_of(poll)
        if asked.pause_ms:
            await clock.sleep_until(clock.now_ms() + asked.pause_ms)
        began_ms = clock.now_ms()
        async with asyncio.TaskGroup() as tasks:
            asking = {ask.path: tasks.create_task(_get(client, ask)) for ask in asked.asks}
        answers: dict[Path, Answer] = {}
        for path, task in asking.items():
            match task.result():
                case Answer() as answer:
                    answers[path] = answer
                case End() as end:
                    return end
        poll, frames = take(poll, answers, elapsed_ms=clock.now_ms() - began_ms)
        for frame in frames:
            await hear(frame, 0)
    return End()


async def _get(client: httpx.AsyncClient, ask: Ask) -> Answer | End:
    query = {"after": ask.after, "min": ask.least, "wait": ask.wait_s or None}
    try:
        response = await client.get(
            "/".join(quote(part, safe="") for part in ask.path),
            params={name: str(value) for name, value in query.items() if value is not None},
        )
    except httpx.HTTPError:
        return End()
    headers = response.headers
    if response.status_code not in (httpx.codes.OK, httpx.codes.NOT_MODIFIED):
        return _refusal(response.content, response.status_code, headers.get("retry-after"))
    body = response.content if response.status_code == httpx.codes.OK else None
    return Answer(body, headers.get("etag"), headers.get("repr-digest"), headers.get("runstate-position"))


async def _read(socket: ClientConnection, hear: Hear) -> None:
    try:
        async for message in socket:
            await hear(parse_frame(message), 0)
    except websockets.ConnectionClosed:
        pass


async def _write(socket: ClientConnection, outbox: asyncio.Queue[str]) -> None:
    try:
        while True:
            await socket.send(await outbox.get())
    except websockets.ConnectionClosed:
        pass


def _refusal(body: bytes | bytearray, status: int, retry_after: str | None) -> End:
    return End(parse_trouble(bytes(body), status), milliseconds(retry_after))
