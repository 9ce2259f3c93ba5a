"""PipelineStateManager: the only writer of runs and pipelines.

    event ─▶ step (pure) ─▶ pending ─▶ writer thread: append + fsync ─▶ head.swap ─▶ bus.publish

Commits get their revision and version at once, on the pending documents. Readers see only the durable head, which is
swapped and published without an `await` in between (PROTOCOL V5). After a failed write the pending documents are dropped
and the store is reopened and replayed; the same handle is never tried again.
Longer than others: the only writer stands in one file.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Commit, Document, Key, Note, key_of, make_change
from runstate.core.errors import AlreadyRunning, InvalidValue, NotFound, StoreError
from runstate.core.events import Event, RunRetried, word_of
from runstate.core.health import Memory
from runstate.core.machine import is_over
from runstate.core.model import (
    Ledger,
    PipelineDocument,
    RunContext,
    Value,
    is_external,
    reserve_bytes,
)
from runstate.core.pipeline import Change, Owner, after_run
from runstate.core.position import Position
from runstate.core.reports import Reporter
from runstate.core.run import Run, reserve_of, step, with_short_texts
from runstate.ports import Clock, Compaction, Journal, Opened, Retention
from runstate.state.bus import EventBus
from runstate.state.demands import NO_DEMANDS, Demands, MakeAnswer
from runstate.state.durable import Durability, MakeWriter, Ticket
from runstate.state.head import Head
from runstate.state.notes import Notes, ledger_note, memory_note
from runstate.state.writer import Append, JournalWriter


class PipelineStateManager:
    """The single source of truth of every run and pipeline in one store."""

    def __init__(
        self,
        journal: Journal,
        opened: Opened,
        *,
        clock: Clock,
        bus: EventBus,
        make_writer: MakeWriter = JournalWriter,
    ) -> None:
        """Take over an open journal; `async with manager.running()` starts writing.

        Args:
            make_writer: Makes what appends; a simulation on virtual time has no threads and passes another one.
        """
        self.journal, self.bus = journal, bus
        self.head = Head(opened)  #: What readers see.
        self.server_id = secrets.token_hex(4)  #: Names this server in `hello`; every start is another server.
        self.listeners: list[Callable[[Commit], None]] = []  #: Called with each published commit; must return at once.
        self._clock = clock
        self._served = frozenset[str]()  # pipelines whose documents follow a definition
        self._durability = Durability(journal, self, make_writer=make_writer)
        self.recall(opened)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write for as long as the block lasts; at its end everything under way is made durable."""
        async with self._durability.running(lambda: self.head.revision):
            yield

    # Reading

    def get_state(self, pipeline: str | None = None) -> RunContext:
        """Return the current run of a pipeline, frozen; without a name, of the default pipeline.

        Raises:
            NotFound: No such pipeline.
        """
        return self.head.state(pipeline)

    async def get_canonical_state_dict(self, pipeline: str | None = None) -> dict[str, Any]:
        """Return `get_state` as a fresh dict with the members of PROTOCOL D1; raises the same."""
        return self.get_state(pipeline).to_dict()

    async def find_run(self, run_id: str) -> Document:
        """Return a run's document, from memory or the journal, as it is when this returns.

        Raises:
            NotFound: No such run.
        """
        key = Key("run", run_id)
        document = self.head.run(run_id)
        while document is None:
            revision = self.head.revision
            kept = await asyncio.to_thread(self.journal.head, key)
            document = self.head.run(run_id)
            # While the journal was read the run may have been retried, and left again; then it is read once more.
            if document is None and not self.bus.has_touched(key, after=revision, head=self.head.revision):
                if kept is None:
                    raise NotFound(f"there is no run {run_id}; GET /api/runs lists those that are")
                if kept.position.revision <= self.head.revision:
                    document = kept
                else:
                    await self._until_published(kept.position.revision)  # until then it does not exist for readers
        return document

    async def _until_published(self, revision: int) -> None:
        await self.until(lambda: self.head.revision >= revision or self.trouble is not None)
        if self.head.revision < revision:
            self._durability.check()

    async def commits_after(self, revision: int) -> Sequence[Commit]:
        """Return published commits after `revision` in order, not necessarily all.

        Raises:
            Compacted: They are below the retention floor.
        """
        commits = await asyncio.to_thread(self.journal.commits_after, revision)
        return [commit for commit in commits if commit.position.revision <= self.head.revision]

    @property
    def trouble(self) -> StoreError | None:
        """Why commits do not work now; None where they do."""
        return self._durability.trouble

    @property
    def backlog(self) -> int:
        """How many commits are under way."""
        return self._durability.backlog

    def source_age_ms(self) -> int:
        """Return the milliseconds since the journal was last known to work (PROTOCOL F3)."""
        return self._durability.source_age_ms()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked again after each of the journal's answers."""
        await self._durability.until(condition)

    def wake(self) -> None:
        """Let everybody who waits in `until` look again at once."""
        self._durability.wake()

    async def compact_turn(self, retention: Retention, after: int) -> Compaction:
        """Let one turn of compaction have its place between the commits (`state/retention.py`)."""
        return await self._durability.compact_turn(retention, after)

    # Writing: decided on the pending documents, in the loop's thread; durable when the ticket is done.

    def pending_run(self, run_id: str) -> Run:
        """Return a run as the next event will find it.

        Raises:
            NotFound: The run is neither active nor current.
        """
        document = self._pending_document(Key("run", run_id))
        if document is None:
            raise NotFound(f"there is no run {run_id} that could change")
        return Run(document.run, self._notes.ledger(run_id))

    def has_memory(self, pipeline: str) -> bool:
        """Return whether anything is remembered of a pipeline: if not, its runs are older than memories are."""
        return self._notes.memory(pipeline) is not None

    def pending_pipeline(self, name: str) -> Owner:
        """Return a pipeline as the next change will find it.

        Raises:
            NotFound: No such pipeline.
        """
        document = self._pending_document(Key("pipeline", name))
        if document is None:
            raise NotFound(f"there is no pipeline {name}; GET /api/pipelines lists those that are")
        return Owner(document.pipeline, self._notes.memory(name) or Memory())

    def serve(
        self, stage_orders: Mapping[str, Sequence[str]], changes: Mapping[str, Change] | None = None
    ) -> Ticket | None:
        """Make the pipelines' documents say what is defined; the first becomes the default. None: nothing changed.

        Args:
            changes: What else becomes of a pipeline, by name.
        """
        self.head.default = next(iter(stage_orders), None)
        self._served = frozenset(stage_orders)
        changed: list[Value] = []
        notes: tuple[Note, ...] = ()
        for name, stages in stage_orders.items():
            if self._pending_document(Key("pipeline", name)) is None:
                old, known = Owner(_fresh_pipeline(name, stages), Memory()), False
            else:
                old, known = self.pending_pipeline(name), True
            new = Owner(replace(old.document, stage_order=tuple(stages)), old.memory)
            if changes is not None and name in changes:
                new = changes[name](new)
            if new.document != old.document or not known:
                changed.append(new.document)
            if new.memory != old.memory or not self.has_memory(name):
                notes = (*notes, memory_note(name, new.memory))
        if not changed:
            return self._enqueue(Append(None, notes)) if notes else None
        return self._commit(changed, cause={"event": "pipelines_defined", "by": None}, notes=notes)

    def change_pipeline(
        self, name: str, change: Change, *, event: str, by: str | None, demands: Demands = NO_DEMANDS
    ) -> Ticket:
        """Commit what `change` makes of a pipeline.

        Args:
            event: The cause, as history shows it.

        Raises:
            NotFound: No such pipeline.
            Conflict: `demands` expects another version of it; nothing changes.
            StoreUnavailable: The journal refuses writes now.
        """
        old = self.pending_pipeline(name)
        demands.check(f"pipeline {name}", self._pending_document(Key("pipeline", name)))
        new = change(old)
        notes = () if new.memory == old.memory else (memory_note(name, new.memory),)
        return self._commit([new.document], cause={"event": event, "by": by}, notes=notes, answer=demands.answer)

    def create_run(
        self,
        run: Run,
        *,
        by: str | None,
        demands: Demands = NO_DEMANDS,
        notes: tuple[Note, ...] = (),
        change: Change | None = None,
    ) -> Ticket:
        """Commit version 1 of a run and make it its pipeline's current one, in one commit (PROTOCOL D8).

        A run that is executed elsewhere brings its pipeline with it, if that is new (PROTOCOL C8).

        Args:
            change: What else this makes of the pipeline; what it raises refuses the run.

        Raises:
            Conflict: `demands` expects another version of the pipeline or its current run; nothing changes.
            NotFound: No such pipeline.
            AlreadyRunning: The pipeline has an active run (C4); nothing changes.
            StoreUnavailable: The journal refuses writes now.
            InvalidValue: The document would be too large; nothing changes.
        """
        context = run.context
        owner = self._pending_document(Key("pipeline", context.pipeline))
        if owner is not None:
            value = owner.pipeline
        elif is_external(context):
            value = _fresh_pipeline(context.pipeline, context.stage_order)
        else:
            raise NotFound(f"there is no pipeline {context.pipeline}; GET /api/pipelines lists those that are")
        current = None if owner is None else self._current_run(owner)
        demands.check(f"pipeline {context.pipeline}", owner, current)
        if current is not None and not is_over(current.run.state):
            raise AlreadyRunning(context.pipeline, current.key.id)
        old = Owner(value, self._notes.memory(context.pipeline) or Memory())
        new = old if change is None else change(old)
        if new.memory != old.memory:
            notes = (*notes, memory_note(context.pipeline, new.memory))
        moved = replace(new.document, current_run_id=context.run_id)
        if is_external(context) and context.pipeline not in self._served:
            moved = replace(moved, stage_order=context.stage_order)
        reserve = reserve_bytes(len(context.stage_order))
        cause = {"event": "run_created", "by": by}
        return self._commit([context, moved], cause=cause, notes=notes, reserve=reserve, answer=demands.answer)

    def retry_run(
        self, kept: Document, *, by: str | None, demands: Demands = NO_DEMANDS, change: Change | None = None
    ) -> Ticket:
        """Commit that a run goes on from the stage that did not finish, and make it its pipeline's current one.

        Args:
            kept: The run as `find_run` gave it; it may be one that only the journal has.
            change: Asked last, with the pipeline; what it raises refuses the retry.

        Raises:
            Conflict: `demands` expects another version of the run; nothing changes.
            TransitionRejected: The run is neither failed nor stopped.
            AlreadyRunning: The pipeline has an active run (C4); nothing changes.
            StoreUnavailable: The journal refuses writes now.
        """
        document = self._pending_document(kept.key) or kept
        demands.check(f"run {kept.key.id}", document)
        new = step(Run(document.run, Ledger()), RunRetried(), now_ms=self._clock.now_ms())
        owner = self._pending_document(Key("pipeline", document.run.pipeline))
        assert owner is not None, "a run's pipeline is in the store"
        current = self._current_run(owner)
        if current is not None and current.key != kept.key and not is_over(current.run.state):
            raise AlreadyRunning(document.run.pipeline, current.key.id)
        if change is not None:
            change(self.pending_pipeline(document.run.pipeline))
        values: list[Value] = [new.context]
        if owner.pipeline.current_run_id != kept.key.id:
            values.append(replace(owner.pipeline, current_run_id=kept.key.id))
        self._pending.setdefault(kept.key, document)  # what its next version follows
        notes = (ledger_note(kept.key.id, new.ledger),)
        return self._commit(values, cause={"event": "run_retried", "by": by}, notes=notes, answer=demands.answer)

    def keep(self, note: Note) -> Ticket:
        """Make a note durable that belongs to no commit; raises StoreUnavailable like a commit."""
        return self._enqueue(Append(None, (note,)))

    @property
    def reporters(self) -> Mapping[str, Reporter]:
        """Who executes runs elsewhere, by run, as decided (PROTOCOL C8)."""
        return self._notes.reporters

    @property
    def answers(self) -> Mapping[str, bytes]:
        """The kept answers of commands by id, as decided; each is durable once its commit is (PROTOCOL C3)."""
        return self._notes.answers

    def apply(
        self, run_id: str, event: Event, *, by: str | None = None, demands: Demands = NO_DEMANDS
    ) -> Ticket | None:
        """Commit what `event` makes of a run. None: it changes nothing.

        Raises:
            Conflict: `demands` expects another version of the run; nothing changes.
            NotFound: The run is neither active nor current.
            TransitionRejected: The state machine has no such move; nothing changes.
            StaleAttempt: The event is of an old attempt; nothing changes.
            InvalidValue: A value may not stand in a document, or it would be too large; nothing changes.
            StoreUnavailable: The journal refuses writes now.
        """
        details = {name: getattr(event, name) for name in ("stage", "attempt") if hasattr(event, name)}
        cause = {"event": word_of(event), "by": by} | details
        return self._fold(run_id, (event,), cause=cause, demands=demands)

    def apply_all(
        self, run_id: str, events: Sequence[Event], *, by: str | None = None, notes: tuple[Note, ...] = ()
    ) -> Ticket | None:
        """Commit what `events`, oldest first, make of a run: all or none, in one commit (PROTOCOL C8).

        Its cause names them all, since between them the run may have been in states that no version shows. Raises what
        `apply` raises. None: there was neither anything to change nor to note.
        """
        cause = {"event": "facts_reported", "by": by, "facts": [word_of(event) for event in events]}
        return self._fold(run_id, events, cause=cause, notes=notes)

    def _fold(
        self,
        run_id: str,
        events: Sequence[Event],
        *,
        cause: Mapping[str, Any],
        demands: Demands = NO_DEMANDS,
        notes: tuple[Note, ...] = (),
    ) -> Ticket | None:
        old = new = self.pending_run(run_id)
        demands.check(f"run {run_id}", self._pending_document(Key("run", run_id)))
        for event in events:
            new = step(new, event, now_ms=self._clock.now_ms())
        over = is_over(new.context.state)
        if over or new.ledger != old.ledger:
            notes = (*notes, ledger_note(run_id, None if over else new.ledger))
        if new.context is old.context:
            return self._enqueue(Append(None, notes)) if notes else None
        owners: list[Value] = []
        if over:
            before = self.pending_pipeline(new.context.pipeline)
            after = after_run(before, new.context)
            if after.memory != before.memory:
                notes = (*notes, memory_note(new.context.pipeline, after.memory))
            owners = [after.document] if after.document != before.document else []
        reserve = max(reserve_of(event, len(new.context.stage_order)) for event in events)
        try:
            values = [new.context, *owners]
            return self._commit(values, cause=cause, notes=notes, reserve=reserve, answer=demands.answer)
        except InvalidValue:
            if reserve:
                raise
            # This must fit: room was kept for it, but texts in full may be larger than that.
            short = with_short_texts(new.context)
            return self._commit([short, *owners], cause=cause, notes=notes, answer=demands.answer)

    def _pending_document(self, key: Key) -> Document | None:
        return self._pending.get(key) or self.head.get(key)

    def _current_run(self, owner: Document) -> Document | None:
        run_id = owner.pipeline.current_run_id
        return None if run_id is None else self._pending_document(Key("run", run_id))

    def _commit(
        self,
        values: Iterable[Value],
        *,
        cause: Mapping[str, Any],
        notes: tuple[Note, ...] = (),
        reserve: int = 0,
        answer: MakeAnswer | None = None,
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
        if answer is not None:
            notes = (*notes, answer(changes[0].document))
        return self._enqueue(Append(Commit(position, at_ms, FrozenJson(cause), changes, notes)))

    def _enqueue(self, work: Append) -> Ticket:
        ticket = self._durability.put(work)
        if work.commit is not None:
            self._pending_revision = work.commit.position.revision
            self._pending |= {change.document.key: change.document for change in work.commit.changes}
        for note in work.all_notes:
            self._notes.take(note)
        return ticket

    # What the journal's answers mean (`state/durable.py`).

    def publish(self, commit: Commit) -> None:
        """Show a durable commit: from the head's swap to the readers' marks there is no await."""
        for document in self.head.swap(commit):
            if self._pending.get(document.key) is document:
                del self._pending[document.key]
        self.bus.publish(commit)
        for hear in self.listeners:
            hear(commit)

    def forget_pending(self) -> None:
        """Drop what is decided and not durable.

        Notes of it stand until `recall`; whoever would act on them is kept out by `trouble` as long.
        """
        self._pending.clear()

    def may_resume(self, opened: Opened) -> bool:
        """Return whether a store that was opened again is the one that was lost, and holds all that was shown."""
        return opened.epoch == self.head.epoch and opened.revision >= self.head.revision

    def recall(self, opened: Opened) -> None:
        """Take what the journal holds as what is: nothing is pending."""
        self._pending: dict[Key, Document] = {}
        self._pending_revision = opened.revision
        self._notes = Notes(opened.notes)


def _fresh_pipeline(name: str, stages: Sequence[str]) -> PipelineDocument:
    return PipelineDocument(epoch="", pipeline=name, version=0, updated_at=None, stage_order=tuple(stages))
