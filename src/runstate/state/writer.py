"""The thread that appends to the journal: one batch, one fsync, in order.

It holds no rule. After a failure it refuses everything until it has reopened the store, since nobody knows what of the
failed batch is durable.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from runstate.core.commit import Commit, Note
from runstate.core.errors import StoreError, StoreUnavailable
from runstate.ports import Compaction, Journal, Opened, Retention

MAX_BATCH = 1000
COMPACTED_AT_ONCE = 500  # versions; some ten milliseconds that an append waits at most

log = logging.getLogger("runstate.state")


@dataclass(frozen=True, slots=True)
class Append:
    """Make this durable."""

    commit: Commit | None
    notes: tuple[Note, ...] = ()  #: Beside those of the commit.

    @property
    def all_notes(self) -> tuple[Note, ...]:
        """The commit's notes and these."""
        return (*(self.commit.notes if self.commit is not None else ()), *self.notes)


@dataclass(frozen=True, slots=True)
class Probe:
    """Show that a commit would work."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open the store again, show that a commit would work, and say what it holds after `revision`."""

    revision: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Do one turn of compaction. Whoever sees `next` in its result queues the next turn, behind what has come meanwhile."""

    retention: Retention
    after: int = 0  #: `next` of the turn before.
    limit: int = COMPACTED_AT_ONCE


@dataclass(frozen=True, slots=True)
class Close:
    """End the thread."""


Work = Append | Probe | Reopen | Compact | Close


@dataclass(frozen=True, slots=True)
class Appended:
    """The oldest appends under way are durable."""

    count: int


@dataclass(frozen=True, slots=True)
class Probed:
    """A commit would work."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The journal refuses; nothing is appended until a Reopen succeeds."""

    error: StoreError


@dataclass(frozen=True, slots=True)
class Reopened:
    """The store is open again and takes commits."""

    opened: Opened
    missed: tuple[Commit, ...]  #: Commits after the asked revision: durable though their append seemed to fail.


@dataclass(frozen=True, slots=True)
class TurnDone:
    """A turn of compaction is durable."""

    compaction: Compaction


Result = Appended | Probed | Failed | Reopened | TurnDone


class Writer(Protocol):
    """Where the manager sends its work, and who tells it the results in order."""

    def start(self) -> None:
        """Begin; the loop is running."""

    def put(self, work: Work) -> None:
        """Queue `work`; returns at once. The manager bounds how much stands here."""

    async def close(self) -> None:
        """Return once all queued work is done."""


class JournalWriter:
    """A thread that owns the journal's writing side; `tell` is called in it with each result."""

    def __init__(self, journal: Journal, tell: Callable[[Result], None]) -> None:
        self._journal, self._tell = journal, tell
        self._queue: SimpleQueue[Work] = SimpleQueue()
        self._held: Work | None = None  # taken from the queue, and no part of the batch before it
        self._thread = threading.Thread(target=self._run, name="runstate-journal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, work: Work) -> None:
        """Queue `work`; returns at once. The manager bounds how much stands here."""
        self._queue.put(work)

    async def close(self) -> None:
        """Return once all queued work is done and the thread has ended."""
        self._queue.put(Close())
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        broken: StoreError | None = None
        while True:
            work = self._take()
            if isinstance(work[0], Close):
                return
            if broken is not None and not isinstance(work[0], Reopen):
                self._tell(Failed(broken))
                continue
            try:
                self._tell(perform(self._journal, work))
                broken = None
            except StoreError as error:
                broken = error
                self._tell(Failed(error))
            except Exception as bug:
                # The top of the thread: were it to end, every commit would wait for ever without a word.
                log.exception("the journal's thread met a bug", extra={"event": "writer_failed"})
                broken = StoreUnavailable(f"runstate met a bug of its own ({type(bug).__name__}: {bug})")
                self._tell(Failed(broken))

    def _take(self) -> Sequence[Work]:
        """Wait for work; return one piece, or all appends that stand together."""
        if self._held is not None:
            first, self._held = self._held, None
        else:
            first = self._queue.get()
        batch: list[Work] = [first]
        while isinstance(first, Append) and len(batch) < MAX_BATCH:
            try:
                work = self._queue.get_nowait()
            except Empty:
                break
            if not isinstance(work, Append):
                self._held = work
                break
            batch.append(work)
        return batch


def perform(journal: Journal, work: Sequence[Work]) -> Result:
    """Do one piece of work, or a batch of appends, and return its result.

    Raises:
        StoreError: The journal refuses.
    """
    match work[0]:
        case Reopen(revision):
            opened = journal.reopen()
            journal.probe()  # a store on a full disk opens, too
            return Reopened(opened, tuple(journal.commits_after(revision, None)))
        case Compact(retention, after, limit):
            return TurnDone(journal.compact(retention, after=after, limit=limit))
        case Probe():
            journal.probe()
            return Probed()
        case _:
            appends = tuple(piece for piece in work if isinstance(piece, Append))
            commits = [piece.commit for piece in appends if piece.commit is not None]
            journal.append(commits, _loose_notes(appends))
            return Appended(len(appends))


def _loose_notes(appends: Sequence[Append]) -> list[Note]:
    """Return the notes beside the commits that count: a journal takes them after all commits of the batch.

    So one that a later commit replaces must not be among them.
    """
    loose: dict[tuple[str, str], Note] = {}
    for piece in appends:
        for note in piece.commit.notes if piece.commit is not None else ():
            loose.pop((note.kind, note.id), None)
        loose |= {(note.kind, note.id): note for note in piece.notes}
    return list(loose.values())
