"""The readers of streams: they move messages, and cut, stall and resume their own connections as planned."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from runstate.client.transports import LOOPBACK
from runstate.core.sse import SseDecoder
from runstate.verify.chaos import Act
from runstate.verify.hearing import Hearing

CONNECT_S = 5.0  # until a connection that does not come is tried again
PAUSE_S = (0.05, 0.1, 0.25, 0.5, 1.0)  # before the next try, the longer the more have failed

Message = tuple[bytes, str | None]  # and the id that a reconnect of an event stream would name


class Cut(Exception):
    """The connection's time is over, by our own plan."""


@dataclass
class StreamReader:
    """One stream, from its first connection until it is cancelled."""

    hearing: Hearing
    http: httpx.AsyncClient  #: Where the server is, and as whom we come.
    acts: deque[Act] = field(default_factory=deque)
    names_id: bool = False  #: Resumes by `Last-Event-ID` instead of the query.
    done: dict[str, int] = field(default_factory=dict)  #: How often we did what to ourselves.

    async def run(self) -> None:
        """Read until cancelled."""
        failures = 0
        resume: str | None = None
        while True:
            frames = self.hearing.frames
            try:
                await self._connection(resume)
            except Cut as cut:
                resume = self.hearing.place if cut.args[0] == "cut" else None
                continue
            except (OSError, httpx.HTTPError, websockets.WebSocketException) as exc:
                self.hearing.recorder.failed(self.hearing.name, type(exc).__name__)
            finally:
                self.hearing.disconnected()
            resume = self.hearing.place
            failures = 0 if self.hearing.frames > frames else failures + 1
            await asyncio.sleep(PAUSE_S[min(failures, len(PAUSE_S) - 1)])

    async def _connection(self, resume: str | None) -> None:
        """Hear one connection to its end.

        Raises:
            Cut: It is time to leave it.
        """
        query = self._query()
        headers = {}
        if resume is not None and self.names_id:
            headers["last-event-id"] = resume
        elif resume is not None:
            query["resume"] = resume
        open_stream = self._event_stream if self.hearing.is_sse else self._websocket
        cut = next((act for act in self.acts if act.what in ("cut", "renew")), None)
        limit = None if cut is None else self._loop_time(cut.at_s)
        try:
            async with asyncio.timeout_at(limit) as our_time, open_stream(query, headers) as (messages, socket):
                self.hearing.connected(resume)
                async with aclosing(messages):
                    async for raw, event_id in messages:
                        self.hearing.hear(raw, event_id)
                        await self._act(socket)
        except TimeoutError:
            if cut is None or not our_time.expired():
                raise
            self.acts.remove(cut)
            self._did(cut.what)
            raise Cut(cut.what) from None

    async def _act(self, socket: ClientConnection | None) -> None:
        """Stall, or ask for a snapshot, where that is due."""
        while self.acts and self.acts[0].what in ("stall", "ask") and self.acts[0].at_s * 1000 <= self._now_ms():
            act = self.acts.popleft()
            self._did(act.what)
            if act.what == "ask" and socket is not None:
                self.hearing.asked()
                await socket.send(msgspec.json.encode({"type": "subscribe", **self._query()}).decode())
            else:
                self.hearing.disconnected()  # silence is ours
                await asyncio.sleep(act.for_s)

    def _query(self) -> dict[str, str]:
        query = {"topics": "*", "mode": self.hearing.mode}
        return query | {"delta": "1"} if self.hearing.delta else query

    @asynccontextmanager
    async def _websocket(
        self, query: dict[str, str], _: dict[str, str]
    ) -> AsyncIterator[tuple[AsyncGenerator[Message], ClientConnection]]:
        base = self.http.base_url
        address = base.join("api/ws").copy_with(scheme="wss" if base.scheme == "https" else "ws", params=query)
        headers = {name: value for name, value in self.http.headers.items() if name == "authorization"}
        async with websockets.connect(
            str(address),
            additional_headers=headers,
            compression=None,
            max_size=None,
            open_timeout=CONNECT_S,
            ping_interval=None,
            proxy=None if base.host in LOOPBACK else True,
        ) as socket:
            try:
                yield _messages(socket), socket
            finally:
                socket.transport.abort()  # without a word, as links break

    @asynccontextmanager
    async def _event_stream(
        self, query: dict[str, str], headers: dict[str, str]
    ) -> AsyncIterator[tuple[AsyncGenerator[Message], None]]:
        async with self.http.stream(
            "GET",
            "api/stream",
            params=query,
            headers=headers | {"accept": "text/event-stream"},
            timeout=httpx.Timeout(CONNECT_S, read=None),  # heartbeats tell whether it lives
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise httpx.HTTPStatusError(f"{response.status_code}", request=response.request, response=response)
            yield _events(response.aiter_raw()), None

    def _did(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def _now_ms(self) -> int:
        return self.hearing.recorder.now_ms()

    def _loop_time(self, at_s: float) -> float:
        return asyncio.get_running_loop().time() + at_s - self._now_ms() / 1000


async def _messages(socket: ClientConnection) -> AsyncGenerator[Message]:
    async for message in socket:
        yield (message.encode() if isinstance(message, str) else b"a binary frame: " + message), None


async def _events(received: AsyncIterator[bytes]) -> AsyncGenerator[Message]:
    decoder = SseDecoder()
    async for piece in received:
        decoder, events = decoder.feed(piece)
        for event in events:
            yield event.data.encode(), event.id
