"""Who may talk to a server without tokens: programs on this machine, and pages that it served itself (PROTOCOL §6).

A page elsewhere can make a browser send requests here. Its name in `Host` (DNS rebinding) or `Origin` gives it away.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from runstate.server.problems import Problem

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


class LoopbackOnly:
    """ASGI middleware that answers 403 to foreign hosts, and to foreign origins' commands and sockets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = refusal_of(
            Headers(scope=scope), is_read=scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        )
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await Problem("forbidden", refusal).response()(scope, receive, send)


def refusal_of(headers: Headers, *, is_read: bool) -> str | None:
    """Return why a request is refused, None if it is not."""
    host = headers.get("host", "")
    if host_name(host) not in LOOPBACK_HOSTS:
        return f"Host {host!r} is not a name of this machine; use localhost or 127.0.0.1"
    origin = headers.get("origin")
    if not is_read and origin is not None and urlsplit(origin).netloc != host:
        return f"a page from {origin} may not use this server"
    return None


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without the port."""
    name = host[: host.rindex("]") + 1] if "]" in host else host.partition(":")[0]
    return name.lower()
