"""Streams (PROTOCOL §4): the same frames on WebSocket and SSE. Thin: what is sent and when is the subscription's.

What the query asks is judged before anything is streamed; a reader that takes nothing for 15 s is let go (F8).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from runstate.core import sse
from runstate.core.canonical import Json, decode
from runstate.core.commit import Document
from runstate.core.errors import InvalidValue, PeerError, RunstateError
from runstate.core.frames import CLOSE_CODES, problem
from runstate.core.position import Position
from runstate.core.reader import Topics
from runstate.ports import Clock
from runstate.server.problems import Problem, problem_of
from runstate.server.query import query_of
from runstate.server.waiting import reach
from runstate.state.bus import EventBus, Subscription, Wanted
from runstate.state.manager import PipelineStateManager

DRAIN_S = 15.0
ABORT = "runstate.abort"  #: In the scope's `state`: ends the connection with what stands in its buffers.
OPTIONS = ("topics", "resume", "delta", "mode")


class Streams:
    """The two streaming routes over one bus."""

    def __init__(self, manager: PipelineStateManager, bus: EventBus, clock: Clock) -> None:
        self._manager, self._bus, self._clock = manager, bus, clock

    async def sse(self, request: Request) -> Response:
        """`GET /api/stream`."""
        wanted = dict(query_of(request, OPTIONS))
        if "last-event-id" in request.headers:
            wanted["resume"] = request.headers["last-event-id"]  # F7: the browser's own reconnect knows better
        return SseResponse(self._bus, self._manager, await self._judge(wanted), self._clock)

    async def websocket(self, socket: WebSocket) -> None:
        """`WS /api/ws`."""
        try:
            wanted = await self._judge(query_of(socket, OPTIONS))
        except RunstateError as error:
            await socket.send_denial_response(problem_of(error).response())
            return
        await socket.accept()
        wanted = await as_now(self._manager, wanted)
        with self._bus.subscribe(self._manager, wanted) as subscription:
            await _until_one_ends(
                self._receive(socket, subscription),
                _send(socket, subscription),
                _expire(socket, subscription, self._clock),
            )

    async def no_upgrade(self, _: Request) -> Response:
        """`GET /api/ws` without the upgrade, or with one that is none: as when a proxy took its headers away."""
        refusal = Problem("upgrade_required", "/api/ws is a WebSocket; GET /api/stream says the same over plain HTTP")
        return refusal.response({"Upgrade": "websocket", "Connection": "Upgrade"})

    async def no_socket(self, socket: WebSocket) -> None:
        """Refuse a WebSocket where there is none, as every unknown path is refused (H9)."""
        refusal = Problem("not_found", f"there is no WebSocket at {socket.url.path}; it is at /api/ws")
        await socket.send_denial_response(refusal.response())

    async def _receive(self, socket: WebSocket, subscription: Subscription) -> None:
        while True:
            message = await socket.receive()
            if message["type"] != "websocket.receive":
                return
            try:
                wanted = await self._asked(message.get("text"))
                subscription.subscribe(await as_now(self._manager, wanted))
            except RunstateError as error:
                subscription.say(problem(problem_of(error).members()))
            await subscription.until_said()  # F8: whoever talks and never listens is not listened to either

    async def _asked(self, text: str | None) -> Wanted:
        """Return what a later `subscribe` message asks for."""
        if text is None:
            raise Problem("bad_json", "messages are text frames with one JSON object")
        try:
            message = decode(text)
        except InvalidValue as exc:
            raise Problem("bad_json", f"the message is {exc}") from exc
        if not isinstance(message, dict) or message.get("type") != "subscribe":
            raise Problem("bad_query", 'the message is not {"type": "subscribe", …}')
        unknown = sorted(message.keys() - {"type", *OPTIONS})
        if unknown:
            raise Problem("bad_query", f"subscribe has the unknown member {unknown[0]!r}; known: {', '.join(OPTIONS)}")
        wanted = await self._judge({name: value for name, value in message.items() if name != "type"})
        return replace(wanted, reason="subscribe")

    async def _judge(self, asked: Mapping[str, Json]) -> Wanted:
        """Return what a reader asks for, checked; waits a little for a position that others have seen (F6)."""
        for name, value in asked.items():
            if not isinstance(value, str) and not (name == "delta" and type(value) is int):
                raise Problem("bad_query", f"{name} is of the wrong type; text is needed")
        mode, delta = asked.get("mode", "latest"), asked.get("delta", "0")
        if mode not in ("latest", "every"):
            raise Problem("bad_query", f"mode {mode!r} is not known; use latest or every")
        if delta not in ("0", "1", 0, 1):
            raise Problem("bad_query", f"delta {delta!r} is not known; use 0 or 1")
        try:
            topics = Topics.parse(asked.get("topics"))
            resume = Position.parse(asked["resume"]) if "resume" in asked else None
        except PeerError as exc:
            raise Problem("bad_query", str(exc)) from exc
        for name in sorted(topics.pipelines):
            self._manager.head.pipeline(name)
        named = [await self._manager.find_run(run_id) for run_id in sorted(topics.runs)]
        with contextlib.suppress(Problem):
            await reach(self._manager, resume)  # else the stream says `bye behind`, or `bye drain`
        return Wanted(topics, resume, delta=delta in ("1", 1), mode=mode, kept=tuple(named))


async def as_now(manager: PipelineStateManager, wanted: Wanted) -> Wanted:
    """Return `wanted` with its named runs as they are now; each may have moved since it was found, and been left.

    Nothing is awaited after the last look, so a subscription made at once shows that (F1).
    """
    revision = 0
    kept = wanted.kept
    while any(_may_have_moved(manager, document, revision) for document in kept):
        revision = manager.head.revision
        kept = tuple([await manager.find_run(document.key.id) for document in kept])
    return replace(wanted, kept=kept)


def _may_have_moved(manager: PipelineStateManager, document: Document, revision: int) -> bool:
    """Return whether a run that memory does not have may be another one than at `revision`."""
    head = manager.head
    return head.get(document.key) is None and manager.bus.has_touched(document.key, after=revision, head=head.revision)


async def _expire(connection: HTTPConnection, subscription: Subscription, clock: Clock) -> None:
    """End the stream with `bye auth` when the token that opened it expires (PROTOCOL §6)."""
    token = connection.scope.get("runstate.token")
    if token is not None and token.expires_ms is not None:
        while token.is_valid(clock.now_ms()):  # noqa: ASYNC110 - the wall clock may be set meanwhile
            await asyncio.sleep(min((token.expires_ms - clock.now_ms()) / 1000, 60.0))
        subscription.end("auth")
    await asyncio.Event().wait()


async def _until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(piece) for piece in work]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _send(socket: WebSocket, subscription: Subscription) -> None:
    try:
        async for frame in subscription:
            async with asyncio.timeout(DRAIN_S):
                await socket.send_text(frame.data.decode())
            if frame.close is not None:
                await socket.close(frame.close)
                return
    except TimeoutError:
        _abort(socket.scope)
        await socket.close(CLOSE_CODES["slow"])
    except WebSocketDisconnect:
        return


class SseResponse(Response):
    """An endless `text/event-stream` of one subscription's frames."""

    def __init__(self, bus: EventBus, manager: PipelineStateManager, wanted: Wanted, clock: Clock) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(None, 200, headers, "text/event-stream")
        del self.headers["content-length"]
        self._bus, self._manager, self._wanted, self._clock = bus, manager, wanted, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the reader or the server leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        wanted = await as_now(self._manager, self._wanted)
        with self._bus.subscribe(self._manager, wanted) as subscription:
            await _until_one_ends(
                _disconnected(receive),
                _send_events(scope, send, subscription),
                _expire(HTTPConnection(scope), subscription, self._clock),
            )


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _abort(scope: Scope) -> None:
    """End the connection now: a close that waits for the reader to read would wait for ever."""
    abort = scope.get("state", {}).get(ABORT)
    if abort is not None:  # an embedding server has its own ways
        abort()


async def _send_events(scope: Scope, send: Send, subscription: Subscription) -> None:
    try:
        async for frame in subscription:
            event = sse.encode(frame.data, id=frame.id, retry_ms=frame.retry_ms)
            async with asyncio.timeout(DRAIN_S):
                await send({"type": "http.response.body", "body": event, "more_body": frame.close is None})
            if frame.close is not None:
                return
    except TimeoutError:
        _abort(scope)  # F8: the close alone
