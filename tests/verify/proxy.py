"""A proxy between `verify` and a real server, which may lie in one way.

It runs in a thread of its own; every frame and every answer passes through its `Lie`. `Truth` changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field

import httpx
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

PATIENCE_S = 60
KEPT = {"etag", "repr-digest", "runstate-position", "content-type", "cache-control", "preference-applied"}


@dataclass
class Link:
    """One connection of a stream through the proxy."""

    kind: str  #: `ws` or `sse`.
    query: dict[str, str]  #: As the reader asked; `resume` also where it came as a header.
    number: int  #: Of the connections of this kind and query, from 1.
    memory: dict = field(default_factory=dict)  #: Whatever a lie wants to keep.

    @property
    def reader(self) -> str:
        """The name that `verify` gives to this reader; `client` for the Python client."""
        if "mode" not in self.query:
            return "client"
        name = "websocket" if self.kind == "ws" else "sse"
        if self.query["mode"] == "every":
            return f"{name}-every"
        return f"{name}-delta" if "delta" in self.query else name


class Truth:
    """Changes nothing; lies inherit."""

    reader = ""  #: Whose streams are lied to.

    def frames(self, link: Link, frame: dict) -> list[dict]:
        """Return what to send instead of a frame."""
        return [frame] if link.reader != self.reader else self.lie(link, frame)

    def lie(self, link: Link, frame: dict) -> list[dict]:
        """Return what the one who is lied to gets."""
        return [frame]

    def answer(self, path: str, status: int, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return what to answer instead."""
        return status, headers, body

    def unchanged(
        self, path: str, tag: str | None, status: int, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Return what to answer to whoever has `tag` instead."""
        return status, headers, body

    async def before(self, path: str) -> None:
        """Called before a request goes on."""

    def event_id(self, frame: dict) -> str | None:
        """Return the id of an event."""
        if frame["type"] == "transition":
            return frame["to"]
        return frame["position"] if frame["type"] == "snapshot" and not frame["more"] else None


def compact(frame: dict) -> str:
    # Canonical documents stay canonical, so their bytes pass unchanged.
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)


class Proxy(threading.Thread):
    """`with Proxy(url, lie) as proxy`: a server at `proxy.url`."""

    def __init__(self, upstream: str, lie: Truth) -> None:
        super().__init__(daemon=True)
        self._upstream, self._lie = upstream, lie
        self._numbers: dict[str, int] = {}
        routes = [
            Route("/api/stream", self._sse),
            WebSocketRoute("/api/ws", self._ws),
            Route("/{path:path}", self._http, methods=["GET", "POST"]),
        ]
        app = Starlette(routes=routes)
        self._server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._ready = threading.Event()

    def run(self) -> None:
        async def serve() -> None:
            async with httpx.AsyncClient(base_url=self._upstream, timeout=PATIENCE_S, trust_env=False) as self._client:
                config = self._server.config
                config.load()
                self._server.lifespan = config.lifespan_class(config)
                with contextlib.suppress(asyncio.CancelledError):
                    await self._server.startup()
                    self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
                    self._ready.set()
                    await self._server.main_loop()
                    await self._server.shutdown()

        asyncio.run(serve())

    def __enter__(self) -> Proxy:
        self.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self.join(PATIENCE_S)

    def _link(self, kind: str, query: dict[str, str]) -> Link:
        link = Link(kind, query, 0)
        self._numbers[kind + link.reader] = link.number = self._numbers.get(kind + link.reader, 0) + 1
        return link

    async def _http(self, request: Request) -> Response:
        await self._lie.before(request.url.path)
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        answer = await self._client.request(
            request.method,
            request.url.path,
            params=dict(request.query_params),
            headers=headers,
            content=await request.body(),
        )
        kept = {name: value for name, value in answer.headers.items() if name in KEPT}
        tag = request.headers.get("if-none-match") or request.query_params.get("after")
        status, body = answer.status_code, answer.content
        if tag is not None:
            status, kept, body = self._lie.unchanged(request.url.path, tag.strip('"'), status, kept, body)
        status, kept, body = self._lie.answer(request.url.path, status, kept, body)
        return Response(body if status != 304 else None, status, kept)

    async def _sse(self, request: Request) -> Response:
        query = dict(request.query_params)
        headers = {}
        link_query = query
        if "last-event-id" in request.headers:
            headers["last-event-id"] = request.headers["last-event-id"]
            link_query = query | {"resume": headers["last-event-id"]}
        link = self._link("sse", link_query)

        async def events():
            async with self._client.stream("GET", "/api/stream", params=query, headers=headers) as answer:
                rest = b""
                async for piece in answer.aiter_raw():
                    *events, rest = (rest + piece).split(b"\n\n")
                    for event in events:
                        data = next(line for line in event.split(b"\n") if line.startswith(b"data: "))
                        for frame in self._lie.frames(link, json.loads(data[6:])):
                            place = self._lie.event_id(frame)
                            named = "" if place is None else f"id: {place}\n"
                            yield f"{named}data: {compact(frame)}\n\n".encode()

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _ws(self, socket: WebSocket) -> None:
        query = dict(socket.query_params)
        link = self._link("ws", query)
        await socket.accept()
        address = self._upstream.replace("http", "ws") + "/api/ws?" + str(httpx.QueryParams(query))
        async with websockets.connect(
            address, compression=None, max_size=None, proxy=None, ping_interval=None, close_timeout=1
        ) as upstream:

            async def down() -> None:
                async for message in upstream:
                    for frame in self._lie.frames(link, json.loads(message)):
                        await socket.send_text(compact(frame))

            async def up() -> None:
                while True:
                    await upstream.send(await socket.receive_text())

            with contextlib.suppress(WebSocketDisconnect, websockets.ConnectionClosed, RuntimeError):
                await first_of(down(), up())


async def first_of(*work) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(quiet(one)) for one in work]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def quiet(work) -> None:
    with contextlib.suppress(WebSocketDisconnect, websockets.ConnectionClosed, RuntimeError):
        await work
