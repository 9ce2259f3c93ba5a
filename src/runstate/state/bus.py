"""EventBus: who reads, and how a commit reaches them. Only the bus changes the table of readers; it waits for nobody.

Publishing marks readers dirty and wakes them; a reader's own loop asks for its next frame when its socket can take one,
and gets the latest then (PROTOCOL F8).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from runstate.core import frames
from runstate.core.commit import Commit, Document, Key
from runstate.core.errors import Compacted
from runstate.core.frames import Frame
from runstate.core.position import Position, epoch_number
from runstate.core.reader import Mode, Reader, Topics
from runstate.ports import Clock
from runstate.state.head import Head
from runstate.state.recent import Recent

RETRY_MS = 1000  # what a `bye` asks a client to wait
HEARTBEAT_S = frames.HEARTBEAT_MS / 1000 * 0.9  # F3: at least one in that time


class Source(Protocol):
    """What a subscription asks at the moment it makes a frame: the manager, and what it knows of its journal."""

    server_id: str  #: This server's name in `hello`.
    head: Head

    def source_age_ms(self) -> int:
        """Return the milliseconds since the journal was last known to work (F3)."""

    async def commits_after(self, revision: int) -> Sequence[Commit]:
        """Return published commits after `revision` in order, not necessarily all.

        Raises:
            Compacted: They are below the retention floor.
        """


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asks for (PROTOCOL §4)."""

    topics: Topics = field(default_factory=Topics)
    resume: Position | None = None
    delta: bool = False
    mode: Mode = "latest"
    kept: tuple[Document, ...] = ()  #: Named runs that only the journal has.
    reason: frames.SnapshotReason = "initial"  #: Of the snapshot, where there is one without a resume.


