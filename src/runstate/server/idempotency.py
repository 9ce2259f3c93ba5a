"""Idempotency keys (PROTOCOL C3): the answer of a command is kept in the commit of its effect and given again.

A key belongs to a token, a method and a path. The same key with the same body returns the first answer, also after a
restart; with another body it is refused. A twin in flight waits. Refusals are not kept: nothing happened.
An answer is kept for 48 h; the next command with a key lets go of those whose time is over.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstate.core.canonical import Json, digest, encode
from runstate.core.commit import Document, Note
from runstate.ports import Clock
from runstate.server.problems import Problem
from runstate.state.demands import Demands
from runstate.state.manager import PipelineStateManager
from runstate.state.notes import ANSWER

KEEP_MS = 48 * 3600 * 1000  # C3 asks for 24 h at least
MAX_KEY_LENGTH = 255


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept: enough to answer again, byte for byte, whatever has been compacted since."""

    at_ms: int
    body_digest: str  #: Of the request's body in canonical form.
    position: str  #: Of the document.
    digest: str
    document: msgspec.Raw


Command = Callable[[Demands], Awaitable[Document]]
Accept = Callable[[Document], Response]


class IdempotencyKeys:
    """Runs commands at most once per key."""

    def __init__(self, manager: PipelineStateManager, clock: Clock) -> None:
        self._manager, self._clock = manager, clock
        self._in_flight: dict[str, asyncio.Event] = {}
        # When each kept answer was given, the oldest first: what is over is found without looking at the others.
        self._ages = deque(sorted((_decoded(kept).at_ms, name) for name, kept in manager.answers.items()))

    async def run(
        self, request: Request, body: dict[str, Json], demands: Demands, command: Command
    ) -> tuple[Document | None, Answer | None]:
        """Run `command`, or find its kept answer.

        Returns:
            The document of a command that was run now, or the answer that is kept.

        Raises:
            Problem: The key is not one, or was used with another body.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return await command(demands), None
        if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
            raise Problem("invalid", f"Idempotency-Key needs 1 to {MAX_KEY_LENGTH} printable characters")
        name = _name(request, key)
        body_digest = digest(encode(body))
        while name in self._in_flight:
            await self._in_flight[name].wait()
        if self._manager.trouble is not None:
            # An answer whose commit the journal refused stands among the others until the store has been read again.
            raise Problem("unavailable", f"the journal refuses writes: {self._manager.trouble}")
        self._forget_old()
        kept = self._find(name, body_digest)
        if kept is not None:
            return None, kept
        done = self._in_flight[name] = asyncio.Event()
        try:
            return await self._run_and_keep(name, body_digest, demands, command), None
        finally:
            del self._in_flight[name]
            done.set()

    async def _run_and_keep(self, name: str, body_digest: str, demands: Demands, command: Command) -> Document:
        made: list[Note] = []

        def note(document: Document) -> Note:
            answer = Answer(
                at_ms=self._clock.now_ms(),
                body_digest=body_digest,
                position=str(document.position),
                digest=document.digest,
                document=msgspec.Raw(document.encoded),
            )
            made.append(Note(ANSWER, name, msgspec.json.encode(answer)))
            self._ages.append((answer.at_ms, name))
            return made[0]

        document = await command(Demands(demands.expected, note))
        if not made:
            # It changed nothing, so it had no commit to be kept in: a second stop, for example.
            await self._manager.keep(note(document))
        return document

    def _find(self, name: str, body_digest: str) -> Answer | None:
        kept = self._manager.answers.get(name)
        if kept is None:
            return None
        answer = _decoded(kept)
        if answer.body_digest != body_digest:
            raise Problem(
                "invalid", "this Idempotency-Key was used with another body; use a new key for another command"
            )
        return answer

    def _forget_old(self) -> None:
        """Let go of answers whose time is over, in memory and in the journal."""
        before_ms = self._clock.now_ms() - KEEP_MS
        while self._ages and self._ages[0][0] < before_ms:
            _, name = self._ages.popleft()
            if name in self._manager.answers:  # not where the journal refused it
                self._manager.keep(Note(ANSWER, name, None))


def _decoded(kept: bytes) -> Answer:
    return msgspec.json.decode(kept, type=Answer)


def _name(request: Request, key: str) -> str:
    who = getattr(request.scope.get("runstate.token"), "name", "")
    parts = [who, request.method, request.url.path, key]
    return hashlib.sha256(encode(parts)).hexdigest()
