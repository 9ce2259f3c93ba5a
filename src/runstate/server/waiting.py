"""Reads that wait: a head that is not older than `min` (PROTOCOL H4), a document that is newer than a tag (H3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)


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
        if self.wait_s is None and self.after is None:
            return not self.is_any and str(document.position) not in self.tags
        return self.after is None or document.position.order > self.after.order


def condition_of(query: dict[str, str], headers: Headers | Mapping[str, str]) -> Condition:
    """Return what the query and the headers ask.

    Raises:
        Problem: They are not as they should be.
    """
    header = headers.get("if-none-match")
    tags = tuple(_TAG.findall(header or ""))
    is_any = header is not None and header.strip() == "*"
    prefer = _PREFER_WAIT.search(headers.get("prefer", ""))
    wait_s: int | None = None
    if "wait" in query:
        wait_s = min(number_of(query, "wait", default=0, least=0, most=10**9), MAX_WAIT_S)
    elif prefer is not None:
        wait_s = min(int(prefer[1]), MAX_WAIT_S)
    after = position_of(query, "after")
    if after is None and wait_s is not None:
        known = [position for position in map(_position, tags) if position is not None]
        after = max(known, key=lambda position: position.order, default=None)
        if header is None and "wait" in query:
            raise Problem("bad_query", "wait needs to know what you have: send If-None-Match, or after=<position>")
    return Condition(position_of(query, "min"), tags, is_any, after, wait_s)


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


async def newer(manager: PipelineStateManager, condition: Condition, read: Callable[[], Document]) -> Document | None:
    """Return the document as soon as the reader wants to see it, None if that is not before its time is over (H3).

    Raises:
        Problem: The reader has seen a position that this server does not reach, or the server ends.
    """
    await reach(manager, condition.least)
    await reach(manager, condition.after)
    if not condition.wait_s:
        document = read()
        return document if condition.is_met(document) else None
    try:
        async with asyncio.timeout(condition.wait_s):
            await manager.until(lambda: condition.is_met(read()) or manager.bus.is_draining)
    except TimeoutError:
        return None
    check_not_draining(manager)
    return read()


def check_not_draining(manager: PipelineStateManager) -> None:
    """Check that the server is not about to end.

    Raises:
        Problem: It is; whoever waits shall ask the next one.
    """
    if manager.bus.is_draining:
        raise Problem("unavailable", "the server is shutting down; ask again when it is back")
