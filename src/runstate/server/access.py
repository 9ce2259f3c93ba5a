"""Who may do what (PROTOCOL §6): tokens with a scope, a cookie for browsers, and pages that this server served itself.

A page elsewhere can make a browser send requests here. Its name in `Host` (DNS rebinding) or `Origin` gives it away.
Secrets are compared in constant time and never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from runstate.core.errors import CallerError
from runstate.core.times import format_time
from runstate.ports import Clock
from runstate.server.problems import Problem
from runstate.server.query import body_of, query_of

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
COOKIE = "runstate_session"
MIN_SECRET_LENGTH = 8
CHALLENGE = {"WWW-Authenticate": "Bearer"}  # RFC 9110 15.5.2: every 401 has one


class BadTokens(CallerError):
    """The tokens are not as they should be; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Token:
    """Somebody who may come in."""

    name: str
    secret: str
    scope: Literal["read", "control"] = "control"
    expires_ms: int | None = None  #: Wall time, milliseconds since the Unix epoch; None: never.

    def __repr__(self) -> str:
        return f"Token({self.name!r}, scope={self.scope!r})"

    def is_valid(self, now_ms: int) -> bool:
        """Return whether it has not expired."""
        return self.expires_ms is None or now_ms < self.expires_ms

    @property
    def session(self) -> str:
        """What a browser's cookie holds: a proof that its user had the token, and not the token."""
        proof = hmac.new(self.secret.encode(), b"runstate session", hashlib.sha256).hexdigest()
        return f"{self.name}.{proof}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in."""

    tokens: tuple[Token, ...] = ()  #: None: everybody on this machine.
    origins: frozenset[str] = frozenset()  #: Foreign pages that are allowed.
    any_host: bool = False  #: Whether `Host` may be any name although there are no tokens.


class AccessControl:
    """ASGI middleware that answers 401 or 403 to whom the policy does not let in."""

    def __init__(self, app: ASGIApp, policy: Policy, clock: Clock) -> None:
        self._app, self._policy, self._clock = app, policy, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed, with the token that let it in as `scope["runstate.token"]`."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            scope["runstate.token"] = self._judge(scope)
        except Problem as refusal:
            headers = CHALLENGE if refusal.code == "unauthorized" else None
            await refusal.response(headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _judge(self, scope: Scope) -> Token | None:
        connection = HTTPConnection(scope)
        headers = connection.headers
        is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")
        self._check_host(headers)
        if not is_read:
            self._check_origin(headers)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_guarded = path.startswith("/api") or path == "/metrics"
        if not self._policy.tokens or not is_guarded or path == "/api/session":
            return None
        token = self._token_of(connection)
        if token is None:
            raise Problem(
                "unauthorized", "this needs a token: send Authorization: Bearer …, or log in on the dashboard"
            )
        if token.scope == "read" and not is_read and scope["type"] == "http":
            raise Problem("forbidden", f"token {token.name} may only read")
        return token

    def _check_host(self, headers: Headers) -> None:
        if self._policy.tokens or self._policy.any_host:
            return
        # Several together are no name of this machine, whichever of them the next reader would take.
        host = ", ".join(headers.getlist("host"))
        if host_name(host) not in LOOPBACK_HOSTS:
            raise Problem("forbidden", f"Host {host!r} is not a name of this machine; use localhost or 127.0.0.1")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._policy.origins or urlsplit(origin).netloc == headers.get("host"):
            return
        raise Problem("forbidden", f"a page from {origin} may not use this server; --allow-origin lists those that may")

    def _token_of(self, connection: HTTPConnection) -> Token | None:
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return find_token(self._policy.tokens, secret.strip(), now_ms=self._clock.now_ms())
        session = connection.cookies.get(COOKIE, "")
        valid = [token for token in self._policy.tokens if token.is_valid(self._clock.now_ms())]
        found = [token for token in valid if hmac.compare_digest(token.session.encode(), session.encode())]
        return found[0] if found else None


def find_token(tokens: Sequence[Token], secret: str, *, now_ms: int) -> Token | None:
    """Return the valid token with this secret; takes as long whichever it is."""
    found = None
    for token in tokens:
        if hmac.compare_digest(token.secret.encode(), secret.encode()) and token.is_valid(now_ms):
            found = token
    return found


class Sessions:
    """`POST /api/session`: a browser trades its token for a cookie."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self._policy, self._clock = policy, clock

    async def begin(self, request: Request) -> Response:
        """Set the cookie, or refuse the token."""
        query_of(request)
        body = await body_of(request, {"token": str})
        token = find_token(self._policy.tokens, body.get("token", ""), now_ms=self._clock.now_ms())
        if token is None:
            why = (
                "this is not a valid token"
                if self._policy.tokens
                else "this server has no tokens; nobody needs to log in"
            )
            return Problem("unauthorized", why).response(CHALLENGE)
        answer = Response(None, 204, {"Cache-Control": "no-store"})
        answer.set_cookie(
            COOKIE, token.session, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer


def read_tokens(file: Path) -> tuple[Token, ...]:
    """Return the tokens of a TOML file: `[[token]]` with `name`, `token`, `scope`, and `expires` where it has an end.

    Raises:
        BadTokens: The file is not such a file.
    """
    try:
        content = tomllib.loads(file.read_text())
    except OSError as exc:
        raise BadTokens(f"{file} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadTokens(f"{file} is not TOML: {exc}") from exc
    entries = content.get("token")
    if set(content) != {"token"} or not isinstance(entries, list) or not entries:
        raise BadTokens(f"{file} needs [[token]] entries and nothing else")
    tokens = tuple(_read_token(entry, f"{file}: token {at}") for at, entry in enumerate(entries, 1))
    if len({token.name for token in tokens}) < len(tokens):
        raise BadTokens(f"{file}: two tokens have the same name")
    return tokens


def _read_token(entry: object, where: str) -> Token:
    if not isinstance(entry, dict) or not set(entry) <= {"name", "token", "scope", "expires"}:
        raise BadTokens(f"{where} has an unknown key; known: name, token, scope, expires")
    name, secret, scope, expires = (entry.get(key) for key in ("name", "token", "scope", "expires"))
    if not isinstance(name, str) or not name or "." in name:
        raise BadTokens(f"{where} needs a name: text without dots")
    if not isinstance(secret, str) or len(secret) < MIN_SECRET_LENGTH:
        raise BadTokens(f"{where} ({name}) needs a token of at least {MIN_SECRET_LENGTH} characters")
    if scope not in ("read", "control"):
        raise BadTokens(f'{where} ({name}) needs scope = "read" or "control"')
    return Token(name, secret, scope, None if expires is None else _expiry(expires, f"{where} ({name})"))


def _expiry(value: object, where: str) -> int:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise BadTokens(f"{where}: expires is a time such as {format_time(0)}")
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without the port."""
    name = host[: host.rindex("]") + 1] if "]" in host else host.partition(":")[0]
    return name.lower()
