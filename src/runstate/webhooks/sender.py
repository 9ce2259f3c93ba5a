"""Senders: one task per receiver that tells it what happened, in its own time; and all of them together.

A sender hears each commit as it is published and remembers where there is something to tell, up to a bound; beyond it, and
after a restart, it reads the journal. It waits for its receiver, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from runstate.core.commit import Commit, Document, Note
from runstate.core.errors import Compacted, NotFound, StoreUnavailable
from runstate.pipeline.webhook import WebhookConfig
from runstate.ports import Clock
from runstate.state.manager import PipelineStateManager
from runstate.webhooks.events import Ref, encode_event, event_id, headers_of, refs_of
from runstate.webhooks.outbox import Outbox, Waiting, decode_outbox, encode_outbox
from runstate.webhooks.post import Post

log = logging.getLogger("runstate.webhooks")

NOTE = "webhook"
MOST_NEWS = 1000
SCANNED_AT_ONCE = 200  # commits, with full documents
IDLE_S = 60.0  # between two looks whether the journalled revision has fallen far behind
FAR_BEHIND = 1000  # revisions
AFTER_BUG_S = 60.0


def hook_id(config: WebhookConfig) -> str:
    """Return what a receiver is known by: changing its words or secret keeps what it is still to be told."""
    return hashlib.sha256(config.url.encode()).hexdigest()[:12]


class Sender:
    """Tells one receiver."""

    def __init__(
        self,
        config: WebhookConfig,
        outbox: Outbox | None,
        *,
        key: bytes | None,
        manager: PipelineStateManager,
        clock: Clock,
        post: Post,
        random: Callable[[], float],
    ) -> None:
        """Make one; `outbox` None: nothing that has happened so far is told."""
        self.config, self.id = config, hook_id(config)
        self._manager, self._clock, self._post, self._random, self._key = manager, clock, post, random, key
        now = manager.head.revision
        self.outbox = Outbox(after=now) if outbox is None else outbox
        self._behind = now  # revision up to which only the journal knows what there is to tell
        self._news: deque[tuple[int, tuple[Ref, ...]]] = deque()
        self._wake = asyncio.Event()

    def hear(self, commit: Commit) -> None:
        """Take note of a published commit; returns at once."""
        refs = refs_of(commit, self.config.on)
        if not refs:
            return
        if self.outbox.after < self._behind or len(self._news) >= MOST_NEWS:
            self._behind = commit.position.revision
        else:
            self._news.append((commit.position.revision, refs))
        self._wake.set()

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            try:
                await self._turn()
            except StoreUnavailable:
                await self._manager.until(lambda: self._manager.trouble is None)
            except Exception:
                # The top of a server task: one receiver's trouble must not end the others, nor the server.
                log.exception("webhook %s met a bug", self.id, extra={"event": "webhook_failed"})
                await asyncio.sleep(AFTER_BUG_S)

    async def keep(self) -> None:
        """Journal how far it is.

        Raises:
            StoreUnavailable: The journal refuses writes now.
        """
        await self._manager.keep(Note(NOTE, self.id, encode_outbox(self.outbox)))

    def catch_up(self) -> bool:
        """Move over commits that tell nothing; return whether that was far."""
        head, before = self._manager.head.revision, self.outbox.after
        if self._news or before < self._behind or before == head:
            return False
        self._behind = head
        self.outbox = self.outbox.take(head, ())
        return head - before >= FAR_BEHIND

    async def revive(self) -> int:
        """Try again what was given up; return how many those are.

        Raises:
            StoreUnavailable: The journal refuses writes now.
        """
        before, self.outbox = self.outbox, self.outbox.revived()
        count = len(self.outbox.waiting) - len(before.waiting)
        self._wake.set()
        await self.keep()
        return count

    async def _turn(self) -> None:
        self._wake.clear()
        await self._fill()
        now_ms, sent = self._clock.now_ms(), self.outbox.next()
        if sent is not None and sent.due_ms <= now_ms:
            await self._send(sent)
            return
        wait_s = IDLE_S if sent is None else min(IDLE_S, (sent.due_ms - now_ms) / 1000)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        if self.catch_up():
            await self.keep()

    async def _fill(self) -> None:
        """Take from what was heard, or from the journal, while there is room."""
        while not self.outbox.is_full:
            if self._news:
                self.outbox = self.outbox.take(*self._news.popleft())
            elif self.outbox.after < self._behind:
                await self._scan()
            else:
                return

    async def _scan(self) -> None:
        after, until = self.outbox.after, self._behind
        try:
            commits = await asyncio.to_thread(self._manager.journal.commits_after, after, SCANNED_AT_ONCE)
        except Compacted:
            floor = await asyncio.to_thread(self._floor, after, until)
            log.warning("webhook %s: history was thinned before it was told", self.id, extra={"event": "webhook_dead"})
            self.outbox = self.outbox.skipped(floor, now_ms=self._clock.now_ms())
            return
        for commit in commits:
            if commit.position.revision > until or self.outbox.is_full:
                return
            self.outbox = self.outbox.take(commit.position.revision, refs_of(commit, self.config.on))

    def _floor(self, low: int, high: int) -> int:
        """Return the least revision after which the journal has every commit; it is above `low`."""
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self._manager.journal.commits_after(middle, 1)
                high = middle
            except Compacted:
                low = middle
        return high

    async def _send(self, sent: Waiting) -> None:
        try:
            document = await asyncio.to_thread(self._manager.journal.version, sent.ref.key, sent.ref.version)
        except Compacted:
            document = None
        if document is None:
            self._note_dead(sent, "history was thinned: the document is no longer kept")
        else:
            await self._send_document(sent, document)
        await self.keep()

    async def _send_document(self, sent: Waiting, document: Document) -> None:
        body, name = encode_event(sent.ref, document), event_id(document)
        headers = headers_of(name, body, key=self._key, now_ms=self._clock.now_ms())
        answer = await self._post(self.config.url, body, headers)
        if answer.error is None:
            self.outbox = self.outbox.delivered(sent)
            return
        told = {"now_ms": self._clock.now_ms(), "retry_after_ms": answer.retry_after_ms}
        self.outbox = self.outbox.failed(sent, answer.error, **told, random=self._random())
        if any(waiting.ref == sent.ref for waiting in self.outbox.waiting):
            log.info("webhook %s: %s of %s: %s; it is tried again", self.id, sent.ref.word, sent.ref.id, answer.error)
        else:
            self._say_dead(sent, answer.error)

    def _note_dead(self, sent: Waiting, error: str) -> None:
        self.outbox = self.outbox.given_up(sent, error, now_ms=self._clock.now_ms())
        self._say_dead(sent, error)

    def _say_dead(self, sent: Waiting, error: str) -> None:
        log.error(
            "webhook %s at %s was given up for %s of %s: %s; `runstate webhooks` lists what was not told",
            self.id, self.config.receiver, sent.ref.word, sent.ref.id, error, extra={"event": "webhook_dead"},
        )  # fmt: skip


class Webhooks:
    """Every receiver of one engine."""

    def __init__(self, senders: Sequence[Sender], manager: PipelineStateManager) -> None:
        self.senders = {sender.id: sender for sender in senders}
        self._manager = manager

    def sender(self, id: str) -> Sender:  # noqa: A002  # because it is the path's word
        """Return a receiver's sender.

        Raises:
            NotFound: There is none.
        """
        if id not in self.senders:
            raise NotFound(f"there is no webhook {id}; GET /api/webhooks lists those that are")
        return self.senders[id]

    @asynccontextmanager
    async def running(self, notes: Iterable[Note]) -> AsyncIterator[None]:
        """Tell for as long as the block lasts; what is not told then is told after the next start.

        Args:
            notes: What the store held when it was opened; outboxes of receivers that are no longer named go.
        """
        for note in notes:
            if note.kind == NOTE and note.id not in self.senders:
                await self._manager.keep(Note(NOTE, note.id, None))
        senders = list(self.senders.values())
        for sender in senders:
            self._manager.listeners.append(sender.hear)
            # From now on, so that a crash right after the first run of a new receiver loses nothing.
            await sender.keep()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sender.run(), name=f"webhook {sender.id}") for sender in senders]
            try:
                yield
            finally:
                for sender, task in zip(senders, tasks, strict=True):
                    task.cancel()
                    self._manager.listeners.remove(sender.hear)
                    sender.catch_up()
                    with contextlib.suppress(StoreUnavailable):
                        await sender.keep()


def outboxes(notes: Iterable[Note]) -> dict[str, Outbox]:
    """Return the journalled outboxes by receiver."""
    return {note.id: decode_outbox(note.value) for note in notes if note.kind == NOTE and note.value is not None}
