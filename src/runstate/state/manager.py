"""PipelineStateManager: the only writer of runs and pipelines.

    event ─▶ step (pure) ─▶ pending ─▶ writer thread: append + fsync ─▶ head.swap ─▶ bus.publish

Commits get their revision and version at once, on the pending documents. Readers see only the durable head, which is
swapped and published without an `await` in between (PROTOCOL V5). After a failed write the pending documents are dropped
and the store is reopened and replayed; the same handle is never tried again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Commit, Document, Key, Note, key_of, make_change
from runstate.core.errors import AlreadyRunning, InvalidValue, NotFound, StoreError, StoreUnavailable
from runstate.core.events import Event
from runstate.core.machine import is_terminal
from runstate.core.model import Ledger, PipelineDocument, RunContext, Value, decode_ledger, encode_ledger, reserve_bytes
from runstate.core.position import Position
from runstate.core.run import Run, reserve_of, step, with_short_texts
from runstate.ports import Clock, Journal, Opened
from runstate.state.bus import EventBus
from runstate.state.head import Head
from runstate.state.writer import (
    Append,
    Appended,
    Failed,
    JournalWriter,
    Probe,
    Probed,
    Reopen,
    Reopened,
    Result,
    Writer,
)

log = logging.getLogger("runstate.state")

PROBE_S = 2.0  # well within a heartbeat, so an idle server's `source_age_ms` stays small
REOPEN_S = 1.0
LEDGER = "ledger"


class Ticket:
    """A commit under way. Awaiting it ends when the commit is published, or raises StoreUnavailable."""

    __slots__ = ("commit", "future")

    def __init__(self, commit: Commit | None, future: asyncio.Future[None]) -> None:
        self.commit, self.future = commit, future
        # A ticket that nobody awaits is no error: the manager has logged the journal's trouble.
        future.add_done_callback(lambda done: None if done.cancelled() else _seen(done.exception()))

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: the caller's cancellation must not separate a commit from its publication.
        return asyncio.shield(self.future).__await__()


def _seen(_: BaseException | None) -> None:
    """Take note of a future's exception, so asyncio does not report it as never retrieved."""


