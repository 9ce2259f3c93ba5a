"""`serve`: an engine behind one port until SIGTERM or SIGINT.

Then it is drained: streams get `bye drain`, runs are interrupted cleanly (PROTOCOL D10), and only then does the process
end. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from runstate.core.errors import CallerError
from runstate.engine import Engine, open_engine
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.runlog import MAX_LOG_BYTES, Line
from runstate.pipeline.webhook import WebhookConfig
from runstate.server.access import Policy
from runstate.server.app import make_api
from runstate.server.fastlane import FastLane, Lane
from runstate.server.http import Http
from runstate.server.reads import Reads
from runstate.state.retention import Keep

MAX_MESSAGE_BYTES = 64 * 1024  # what a WebSocket client may send us: subscriptions are short
DRAIN_S = 5
#: What stands between a reader and its frames: small, so that a reader who does not read is soon known, and cheap (F8).
SOCKET_BUFFER_BYTES = 64 * 1024


class PortInUse(CallerError):
    """Another program listens there."""

    code = "in_use"


class NotAnAddress(CallerError):
    """The host is none that this server may listen on."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours end the streams and the runs first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _WithoutFalseAlarm(logging.Filter):
    """uvicorn reports every socket that was refused with an HTTP answer as an application that forgot to answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "returned without completing handshake" not in record.getMessage()


async def serve(
    pipelines: Sequence[Pipeline],
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8642,
    policy: Policy | None = None,
    keep: Keep | None = None,
    max_log_bytes: int = MAX_LOG_BYTES,
    webhooks: Sequence[WebhookConfig] = (),
    plain: bool = False,
    on_ready: Callable[[str], None],
    on_line: Callable[[Line], None] | None = None,
) -> None:
    """Serve until a signal says to end.

    Args:
        pipelines: What is served; the first is the default.
        data: The data directory.
        host: An address of this machine; any but a loopback address needs tokens, or `policy.any_host`.
        port: 0 chooses a free one.
        policy: Who may come in; None: everybody on this machine.
        keep: What history and logs keep; None: everything.
        max_log_bytes: What the log of one run may take; its oldest lines go beyond that.
        webhooks: Who is told of ends of runs; their secrets leave the environment, since stages inherit it.
        plain: Whether everything goes through the ASGI application, as it does embedded (ADR 5).
        on_ready: Called with the URL once connections are accepted.
        on_line: Called with each log line of a stage.

    Raises:
        NotAnAddress: `host` is not an address, or it would let everybody in.
        PortInUse: Another program listens on that port.
        StoreError: The data directory cannot be used.
        DefinitionError: A pipeline has no stage.
    """
    policy = policy or Policy()
    environ = dict(os.environ)
    for hook in webhooks:
        os.environ.pop(hook.secret_env or "", None)
    logging.getLogger("uvicorn.error").addFilter(_WithoutFalseAlarm())
    listener = listen(host, port, is_open=not policy.tokens and not policy.any_host)
    try:
        url = url_of(listener)
        async with open_engine(
            pipelines, data, on_line=on_line, keep=keep, max_log_bytes=max_log_bytes, webhooks=webhooks, environ=environ
        ) as engine:
            engine.lock.set_url(url)
            lane = None if plain else make_lane(engine, policy)
            server = _Server(configure(make_api(engine, policy), lane))
            _on_signals(lambda: _begin_end(server, engine, lane))
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.serve([listener]))
                await _started(server, serving)
                on_ready(url)
    finally:
        listener.close()


def make_lane(engine: Engine, policy: Policy) -> Lane:
    """Return the fast lane over an open engine."""
    return Lane(Reads(engine.manager), engine.manager, policy, engine.clock)


def configure(app: ASGIApp, lane: Lane | None) -> uvicorn.Config:
    """Return how uvicorn serves `app`.

    Args:
        lane: What answers polls; None: everything goes through `app`.
    """
    return uvicorn.Config(
        app,
        http=Http if lane is None else partial(FastLane, lane),  # type: ignore[arg-type]  # makes one
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # digests are of bytes as they are, and frames are shared
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _begin_end(server: uvicorn.Server, engine: Engine, lane: Lane | None) -> None:
    engine.begin_to_end()
    if lane is not None:
        lane.drain()
    server.should_exit = True


async def _started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    # uvicorn has no event for this; the socket listens already, so nobody is refused meanwhile.
    while not server.started and not serving.done():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def listen(host: str, port: int, *, is_open: bool = True) -> socket.socket:
    """Return a listening socket.

    Args:
        is_open: Whether everybody who reaches it may use it; then it must be a loopback address (PROTOCOL §6).

    Raises:
        NotAnAddress: `host` is not an address, or it would let everybody in.
        PortInUse: Another program listens there.
    """
    name = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        raise NotAnAddress(f"--host {host} is not an IP address; use 127.0.0.1") from None
    if is_open and not address.is_loopback:
        raise NotAnAddress(
            f"--host {host} would open the server to other machines: say who may use it with --token or --tokens, "
            "or say --insecure if everybody may"
        )
    listener = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)  # of each connection
    try:
        listener.bind((name, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        if isinstance(exc, PermissionError):
            raise NotAnAddress(f"port {port} may not be used by this user; choose one above 1023 with --port") from exc
        raise PortInUse(
            f"port {port} of {host} is in use by another program; choose another with --port, or --port 0 for any"
        ) from exc
    return listener


def url_of(listener: socket.socket) -> str:
    """Return where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _on_signals(end: Callable[[], None]) -> None:
    """Call `end` at the first signal; the handlers stay, so that a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    caught = False

    def on_signal(number: int) -> None:
        nonlocal caught
        if caught:
            os._exit(128 + number)
        caught = True
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
