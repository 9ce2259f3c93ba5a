"""A server of the simulation: the real manager, bus and orchestrator over a journal in memory, and ways to die.

Law: what the journal made durable is recorded at that moment, before anybody can be told. A dead server's journal handle
refuses everything, so nothing that was only decided becomes true after the crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Commit, Document, Key, Note
from runstate.core.errors import StoreUnavailable
from runstate.core.facts import Failed, MetadataPatched, Outcome, ProgressMade, Skipped, Succeeded
from runstate.core.frames import HEARTBEAT_MS
from runstate.core.model import Progress
from runstate.journal.memory import MemoryJournal
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.orchestrator import Orchestrator
from runstate.pipeline.runlog import RunLogs
from runstate.pipeline.stage import Stage
from runstate.ports import COMMITS_AT_ONCE, Compaction, Cut, History, Opened, Report, Retention, RunsFilter, StageTask
from runstate.state.bus import EventBus
from runstate.state.head import Head
from runstate.state.manager import PipelineStateManager
from runstate.testing.inline_writer import InlineWriter
from runstate.testing.recording import Committed, Event, Row
from runstate.testing.recording import Opened as Began
from runstate.testing.scripted_runner import ScriptedAttempt
from runstate.testing.scripted_wire import Wire
from runstate.testing.virtual_time import VirtualTimeLoop, virtual_loop

RUN_PIPELINES = {"market": ("translator", "analyzer", "merger"), "night": ("load", "check"), "one": ("only",)}


class Store(MemoryJournal):
    """A store that tells the recording what became durable, and that can be copied."""

    def __init__(self, *, epoch: str, record: Callable[[Event], None]) -> None:
        """Make an empty one."""
        super().__init__(epoch=epoch)
        self.epoch, self.record = epoch, record
        self.commits: list[Commit] = []  #: All of them, also what is compacted, with their notes.
        record(Began(epoch=epoch))

    def append(self, commits: Sequence[Commit], notes: Sequence[Note] = ()) -> None:
        """See the port."""
        try:
            super().append(commits, notes)
        finally:
            if self._revision > len(self.commits):
                for commit in commits:
                    self.commits.append(commit)
                    self.record(Committed(position=str(commit.position), rows=tuple(_rows(commit))))

    def copy(self, epoch: str, revision: int) -> Store:
        """Return the copy that a backup at `revision` becomes when it is opened (PROTOCOL V1)."""
        other = Store(epoch=epoch, record=lambda _: None)
        for commit in self.commits[:revision]:
            other._epoch = commit.position.epoch
            other.append([commit])
        other._epoch = epoch
        other.record = self.record
        self.record(Began(epoch=epoch, copy_of=self.epoch, revision=revision))
        return other


def _rows(commit: Commit) -> list[Row]:
    rows = []
    for change in commit.changes:
        document = change.document
        relative = document.run.pipeline if document.key.kind == "run" else document.pipeline.current_run_id
        row = Row(*document.key, document.version, str(document.position), document.digest, document.digest, relative)
        rows.append(row)
    return rows


class Handle:
    """One server's `runstate.ports.Journal`: the store until the server is dead."""

    def __init__(self, store: Store) -> None:
        """Open it."""
        self.store = store
        self.died = asyncio.Event()
        self.doom: str | None = None  #: How the next append ends the server: "before" or "after" it is durable.

    def append(self, commits: Sequence[Commit], notes: Sequence[Note] = ()) -> None:
        """See the port."""
        if self.doom == "after" and not self.dead:
            self.store.append(commits, notes)
        if self.doom is not None:
            self.died.set()
        self._check()
        self.store.append(commits, notes)

    def probe(self) -> None:
        """See the port."""
        self._check()
        self.store.probe()

    def compact(self, retention: Retention, *, after: int, limit: int) -> Compaction:
        """See the port."""
        self._check()
        return self.store.compact(retention, after=after, limit=limit)

    def reopen(self) -> Opened:
        """See the port."""
        self._check()
        return self.store.reopen()

    def close(self) -> None:
        """See the port."""
        self.died.set()

    @property
    def dead(self) -> bool:
        """Whether nothing is written any more."""
        return self.died.is_set()

    def head(self, key: Key) -> Document | None:
        """See the port."""
        return self.store.head(key)

    def version(self, key: Key, version: int) -> Document | None:
        """See the port."""
        return self.store.version(key, version)

    def history(self, key: Key, *, after: int, limit: int) -> History | None:
        """See the port."""
        return self.store.history(key, after=after, limit=limit)

    def runs(self, wanted: RunsFilter) -> Cut:
        """See the port."""
        return self.store.runs(wanted)

    def commits_after(self, revision: int, limit: int | None = COMMITS_AT_ONCE) -> Sequence[Commit]:
        """See the port."""
        return self.store.commits_after(revision, limit)

    def _check(self) -> None:
        if self.dead:
            raise StoreUnavailable("the process is dead")