class Subscription:
    """One reader: a bounded memory of what it is owed, and an endless iterator of frames."""

    def __init__(self, source: Source, recent: Recent, wanted: Wanted, clock: Clock) -> None:
        self._source, self._recent, self._clock = source, recent, clock
        self._wake = asyncio.Event()
        self._ended: frames.ByeCode | None = None
        hello = frames.hello(server=source.server_id, epoch=source.head.epoch, position=str(source.head.position))
        self._ready: deque[Iterator[Frame]] = deque([iter((hello,))])
        self._all_said = asyncio.Event()
        self._begin(wanted)

    def _begin(self, wanted: Wanted) -> None:
        """Register for `wanted`: a snapshot, or on a good resume what came after it; one step (F1, F6)."""
        head, resume = self._source.head, wanted.resume
        self._kept = {document.key: document for document in wanted.kept}
        if resume is None or resume.epoch != head.epoch:
            is_behind = resume is not None and epoch_number(resume.epoch) > epoch_number(head.epoch)
            self._snapshot(wanted, wanted.reason if resume is None else "epoch", silent=is_behind)
            if is_behind:
                self._ended = "behind"
            return
        self.reader = Reader(wanted.topics, resume, wanted.delta, wanted.mode)
        self._scanned = resume.revision
        if resume.revision > head.revision:
            self._ended = "behind"
        elif wanted.mode == "latest":
            later = [d for d in self._shown(wanted) if d.position.order > resume.order]
            self.reader = self.reader.mark(sorted(later, key=lambda d: d.position.order))

    def _snapshot(self, wanted: Wanted, reason: frames.SnapshotReason, *, silent: bool = False) -> None:
        position = self._source.head.position
        self.reader = Reader(wanted.topics, position, wanted.delta, wanted.mode)
        self._scanned = position.revision
        if silent:
            return
        shown = self._shown(wanted)
        self.reader = self.reader.sent(shown, position)
        if wanted.delta:
            for document in shown:
                self._recent.keep(document)
        # Frames are made as the socket takes them: what waits here is a list of documents that others hold as well.
        self._put(frames.snapshot(shown, reason=reason, position=str(position)))

    def _shown(self, wanted: Wanted) -> list[Document]:
        head = self._source.head
        return [*head.shown(wanted.topics), *(d for d in self._kept.values() if head.get(d.key) is None)]

    def subscribe(self, wanted: Wanted) -> None:
        """Show something else from now on, beginning with a snapshot or after a resume."""
        self._begin(wanted)
        self._wake.set()

    def mark(self, documents: Iterable[Document]) -> None:
        """Note a commit; the bus calls it."""
        if self._kept:
            self._kept |= {document.key: document for document in documents if document.key in self._kept}
        if self.reader.mode == "every":
            self._wake.set()
            return
        self.reader = self.reader.mark(documents)
        if self.reader.dirty:
            self._wake.set()

    def say(self, frame: Frame) -> None:
        """Send `frame` before anything else, for example a problem with the reader's own message."""
        self._put(iter((frame,)))
        self._wake.set()

    async def until_said(self) -> None:
        """Wait until the reader has taken what is ready; else a reader could make us say more and more."""
        await self._all_said.wait()

    def end(self, code: frames.ByeCode) -> None:
        """End the stream with a `bye` after what is owed."""
        self._ended = code
        self._wake.set()

    def _put(self, ready: Iterator[Frame]) -> None:
        self._ready.append(ready)
        self._all_said.clear()

    def _next_ready(self) -> Frame | None:
        while self._ready:
            frame = next(self._ready[0], None)
            if frame is not None:
                return frame
            self._ready.popleft()
        self._all_said.set()
        return None

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """Return the next frame: what is ready, else what is owed, else after a heartbeat's time an empty one."""
        due_s = asyncio.get_running_loop().time() + HEARTBEAT_S  # also while commits that do not concern us wake us
        while True:
            self._wake.clear()
            frame = self._next_ready() or await self._owed()
            if frame is not None:
                return frame
            if self._ended is not None:
                return frames.bye(self._ended, resume=str(self.reader.position), retry_ms=RETRY_MS)
            try:
                async with asyncio.timeout_at(due_s):
                    await self._wake.wait()
            except TimeoutError:
                if not self._wake.is_set():  # else a commit came in the same turn of the loop, and is owed
                    return self._transition((), self._source.head.position)

    async def _owed(self) -> Frame | None:
        if self._ended == "behind":
            return None
        if self.reader.mode == "latest":
            owed = tuple(self.reader.dirty.values())
            return self._transition(owed, self._source.head.position) if owed else None
        return await self._next_version()

    async def _next_version(self) -> Frame | None:
        """Return the next commit that concerns a reader of every version, None if there is none yet."""
        while self._scanned < self._source.head.revision:
            commits: Iterable[Commit] | None = self._recent.after(self._scanned)
            is_far, reader = commits is None, self.reader
            if commits is None:
                try:
                    page = await self._source.commits_after(self._scanned)
                except Compacted:
                    if self.reader is not reader:
                        return None
                    wanted = Wanted(self.reader.topics, None, self.reader.delta, self.reader.mode)
                    self._snapshot(wanted, "compacted")
                    return self._next_ready()
                self._recent.keep_page(page)
                commits = page
            if self.reader is not reader:
                return None  # it wants something else by now, and what was fetched is not for that
            for commit in commits:
                self._scanned = commit.position.revision
                documents = [c.document for c in commit.changes if self.reader.topics.wants(c.document)]
                if documents:
                    return self._transition(documents, commit.position)
            if is_far:
                # F3: a long way without a concern is told, so that the reader knows of life and can resume from here.
                return self._transition((), Position(self._source.head.epoch, self._scanned))
        return None

    def _transition(self, documents: Sequence[Document], end: Position) -> Frame:
        start = self.reader.position
        changes = [self._change(document) for document in documents]
        self.reader = self.reader.sent(documents, end)
        return frames.transition(
            changes,
            start=str(start),
            end=str(end),
            now_ms=self._clock.now_ms(),
            source_age_ms=self._source.source_age_ms(),
        )

    def _change(self, document: Document) -> bytes:
        base = self.reader.bases.get(document.key)
        patch = None if base is None else self._recent.patch(base, document)
        if base is None or patch is None:
            return frames.full_change(document)
        return frames.delta_change(document, base, patch)


class EventBus:
    """The table of readers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recent = Recent()
        self._subscriptions: dict[Subscription, None] = {}  # in the order in which they came, so a simulation repeats
        self.is_draining = False  #: Whether the server is about to end.

    def __len__(self) -> int:
        return len(self._subscriptions)

    @contextmanager
    def subscribe(self, source: Source, wanted: Wanted | None = None) -> Iterator[Subscription]:
        """Register a reader for as long as the block lasts."""
        subscription = Subscription(source, self._recent, wanted or Wanted(), self._clock)
        self._subscriptions[subscription] = None
        if self.is_draining:
            subscription.end("drain")
        try:
            yield subscription
        finally:
            self._subscriptions.pop(subscription, None)

    def publish(self, commit: Commit) -> None:
        """Tell every reader of a commit; returns at once."""
        self._recent.add(commit)
        documents = [change.document for change in commit.changes]
        for subscription in self._subscriptions:
            subscription.mark(documents)

    def has_touched(self, key: Key, *, after: int, head: int) -> bool:
        """Return whether a commit after a revision, up to the head's, may have touched a document."""
        if after == head:
            return False
        commits = self._recent.after(after)
        return commits is None or any(change.document.key == key for commit in commits for change in commit.changes)

    def drain(self) -> None:
        """End every stream with `bye drain`, now and from now on."""
        self.is_draining = True
        for subscription in self._subscriptions:
            subscription.end("drain")
