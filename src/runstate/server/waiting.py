"""Reads that wait: a head that is not older than `min` (PROTOCOL H4), a document that is newer than a tag (H3)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import Headers

from runstate.core.commit import Document
from runstate.core.errors import PeerError
from runstate.core.position import Position
from runstate.server.problems import Problem
from runstate.server.query import number_of, position_of
from runstate.state.manager import PipelineStateManager

BEHIND_S = 2.0  # how long a server tries to reach a position that somebody has seen
MAX_WAIT_S = 60

OPTIONS = ("min", "after", "wait")

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,15})\"?\s*(?=[,;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a read asks beside the document."""

    least: Position | None  #: The head must have reached this.
    tags: tuple[str, ...]  #: Of `If-None-Match`; weak ones match.
    is_any: bool  #: `If-None-Match: *`
    after: Position | None  #: The document must be newer than this.
    wait_s: int | None  #: How long to wait for that; None: not at all.

    def is_met(self, document: Document) -> bool:
        """Return whether the reader wants to see `document`."""
        if self.after is None and self.is_any:
            return False
        if self.after is None and self.wait_s is None:
            return str(document.position) not in self.tags
        return self.after is None or document.position.order > self.after.order

    def is_of_another_life(self, document: Document, epoch: str) -> bool:
        """Return whether the reader may have seen what this incarnation of the store, a restored backup, never had (V1).

        Then positions tell nothing of which is newer; only the very same one is known to be the same document.
        """
        if self.after is None or self.after.epoch == epoch:
            return False
        return str(document.position) not in (*self.tags, str(self.after))


def condition_of(query: dict[str, str], headers: Headers) -> Condition:
    """Return what the query and the headers ask.

    Raises:
        Problem: They are not as they should be.
    """
    header = field_of(headers, "if-none-match")
    tags = tuple(_TAG.findall(header or ""))
    is_any = header is not None and header.strip() == "*"
    prefer = _PREFER_WAIT.search(field_of(headers, "prefer") or "")
    wait_s: int | None = None
    if "wait" in query:
        wait_s = min(number_of(query, "wait", default=0, least=0, most=10**15), MAX_WAIT_S)
    elif prefer is not None:
        wait_s = min(int(prefer[1]), MAX_WAIT_S)
    after = position_of(query, "after")
    if after is None and wait_s is not None:
        known = [position for position in map(_position, tags) if position is not None]
        after = max(known, key=lambda position: position.order, default=None)
        if header is None and "wait" in query:
            raise Problem("bad_query", "wait needs to know what you have: send If-None-Match, or after=<position>")
    return Condition(position_of(query, "min"), tags, is_any, after, wait_s)


def field_of(headers: Headers, name: str) -> str | None:
    """Return a list field whole: a client or a proxy may send it as several lines (RFC 9110 5.3)."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def _position(tag: str) -> Position | None:
    try:
        return Position.parse(tag)
    except PeerError:
        return None  # a tag of somebody else's; no document of ours has it


async def reach(manager: PipelineStateManager, least: Position | None) -> None:
    """Wait until the head is not older than `least`.

    Raises:
        Problem: It is not within 2 s (H4).
    """
    if least is None:
        return

    def has_reached() -> bool:
        return manager.head.position.order >= least.order or manager.bus.is_draining

    try:
        async with asyncio.timeout(BEHIND_S):
            await manager.until(has_reached)
    except TimeoutError:
        raise Problem("behind", f"this server is at {manager.head.position} and has not reached {least}") from None
    check_not_draining(manager)


async def newer(
    manager: PipelineStateManager,
    condition: Condition,
    read: Callable[[], Document | None],
    find: Callable[[], Awaitable[Document]],
) -> tuple[Document, bool]:
    """Return the document as soon as the reader wants to see it, else as it is when its time is over (H3).

    Args:
        read: Returns the document, None where only the journal has it; a run may be left while its reader waits.
        find: Returns the document wherever it is.

    Returns:
        The document, and whether the reader wants to see it.

    Raises:
        Problem: The reader has seen a position that this server does not reach, or the server ends.
    """
    await reach(manager, condition.least)
    await reach(manager, condition.after)
    document = await find()
    if condition.is_of_another_life(document, manager.head.epoch):
        return document, True
    if condition.is_met(document) or not condition.wait_s:
        return document, condition.is_met(document)

    def may_be_met(*, was_here: bool) -> bool:
        now = read()
        return manager.bus.is_draining or (was_here if now is None else condition.is_met(now))

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(condition.wait_s):
            while not condition.is_met(document):
                check_not_draining(manager)
                may_be = partial(may_be_met, was_here=read() is not None)
                await manager.until(may_be)
                document = await find()
            return document, True
    document = await find()
    return document, condition.is_met(document)


def check_not_draining(manager: PipelineStateManager) -> None:
    """Check that the server is not about to end.

    Raises:
        Problem: It is; whoever waits shall ask the next one.
    """
    if manager.bus.is_draining:
        raise Problem("unavailable", "the server is shutting down; ask again when it is back")
