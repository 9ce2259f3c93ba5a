"""Runstate: the ASGI application, embeddable below any path of any host application.

app = Runstate([market], data="./.runstate")
FastAPI(lifespan=app.lifespan).mount("/runstate", app)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from runstate.client.reporting import LEASE_S, PROGRESS_INTERVAL_S
from runstate.client.track import TrackedRun, track
from runstate.core.errors import RunstateError
from runstate.engine import Engine, open_engine
from runstate.pipeline.definition import Pipeline, check_pipelines
from runstate.pipeline.orchestrator import Orchestrator
from runstate.pipeline.runlog import MAX_LOG_BYTES
from runstate.pipeline.webhook import WebhookConfig
from runstate.server.access import AccessControl, Policy, Sessions, Token
from runstate.server.commands import Commands
from runstate.server.contract.serving import serve_asyncapi, serve_openapi
from runstate.server.dashboard_files import dashboard_routes
from runstate.server.external import External, InProcess
from runstate.server.files import Files
from runstate.server.idempotency import IdempotencyKeys
from runstate.server.logs import Logs
from runstate.server.maintenance import Maintenance
from runstate.server.problems import answer_bug, answer_error, answer_http_error
from runstate.server.reads import Reads
from runstate.server.stream import Streams
from runstate.server.webhooks import WebhookRoutes
from runstate.state.manager import PipelineStateManager
from runstate.state.retention import Keep


class Runstate:
    """Pipelines, their data directory and their API as one ASGI application."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        data: str | Path = "./.runstate",
        *,
        tokens: Sequence[Token] = (),
        origins: Sequence[str] = (),
        any_host: bool = False,
        keep: Keep | None = None,
        max_log_bytes: int = MAX_LOG_BYTES,
        webhooks: Sequence[WebhookConfig] | None = None,
    ) -> None:
        """Name what is served; nothing is opened before the lifespan begins.

        Args:
            pipelines: The first is the default.
            data: The data directory; made if need be.
            tokens: Who may come in; none: everybody on this machine.
            origins: Pages of other servers that may use this one.
            keep: What history and logs keep; None: everything.
            max_log_bytes: What the log of one run may take; its oldest lines go beyond that.
            webhooks: Who is told of ends of runs (`runstate.webhooks.Webhook`); None: nobody.
            any_host: Whether `Host` may be any name although there are no tokens: the host application watches over it.

        Raises:
            DefinitionError: A pipeline has no stage.
        """
        check_pipelines(pipelines)
        self._pipelines, self._data = tuple(pipelines), Path(data)
        self._policy = Policy(tuple(tokens), frozenset(origins), any_host)
        self._keep, self._max_log_bytes, self._webhooks = keep, max_log_bytes, webhooks
        self._engine: Engine | None = None
        self._api: Starlette | None = None
        self._stack = AsyncExitStack()
        self._starting = asyncio.Lock()

    @property
    def engine(self) -> Engine:
        """What runs while the lifespan lasts; asking outside it is a mistake in the host application."""
        if self._engine is None:
            raise RuntimeError("Runstate is not running; pass its lifespan to the host application")
        return self._engine

    @property
    def manager(self) -> PipelineStateManager:
        """The single source of truth."""
        return self.engine.manager

    @property
    def orchestrator(self) -> Orchestrator:
        """Starts and stops runs."""
        return self.engine.orchestrator

    def track(
        self,
        pipeline: str,
        *,
        stages: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
        lease_s: float = LEASE_S,
        override: bool = False,
        progress_interval_s: float = PROGRESS_INTERVAL_S,
    ) -> AbstractAsyncContextManager[TrackedRun]:
        """Execute a run in this process, as long as the block lasts: inside a web request, for example.

        Raises on leaving what the work raised, and `runstate.client.Stopped` where somebody asked the run to stop.
        """
        return track(
            self.door,
            pipeline,
            stages=stages,
            metadata=metadata,
            lease_s=lease_s,
            override=override,
            progress_interval_s=progress_interval_s,
        )

    @property
    def door(self) -> InProcess:
        """Where `track` and `track_sync` report to."""
        return InProcess(self.engine.external)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that everything here belongs to; threads hand it coroutines."""
        return self.engine.loop

    @asynccontextmanager
    async def lifespan(self, _: Any = None) -> AsyncIterator[None]:
        """Open the data directory, recover what was under way, serve until the block ends.

        Raises:
            StoreError: The data directory cannot be used.
        """
        async with open_engine(
            self._pipelines, self._data, keep=self._keep, max_log_bytes=self._max_log_bytes, webhooks=self._webhooks
        ) as engine:
            self._engine, self._api = engine, make_api(engine, self._policy)
            try:
                yield
            finally:
                engine.begin_to_end()
                self._engine = self._api = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; see ASGI."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        await self._ensure_running()
        assert self._api is not None, "it runs now"
        await self._api(scope, receive, send)

    async def _ensure_running(self) -> None:
        """Start with the first request where the host application does not know our lifespan."""
        async with self._starting:
            if self._api is not None:
                return
            loop = asyncio.get_running_loop()
            started: asyncio.Future[None] = loop.create_future()
            # A task of its own, kept as long as we are: a request's task ends, and with it what was entered there.
            self._life = loop.create_task(self._live(started))
            await started

    async def _live(self, started: asyncio.Future[None]) -> None:
        try:
            async with self.lifespan():
                started.set_result(None)
                await asyncio.Event().wait()
        except RunstateError as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._stack.enter_async_context(self.lifespan())
        except RunstateError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def make_api(engine: Engine, policy: Policy) -> Starlette:
    """Return the routes over an open engine, for whom `policy` lets in."""
    reads = Reads(engine.manager)
    commands = Commands(engine.orchestrator, IdempotencyKeys(engine.manager, engine.clock))
    external = External(engine.external, commands, engine.manager)
    streams = Streams(engine.manager, engine.bus, engine.clock)
    sessions = Sessions(policy, engine.clock)
    logs = Logs(engine.manager, engine.logs)
    webhooks = WebhookRoutes(engine.webhooks)
    files = Files(engine.manager, engine.work)
    api = [
        Route("/pipeline/status", reads.status),
        Route("/pipeline/start", commands.start, methods=["POST"]),
        Route("/pipeline/stop", commands.stop_current, methods=["POST"]),
        Route("/pipelines", reads.pipelines),
        Route("/pipelines/{name}", reads.pipeline),
        Route("/pipelines/{name}/status", reads.status),
        Route("/pipelines/{name}/start", commands.start, methods=["POST"]),
        Route("/pipelines/{name}/schedule", commands.set_schedule, methods=["PUT"]),
        Route("/pipelines/{name}/acknowledge", commands.acknowledge, methods=["POST"]),
        Route("/pipelines/{name}/runs", external.open, methods=["POST"]),
        Route("/runs", reads.runs),
        Route("/runs/{run_id}", reads.run),
        Route("/runs/{run_id}/versions/{version}", reads.version),
        Route("/runs/{run_id}/history", reads.history),
        Route("/runs/{run_id}/stop", commands.stop, methods=["POST"]),
        Route("/runs/{run_id}/retry", commands.retry, methods=["POST"]),
        Route("/runs/{run_id}/facts", external.report, methods=["POST"]),
        Route("/runs/{run_id}/logs", logs.read),
        Route("/runs/{run_id}/files/{path:path}", files.read),
        Route("/journal/compact", Maintenance(engine.manager, engine.clock).compact, methods=["POST"]),
        Route("/webhooks", webhooks.read),
        Route("/webhooks/{id}/redeliver", webhooks.redeliver, methods=["POST"]),
        Route("/session", sessions.begin, methods=["POST"]),
        Route("/openapi.json", serve_openapi),
        Route("/asyncapi.json", serve_asyncapi),
        Route("/stream", streams.sse),
        WebSocketRoute("/ws", streams.websocket),
        Route("/ws", streams.no_upgrade, include_in_schema=False),
        WebSocketRoute("/{path:path}", streams.no_socket),
    ]
    routes = [
        Route("/health", reads.health),
        Route("/ready", reads.ready),
        # A mount of its own: an unknown path below it is the API's 404, not the dashboard's.
        Mount("/api", Router(api, redirect_slashes=False)),
        WebSocketRoute("/{path:path}", streams.no_socket),
        *dashboard_routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=[*_cross_origin(policy), Middleware(AccessControl, policy=policy, clock=engine.clock)],
        exception_handlers={RunstateError: answer_error, HTTPException: answer_http_error, Exception: answer_bug},
    )
    # A path with a slash too many is no path of ours: a redirect would name a scheme that a proxy in front may not speak.
    app.router.redirect_slashes = False
    return app


def _cross_origin(policy: Policy) -> list[Middleware]:
    """Return what lets the pages of other servers read our answers, where some may."""
    if not policy.origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=sorted(policy.origins),
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=["*"],
            expose_headers=[
                "ETag",
                "Repr-Digest",
                "Runstate-Position",
                "Preference-Applied",
                "Retry-After",
                "Runstate-Token",
            ],
        )
    ]