class Source:
    """What a subscription asks, with a journal that takes its time but no thread."""

    def __init__(self, manager: PipelineStateManager) -> None:
        """Make one for a manager."""
        self._manager = manager
        self.server_id = manager.server_id
        self.head: Head = manager.head

    def source_age_ms(self) -> int:
        """See `state.bus.Source`."""
        return self._manager.source_age_ms()

    async def commits_after(self, revision: int) -> Sequence[Commit]:
        """See `state.bus.Source`."""
        chance = Random(revision)
        commits = self._manager.journal.commits_after(revision, chance.choice([1, 3, 1000]))
        await asyncio.sleep(chance.choice([0.0, 0.002, 0.2]))
        return [commit for commit in commits if commit.position.revision <= self.head.revision]

    async def find(self, run_id: str) -> Document | None:
        """Do what `PipelineStateManager.find_run` does."""
        document = self.head.run(run_id)
        if document is None:
            kept = self._manager.journal.head(Key("run", run_id))
            await asyncio.sleep(0.05)
            document = kept if kept and kept.position.revision <= self.head.revision else self.head.run(run_id)
        return document


@dataclass(slots=True)
class Runner:
    """Runs every stage by a script that is drawn; the server itself is the worker."""

    chance: Random
    hurry: bool = False  #: From now on every stage succeeds at once.
    attempts: list[ScriptedAttempt] = field(default_factory=list)

    def runner_of(self, _: Stage) -> Runner:
        """Return itself."""
        return self

    async def prepare(self, task: StageTask, report: Report) -> ScriptedAttempt:
        """See `runstate.ports.StageRunner`."""
        assert all(a.over for a in self.attempts if a.task.run_id == task.run_id), "two attempts of one run are alive"
        attempt = ScriptedAttempt(task, report, self._work)
        self.attempts = [a for a in self.attempts if not a.over] + [attempt]
        return attempt

    async def _work(self, attempt: ScriptedAttempt) -> Outcome:
        chance = Random(self.chance.random())
        # A heartbeat's time to the millisecond: what is published just when a reader's patience ends is not lost.
        pauses = [0.0, 0.001, 0.01, 0.3, 2.0, HEARTBEAT_MS / 1000 * 0.9 - 0.001]
        for done in range(0 if self.hurry else chance.choice([0, 1, 3, 10, 40])):
            await asyncio.sleep(chance.choice(pauses))
            if attempt.stopping.is_set() or self.hurry:
                break
            if chance.random() < 0.1:
                await attempt.report(MetadataPatched(FrozenJson({"note": chance.choice(["a", "ü", None, "x" * 2000])})))
            else:
                await attempt.report(ProgressMade(Progress(done=done, message=chance.choice([None, "☃", "on"]))))
        if attempt.stopping.is_set():
            return Failed("Stopped: asked to stop", "stopped")
        if not self.hurry and chance.random() < 0.2:
            return Failed("ValueError: drawn", "exception", final=chance.random() < 0.3)
        return Skipped("drawn") if chance.random() < 0.1 else Succeeded(FrozenJson({"rows": chance.randrange(1000)}))


class Server:
    """One server's life: `serve` until `stop`, or until its task is cancelled after `kill`."""

    def __init__(self, store: Store, directory: Path, chance: Random) -> None:
        """Make one; nothing runs yet."""
        self.store, self.handle, self.runner = store, Handle(store), Runner(chance)
        self.bus = EventBus(virtual_loop())
        self.wires: dict[Wire, None] = {}
        self.commands: list[asyncio.Task[None]] = []
        self.up = False
        self.ended = asyncio.Event()
        self._directory, self._chance = directory, chance
        self._stopping = asyncio.Event()

    async def serve(self) -> None:
        """Serve until told to stop."""
        loop = virtual_loop()
        delay_s = self._chance.choice([0.001, 0.001, 0.02])
        try:
            await self._serve(loop, delay_s)
        except* StoreUnavailable:
            pass  # it died while it began; somebody starts another one
        finally:
            self.up = False
            self.handle.died.set()
            for wire in tuple(self.wires):
                wire.cut()
            self.ended.set()

    async def _serve(self, loop: VirtualTimeLoop, delay_s: float) -> None:
        manager = self.manager = PipelineStateManager(
            self.handle,
            self.handle.reopen(),
            clock=loop,
            bus=self.bus,
            make_writer=lambda journal, tell: InlineWriter(journal, tell, delay_s=delay_s),
        )
        self.source = Source(manager)
        logs = RunLogs(self._directory / "logs", clock=virtual_loop())
        try:
            async with manager.running():
                self.orchestrator = Orchestrator(
                    manager,
                    _pipelines(),
                    runners=self.runner,
                    clock=loop,
                    directory=self._directory,
                    logs=logs,
                    random_bytes=self._chance.randbytes,
                )
                async with self.orchestrator.running():
                    self.up = True
                    await self._stopping.wait()
                    self.bus.drain()
        finally:
            logs.close()

    def stop(self) -> None:
        """End as on SIGTERM."""
        self._stopping.set()

    def kill(self) -> None:
        """Die at this moment; the caller cancels the task."""
        self.up = False
        self.handle.died.set()
        for wire in tuple(self.wires):
            wire.cut()

    async def find(self, run_id: str) -> Document | None:
        """See `scripted_link.Served`."""
        return await self.source.find(run_id)


def _pipelines() -> list[Pipeline]:
    pipelines = []
    for name, stages in RUN_PIPELINES.items():
        pipeline = Pipeline(name, progress_interval_s=0)
        for stage in stages:
            pipeline.stage(name=stage, retries=2, backoff_s=0.5, grace_s=1.0)(_nothing)
        pipelines.append(pipeline)
    return pipelines


async def _nothing(ctx: object) -> None:
    """What a scripted runner never calls."""