class PipelineStateManager:
    """The single source of truth of every run and pipeline in one store."""

    def __init__(
        self,
        journal: Journal,
        opened: Opened,
        *,
        clock: Clock,
        bus: EventBus,
        writer: Callable[[Journal, Callable[[Result], None]], Writer] = JournalWriter,
    ) -> None:
        """Take over an open journal; `async with manager.running()` starts writing.

        Args:
            writer: Makes what appends; a simulation on virtual time has no threads and passes another one.
        """
        self.journal, self.bus = journal, bus
        self.head = Head(opened)  #: What readers see.
        self.server_id = secrets.token_hex(4)  #: Names this server in `hello`; every start is another server.
        self.trouble: StoreError | None = None  #: Why commits do not work now; None where they do.
        self._clock, self._make_writer = clock, writer
        self._under_way: list[tuple[Append, Ticket]] = []
        self._changed = asyncio.Event()
        self._source_known_s = 0.0  # on the loop's clock
        self._recall(opened)

    def _recall(self, opened: Opened) -> None:
        """Forget everything pending: what the journal holds is what is."""
        self._pending: dict[Key, Document] = {}
        self._pending_revision = opened.revision
        self._ledgers = {n.id: decode_ledger(n.value) for n in opened.notes if n.kind == LEDGER and n.value is not None}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write for as long as the block lasts; at its end everything under way is made durable."""
        self._loop = asyncio.get_running_loop()
        self._source_known_s = self._loop.time()
        self._writer = self._make_writer(self.journal, self._tell)
        self._writer.start()
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep_source_known())
            try:
                yield
            finally:
                keeper.cancel()
                await self._writer.close()

    # Reading

    def get_state(self, pipeline: str | None = None) -> RunContext:
        """Return the current run of a pipeline, frozen; without a name, of the default pipeline.

        Raises:
            NotFound: No such pipeline.
        """
        return self.head.state(pipeline)

    async def get_canonical_state_dict(self, pipeline: str | None = None) -> dict[str, Any]:
        """Return `get_state` as a fresh dict with the members of PROTOCOL D1.

        Raises:
            NotFound: No such pipeline.
        """
        return self.get_state(pipeline).to_dict()

    async def find_run(self, run_id: str) -> Document:
        """Return a run's document, from memory or the journal.

        Raises:
            NotFound: No such run.
        """
        document = self.head.run(run_id)
        if document is None:
            kept = await asyncio.to_thread(self.journal.head, Key("run", run_id))
            # What is durable and not published yet does not exist for readers.
            document = (
                kept if kept is not None and kept.position.revision <= self.head.revision else self.head.run(run_id)
            )
        if document is None:
            raise NotFound(f"there is no run {run_id}; GET /api/runs lists those that are")
        return document

    async def commits_after(self, revision: int) -> Sequence[Commit]:
        """Return published commits after `revision` in order, not necessarily all.

        Raises:
            Compacted: They are below the retention floor.
        """
        commits = await asyncio.to_thread(self.journal.commits_after, revision)
        return [commit for commit in commits if commit.position.revision <= self.head.revision]

    def source_age_ms(self) -> int:
        """Return the milliseconds since the journal was last known to work (PROTOCOL F3)."""
        return max(0, round((self._loop.time() - self._source_known_s) * 1000))

    @property
    def backlog(self) -> int:
        """How many commits are under way."""
        return len(self._under_way)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked again after each of the journal's answers."""
        while not condition():
            await self._changed.wait()

    # Writing: decided on the pending documents, in the loop's thread; durable when the ticket is done.

    def pending_run(self, run_id: str) -> Run:
        """Return a run as the next event will find it.

        Raises:
            NotFound: The run is neither active nor current.
        """
        document = self._pending_document(Key("run", run_id))
        if document is None:
            raise NotFound(f"there is no run {run_id} that could change")
        return Run(document.run, self._ledgers.get(run_id, Ledger()))

    def serve(self, stage_orders: Mapping[str, Sequence[str]]) -> Ticket | None:
        """Make the pipelines' documents say what is defined; the first becomes the default. None: nothing changed."""
        self.head.default = next(iter(stage_orders), None)
        changed: list[Value] = []
        for name, stages in stage_orders.items():
            old = self._pending_document(Key("pipeline", name))
            if old is None:
                fresh = PipelineDocument(epoch="", pipeline=name, version=0, updated_at=None, stage_order=tuple(stages))
                changed.append(fresh)
            elif old.pipeline.stage_order != tuple(stages):
                changed.append(replace(old.pipeline, stage_order=tuple(stages)))
        return self._commit(changed, cause={"event": "pipelines_defined", "by": None}) if changed else None

    def create_run(self, run: Run, *, by: str | None) -> Ticket:
        """Commit version 1 of a run and make it its pipeline's current one, in one commit (PROTOCOL D8).

        Raises:
            NotFound: No such pipeline.
            AlreadyRunning: The pipeline has an active run (C4); nothing changes.
            StoreUnavailable: The journal refuses writes now.
            InvalidValue: The document would be too large; nothing changes.
        """
        context = run.context
        owner = self._pending_document(Key("pipeline", context.pipeline))
        if owner is None:
            raise NotFound(f"there is no pipeline {context.pipeline}; GET /api/pipelines lists those that are")
        current = owner.pipeline.current_run_id
        if current is not None and not is_terminal(self.pending_run(current).context.state):
            raise AlreadyRunning(context.pipeline, current)
        moved = replace(owner.pipeline, current_run_id=context.run_id)
        return self._commit(
            [context, moved], cause={"event": "run_created", "by": by}, reserve=reserve_bytes(len(context.stage_order))
        )

    def apply(self, run_id: str, event: Event, *, by: str | None = None) -> Ticket | None:
        """Commit what `event` makes of a run. None: it changes nothing.

        Raises:
            NotFound: The run is neither active nor current.
            TransitionRejected: The state machine has no such move; nothing changes.
            StaleAttempt: The event is of an old attempt; nothing changes.
            InvalidValue: A value may not stand in a document, or it would be too large; nothing changes.
            StoreUnavailable: The journal refuses writes now.
        """
        old = self.pending_run(run_id)
        new = step(old, event, now_ms=self._clock.now_ms())
        over = is_terminal(new.context.state)
        notes: tuple[Note, ...] = ()
        if over or new.ledger != old.ledger:
            notes = (Note(LEDGER, run_id, None if over else encode_ledger(new.ledger)),)
        if new.context is old.context:
            return self._enqueue(Append(None, notes)) if notes else None
        details = {name: getattr(event, name) for name in ("stage", "attempt") if hasattr(event, name)}
        cause = {"event": _event_word(event), "by": by} | details
        reserve = reserve_of(event, len(new.context.stage_order))
        try:
            return self._commit([new.context], cause=cause, notes=notes, reserve=reserve)
        except InvalidValue:
            if reserve:
                raise
            # This must fit: room was kept for it, but texts in full may be larger than that.
            return self._commit([with_short_texts(new.context)], cause=cause, notes=notes)

    def _pending_document(self, key: Key) -> Document | None:
        return self._pending.get(key) or self.head.get(key)

    def _commit(
        self,
        values: Iterable[Value],
        *,
        cause: Mapping[str, Any],
        notes: tuple[Note, ...] = (),
        reserve: int = 0,
    ) -> Ticket:
        at_ms = self._clock.now_ms()
        position = Position(self.head.epoch, self._pending_revision + 1)
        changes = tuple(
            make_change(
                self._pending_document(key_of(value)),
                value,
                position=position,
                at_ms=at_ms,
                reserve_bytes=reserve,
            )
            for value in values
        )
        return self._enqueue(Append(Commit(position, at_ms, FrozenJson(cause), changes, notes)))

    def _enqueue(self, work: Append) -> Ticket:
        if self.trouble is not None:
            raise StoreUnavailable(f"the journal refuses writes: {self.trouble}") from self.trouble
        if work.commit is not None:
            self._pending_revision = work.commit.position.revision
            self._pending |= {change.document.key: change.document for change in work.commit.changes}
        for note in work.all_notes:
            if note.value is None:
                self._ledgers.pop(note.id, None)
            else:
                self._ledgers[note.id] = decode_ledger(note.value)
        ticket = Ticket(work.commit, self._loop.create_future())
        self._under_way.append((work, ticket))
        self._writer.put(work)
        return ticket

    # What the writer thread says, taken in the loop's thread.

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
                        self._publish(work.commit)
                    ticket.future.set_result(None)
                self._source_known_s = self._loop.time()
            case Probed():
                self._source_known_s = self._loop.time()
            case Failed(error):
                self._fail(error)
            case Reopened(opened, missed):
                self._resume(opened, missed)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _publish(self, commit: Commit) -> None:
        """The commit point: from the head's swap to the readers' marks there is no await."""
        documents = self.head.swap(commit)
        for document in documents:
            if self._pending.get(document.key) is document:
                del self._pending[document.key]
        self.bus.publish(commit)

    def _fail(self, error: StoreError) -> None:
        if self.trouble is None:
            log.error("the journal refuses writes: %s", error, extra={"event": "store_failed"})
        self.trouble = error
        self._pending.clear()
        lost, self._under_way = self._under_way, []
        for _, ticket in lost:
            ticket.future.set_exception(StoreUnavailable(f"the journal refused the commit: {error}"))

    def _resume(self, opened: Opened, missed: Sequence[Commit]) -> None:
        if self.trouble is None:
            return  # an earlier reopen has been taken already
        if opened.epoch != self.head.epoch or opened.revision < self.head.revision:
            self._fail(StoreUnavailable("the store was replaced by another one; restart the server"))
            return
        # A commit that was answered 503 may be durable; then it is true, and readers hear of it now.
        for commit in missed:
            self._publish(commit)
        self._recall(opened)
        self.trouble = None
        self._source_known_s = self._loop.time()
        log.warning("the journal works again at revision %d", self.head.revision, extra={"event": "store_recovered"})

    async def _keep_source_known(self) -> None:
        while True:
            if self.trouble is not None:
                self._writer.put(Reopen(self.head.revision))
                await asyncio.sleep(REOPEN_S)
            else:
                if not self._under_way:
                    self._writer.put(Probe())
                await asyncio.sleep(PROBE_S)


def _event_word(event: Event) -> str:
    """`AttemptStarted` → `attempt_started`."""
    name = type(event).__name__
    return name[0].lower() + "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name[1:])
