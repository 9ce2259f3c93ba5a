"""EventBus: who reads, and how a commit reaches them. Only the bus changes the table of readers; it waits for nobody.

Publishing marks readers dirty and wakes them; a reader's own loop asks for its next frame when its socket can take one,
and gets the latest then (PROTOCOL F8).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from runstate.core import frames
from runstate.core.commit import Document
from runstate.core.frames import Frame
from runstate.core.reader import Reader, Topics
from runstate.ports import Clock
from runstate.state.head import Head

DRAIN_RETRY_MS = 1000


class Source(Protocol):
    """What a subscription asks at the moment it makes a frame: the manager, and what it knows of its journal."""

    server_id: str  #: This server's name in `hello`.
    head: Head

    def source_age_ms(self) -> int:
        """Return the milliseconds since the journal was last known to work (F3)."""


class Subscription:
    """One reader: a bounded memory of what it is owed, and an endless iterator of frames."""

    def __init__(self, source: Source, topics: Topics, clock: Clock, *, reason: frames.SnapshotReason) -> None:
        self._source, self._clock = source, clock
        self._wake = asyncio.Event()
        self._ended: frames.ByeCode | None = None
        self._ready: list[Frame] = [
            frames.hello(server=source.server_id, epoch=source.head.epoch, position=str(source.head.position))
        ]
        self.reader = Reader(topics, str(source.head.position))
        self.replace_topics(topics, reason=reason)

    def replace_topics(self, topics: Topics, *, reason: frames.SnapshotReason = "subscribe") -> None:
        """Show `topics` from now on, beginning with a snapshot; one step with no commit in between (F1)."""
        position = str(self._source.head.position)
        self.reader = Reader(topics, position)
        self._ready += frames.snapshot(self._source.head.shown(topics), reason=reason, position=position)
        self._wake.set()

    def mark(self, documents: Iterable[Document], is_current: Mapping[str, bool]) -> None:
        """Note a commit; the bus calls it."""
        self.reader = self.reader.mark(documents, is_current=is_current)
        if self.reader.dirty:
            self._wake.set()

    def say(self, frame: Frame) -> None:
        """Send `frame` before anything else, for example a problem with the reader's own message."""
        self._ready.append(frame)
        self._wake.set()

    def end(self, code: frames.ByeCode) -> None:
        """End the stream with a `bye` after what is owed."""
        self._ended = code
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """Return the next frame: what is ready, else all that is owed, else after a heartbeat's time an empty one."""
        if not self._ready and not self.reader.dirty and self._ended is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(frames.HEARTBEAT_MS / 1000 * 0.9):  # F3 says at least one in that time
                    await self._wake.wait()
            except TimeoutError:
                return self._transition()
        if self._ready:
            return self._ready.pop(0)
        if self.reader.dirty:
            return self._transition()
        if self._ended is None:
            return await self.__anext__()
        return frames.bye(self._ended, resume=self.reader.position, retry_ms=DRAIN_RETRY_MS)

    def _transition(self) -> Frame:
        start, end = self.reader.position, str(self._source.head.position)
        changes = [frames.full_change(document) for document in self.reader.dirty.values()]
        self.reader = self.reader.sent(end)
        return frames.transition(
            changes, start=start, end=end, now_ms=self._clock.now_ms(), source_age_ms=self._source.source_age_ms()
        )


class EventBus:
    """The table of readers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._subscriptions: set[Subscription] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._subscriptions)

    @contextmanager
    def subscribe(
        self, source: Source, topics: Topics, *, reason: frames.SnapshotReason = "initial"
    ) -> Iterator[Subscription]:
        """Register a reader for as long as the block lasts; its snapshot and registration are one step (F1)."""
        subscription = Subscription(source, topics, self._clock, reason=reason)
        self._subscriptions.add(subscription)
        if self._draining:
            subscription.end("drain")
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, documents: Iterable[Document], is_current: Mapping[str, bool]) -> None:
        """Tell every reader of a commit; returns at once."""
        for subscription in self._subscriptions:
            subscription.mark(documents, is_current)

    def drain(self) -> None:
        """End every stream with `bye drain`, now and from now on."""
        self._draining = True
        for subscription in self._subscriptions:
            subscription.end("drain")
