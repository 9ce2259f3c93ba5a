"""Reads and commands over HTTP (PROTOCOL §3, §5), and the one place where HTTP's failures become ours.

Law: an answer goes to its caller and nowhere else (F11); a document is returned only if its bytes have the digest that
came with them. A command has a key of its own, so that sending it again cannot do it twice (C3); whoever sent one reads
nothing older than it (H4).
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import httpx

from runstate.client.clock import Clock
from runstate.client.errors import Problem, ServerAway, ServerUnreachable
from runstate.core.canonical import Json, decode, encode
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.model import PipelineDocument, RunContext, decode_pipeline, decode_run
from runstate.core.position import Position
from runstate.core.retry import UNAVAILABLE, retry_in_ms
from runstate.core.sse import SseDecoder

TIMEOUT_S = 10.0
LOG_SILENCE_S = 15.0  # a server that follows a log speaks every 5 s


@dataclass(frozen=True, slots=True)
class Receipt:
    """A command was taken."""

    position: str  #: Of its commit; a view that has reached it shows it.
    document: RunContext  #: After the commit.


@dataclass(frozen=True, slots=True)
class PipelineReceipt:
    """A command about a pipeline was taken."""

    position: str  #: Of its commit; a view that has reached it shows it.
    document: PipelineDocument  #: After the commit.


@dataclass(frozen=True, slots=True)
class RunList:
    """One page of runs, newest first, of one consistent cut."""

    position: str
    runs: tuple[RunContext, ...]
    next: str | None  #: `before` for the page after this; None at the end.


class Http:
    """The requests of one client; each raises ServerUnreachable, Problem or PeerError."""

    def __init__(self, client: httpx.AsyncClient, *, clock: Clock, random: Callable[[], float]) -> None:
        self._client, self._clock, self._random = client, clock, random
        self._least: Position | None = None  #: Of the latest command.

    async def run(self, path: str) -> RunContext:
        """Return the run document at `path`."""
        return _run((await self._get(path)).content)

    async def version(self, path: str) -> RunContext:
        """Return the run document at `path`, which never changes."""
        return _run((await self._request("GET", path)).content)

    async def pipeline(self, path: str) -> PipelineDocument:
        """Return the pipeline document at `path`."""
        return _pipeline((await self._get(path)).content)

    async def object(self, path: str, query: Mapping[str, str | int | None]) -> dict[str, Json]:
        """Return the JSON object at `path`."""
        return _object((await self._get(path, query)).content)

    async def runs(self, query: Mapping[str, str | int | None]) -> RunList:
        """Return a page of runs."""
        page = await self.object("api/runs", query)
        after = page["next"]
        return RunList(
            position=page["position"],
            runs=tuple(_run(encode(document)) for document in page["runs"]),
            next=None if after is None else str(after),
        )

    async def pipelines(self) -> tuple[PipelineDocument, ...]:
        """Return every pipeline."""
        page = await self.object("api/pipelines", {})
        return tuple(_pipeline(encode(document)) for document in page["pipelines"])

    async def log(self, path: str, query: Mapping[str, str | int | None]) -> dict[str, Json]:
        """Return a page of a log, which has no position of its own."""
        asked = {name: value for name, value in query.items() if value is not None}
        return _object((await self._request("GET", path, params=asked)).content)

    async def log_lines(
        self, path: str, after: int, stages: Sequence[str] | None = None
    ) -> AsyncGenerator[dict[str, Json]]:
        """Yield the lines of a log until the server ends it, over one connection."""
        decoder = SseDecoder()
        asked = {"after": str(after), "follow": "1"} | ({} if stages is None else {"stage": ",".join(stages)})
        patience = httpx.Timeout(self._client.timeout.connect, read=LOG_SILENCE_S)
        headers = {"accept": "text/event-stream"}
        try:
            async with self._client.stream("GET", path, params=asked, headers=headers, timeout=patience) as response:
                if not response.is_success:
                    await response.aread()
                    raise _problem(response)
                async for received in response.aiter_bytes():
                    decoder, events = decoder.feed(received)
                    for event in events:
                        line = _object(event.data.encode())
                        if "offset" in line:
                            yield line
        except httpx.TransportError as exc:
            raise ServerUnreachable(str(self._client.base_url)) from exc

    async def command(self, path: str, body: Mapping[str, Json], *, if_match: str | None = None) -> Receipt:
        """Send a command, again if need be, and return where its commit stands.

        Args:
            if_match: The position of the document that it is meant for; another one is `conflict` (C2).
        """
        position, content = await self._command("POST", path, body, if_match)
        return Receipt(position, _run(content))

    async def pipeline_command(
        self, method: str, path: str, body: Mapping[str, Json], *, if_match: str | None = None
    ) -> PipelineReceipt:
        """Send a command about a pipeline, as `command` does."""
        position, content = await self._command(method, path, body, if_match)
        return PipelineReceipt(position, _pipeline(content))

    async def _command(
        self, method: str, path: str, body: Mapping[str, Json], if_match: str | None
    ) -> tuple[str, bytes]:
        headers = {"content-type": "application/json", "idempotency-key": uuid4().hex}
        if if_match is not None:
            headers["if-match"] = f'"{if_match}"'
        response = await self._send(method, path, encode(dict(body)), headers)
        position = _tag_of(response) or response.headers.get("runstate-position")
        if not position:
            raise PeerError(f"{response.url} took the command and named no position; is this a runstate server?")
        reached = Position.parse(position)
        if self._least is None or self._least.order < reached.order:
            self._least = reached
        return position, response.content

    async def open_run(self, path: str, body: Mapping[str, Json]) -> tuple[RunContext, str]:
        """Open a run that this program executes; return its document and its fencing token (PROTOCOL C8)."""
        headers = {"content-type": "application/json", "idempotency-key": uuid4().hex}
        response = await self._send("POST", path, encode(dict(body)), headers)
        token = response.headers.get("runstate-token")
        if not token:
            raise PeerError(f"{response.url} opened a run without a token; is this a runstate server?")
        return _run(response.content), token

    async def report(self, path: str, token: str, body: Mapping[str, Json]) -> RunContext:
        """Send one report once; its number makes it safe to send it again."""
        headers = {"content-type": "application/json", "runstate-token": token}
        response = await self._request("POST", path, content=encode(dict(body)), headers=headers)
        return _run(response.content)

    async def upkeep(self, path: str, body: Mapping[str, Json]) -> dict[str, Json]:
        """Let the server do work that may take long, and return what it says of it."""
        patience = httpx.Timeout(self._client.timeout.connect, read=None)
        headers = {"content-type": "application/json"}
        response = await self._request("POST", path, content=encode(dict(body)), headers=headers, timeout=patience)
        return _object(response.content)

    async def _send(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        retries = 0
        told: ServerUnreachable | Problem
        while True:
            try:
                return await self._request(method, path, content=content, headers=headers)
            except ServerUnreachable as failure:
                told, status, retry_after_ms = failure, None, 0
            except Problem as refusal:
                told, status, retry_after_ms = refusal, refusal.status, refusal.retry_after_ms
            wait_ms = retry_in_ms(retries, status=status, retry_after_ms=retry_after_ms, random=self._random())
            if wait_ms is None:
                raise told
            await self._clock.sleep_until(self._clock.now_ms() + wait_ms)
            retries += 1

    async def _get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> httpx.Response:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        if self._least is not None:
            asked["min"] = str(self._least)
        return await self._request("GET", path, params=asked)

    async def _request(self, method: str, path: str, **request: Json) -> httpx.Response:
        try:
            response = await self._client.request(method, path, **request)
        except httpx.TransportError as exc:
            raise ServerUnreachable(str(self._client.base_url)) from exc
        if not response.is_success:
            raise _problem(response)
        told = response.headers.get("repr-digest")
        if told is not None and told != _repr_digest(response.content):
            raise PeerError(
                f"what {response.url} sent does not have the digest that came with it; something on the way changed it"
            )
        return response


def _problem(response: httpx.Response) -> Problem:
    try:
        told = _object(response.content)
    except PeerError:
        told = {}
    code = told.get("code", "bad_answer")
    detail = (
        told.get("detail") or told.get("title") or f"{response.url} answered {response.status_code} without saying why"
    )
    retry_after_ms = milliseconds(response.headers.get("retry-after"))
    kind = ServerAway if response.status_code == UNAVAILABLE else Problem
    return kind(str(code), response.status_code, str(detail), told.get("document"), retry_after_ms=retry_after_ms)


def milliseconds(retry_after: str | None) -> int:
    """Return what a `Retry-After` header asks for; 0 for a date, which no server of ours sends."""
    try:
        seconds = float(retry_after or 0)
    except ValueError:
        return 0
    return math.ceil(seconds * 1000) if 0 < seconds < math.inf else 0


def _tag_of(response: httpx.Response) -> str:
    return str(response.headers.get("etag", "")).removeprefix("W/").strip('"')


def _run(encoded: bytes) -> RunContext:
    try:
        return decode_run(encoded)
    except InvalidValue as exc:
        raise PeerError(f"this is no run document that this version knows: {exc}") from exc


def _pipeline(encoded: bytes) -> PipelineDocument:
    try:
        return decode_pipeline(encoded)
    except InvalidValue as exc:
        raise PeerError(f"this is no pipeline document that this version knows: {exc}") from exc


def _object(encoded: bytes) -> dict[str, Json]:
    try:
        value = decode(encoded)
    except InvalidValue as exc:
        raise PeerError(str(exc)) from exc
    if not isinstance(value, dict):
        raise PeerError("the answer is not a JSON object; is this a runstate server?")
    return value


def _repr_digest(encoded: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(encoded).digest()).decode()}:"
