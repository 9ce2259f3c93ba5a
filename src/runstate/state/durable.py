"""From a decided commit to a durable one: what is under way to the journal's thread, and what happens when it refuses.

Holds no document. After a failed write everything under way is answered with the failure, and the store is reopened again
and again until it works; the same handle is never tried again (ADR 1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from runstate.core.commit import Commit
from runstate.core.errors import StoreError, StoreUnavailable
from runstate.ports import Compaction, Journal, Opened, Retention
from runstate.state.writer import (
    Append,
    Appended,
    Compact,
    Failed,
    JournalWriter,
    Probe,
    Probed,
    Reopen,
    Reopened,
    Result,
    TurnDone,
    Writer,
)

log = logging.getLogger("runstate.state")

PROBE_S = 2.0  # well within a heartbeat, so an idle server's `source_age_ms` stays small
REOPEN_S = 1.0

MakeWriter = Callable[[Journal, Callable[[Result], None]], Writer]


class Ticket:
    """A commit under way. Awaiting it ends when the commit is published, or raises StoreUnavailable."""

    __slots__ = ("commit", "future")

    def __init__(self, commit: Commit | None, future: asyncio.Future[None]) -> None:
        self.commit, self.future = commit, future
        # A ticket that nobody awaits is no error: the journal's trouble is logged.
        future.add_done_callback(lambda done: None if done.cancelled() else _seen(done.exception()))

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: the caller's cancellation must not separate a commit from its publication.
        return asyncio.shield(self.future).__await__()


def _seen(_: BaseException | None) -> None:
    """Take note of a future's exception, so asyncio does not report it as never retrieved."""


class Owner(Protocol):
    """Who decides commits and is told of their fate, in the loop's thread: the manager."""

    def publish(self, commit: Commit) -> None:
        """Show a commit that is durable now; no await stands between its durability and this."""

    def forget_pending(self) -> None:
        """Drop what is decided and not durable: the journal refused it."""

    def may_resume(self, opened: Opened) -> bool:
        """Return whether a store that was opened again is the one that was lost."""

    def recall(self, opened: Opened) -> None:
        """Take what the reopened store holds as what is, after missed commits were published."""


class Durability:
    """The way to the journal and back."""

    def __init__(self, journal: Journal, owner: Owner, *, make_writer: MakeWriter = JournalWriter) -> None:
        self.trouble: StoreError | None = None  #: Why commits do not work now; None where they do.
        self._journal, self._owner, self._make_writer = journal, owner, make_writer
        self._under_way: list[tuple[Append, Ticket]] = []
        self._turns: list[asyncio.Future[Compaction]] = []
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self, head_revision: Callable[[], int]) -> AsyncIterator[None]:
        """Write for as long as the block lasts; at its end everything under way is made durable.

        Args:
            head_revision: Of the latest published commit; what a reopened store has after it was missed.
        """
        self._loop = asyncio.get_running_loop()
        self._source_known_s = self._loop.time()
        self._writer = self._make_writer(self._journal, self._tell)
        self._writer.start()
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep_source_known(head_revision))
            try:
                yield
            finally:
                keeper.cancel()
                await self._writer.close()

    @property
    def backlog(self) -> int:
        """How many commits are under way."""
        return len(self._under_way)

    def source_age_ms(self) -> int:
        """Return the milliseconds since the journal was last known to work (PROTOCOL F3)."""
        return max(0, round((self._loop.time() - self._source_known_s) * 1000))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked again after each of the journal's answers."""
        while not condition():
            await self._changed.wait()

    async def compact_turn(self, retention: Retention, after: int) -> Compaction:
        """Let one turn of compaction have its place between the appends; return what it did.

        Raises:
            StoreUnavailable: The journal refuses writes now.
        """
        self.check()
        done: asyncio.Future[Compaction] = self._loop.create_future()
        self._turns.append(done)
        self._writer.put(Compact(retention, after))
        return await done

    def wake(self) -> None:
        """Let everybody who waits look again at once: something else than the journal has changed."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def check(self) -> None:
        """Check that commits are taken.

        Raises:
            StoreUnavailable: They are not now.
        """
        if self.trouble is not None:
            raise StoreUnavailable(f"the journal refuses writes: {self.trouble}") from self.trouble

    def put(self, work: Append) -> Ticket:
        """Send decided work on its way; returns at once.

        Raises:
            StoreUnavailable: The journal refuses writes now.
        """
        self.check()
        ticket = Ticket(work.commit, self._loop.create_future())
        self._under_way.append((work, ticket))
        self._writer.put(work)
        return ticket

    def _tell(self, result: Result) -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, result)
        except RuntimeError:
            # The loop has ended; what became durable is found at the next start.
            log.debug("the loop ended before the journal's last answer")

    def _take(self, result: Result) -> None:
        match result:
            case Appended(count):
                done, self._under_way = self._under_way[:count], self._under_way[count:]
                for work, ticket in done:
                    if work.commit is not None:
                        self._owner.publish(work.commit)
                    ticket.future.set_result(None)
                self._source_known_s = self._loop.time()
            case Probed():
                self._source_known_s = self._loop.time()
            case Failed(error):
                self._fail(error)
            case Reopened(opened, missed):
                self._resume(opened, missed)
            case TurnDone(compaction):
                self._turns.pop(0).set_result(compaction)
        self.wake()

    def _fail(self, error: StoreError) -> None:
        if self.trouble is None:
            log.error("the journal refuses writes: %s", error, extra={"event": "store_failed"})
        self.trouble = error
        self._owner.forget_pending()
        lost, self._under_way = self._under_way, []
        for _, ticket in lost:
            ticket.future.set_exception(StoreUnavailable(f"the journal refused the commit: {error}"))
        turns, self._turns = self._turns, []
        for turn in turns:
            turn.set_exception(StoreUnavailable(f"the journal refuses writes: {error}"))

    def _resume(self, opened: Opened, missed: Sequence[Commit]) -> None:
        if self.trouble is None:
            return  # an earlier reopen has been taken already
        if not self._owner.may_resume(opened):
            self._fail(StoreUnavailable("the store was replaced by another one; restart the server"))
            return
        # A commit that was answered 503 may be durable; then it is true, and readers hear of it now.
        for commit in missed:
            self._owner.publish(commit)
        self._owner.recall(opened)
        self.trouble = None
        self._source_known_s = self._loop.time()
        log.warning("the journal works again at revision %d", opened.revision, extra={"event": "store_recovered"})

    async def _keep_source_known(self, head_revision: Callable[[], int]) -> None:
        while True:
            if self.trouble is not None:
                self._writer.put(Reopen(head_revision()))
                await asyncio.sleep(REOPEN_S)
            else:
                if not self._under_way:
                    self._writer.put(Probe())
                await asyncio.sleep(PROBE_S)
