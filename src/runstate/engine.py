"""Engine: an open data directory with everything that runs on it, with or without a server.

    lock ─▶ journal ─▶ manager (+ bus) ─▶ webhooks ─▶ orchestrator (+ runners, logs)

Entered from the left, left from the right: runs are interrupted cleanly, their last commits made durable, then the lock is
let go.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import random
from typing import Protocol

from runstate.core.errors import DefinitionError
from runstate.journal.lock import DirectoryLock
from runstate.journal.sqlite import SqliteJournal
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.external import ExternalRuns
from runstate.pipeline.orchestrator import Orchestrator
from runstate.pipeline.runlog import MAX_LOG_BYTES, Line, RunLogs
from runstate.pipeline.runners.child import ChildRunner
from runstate.pipeline.runners.task import AsyncTaskRunner
from runstate.pipeline.stage import Stage
from runstate.pipeline.webhook import WebhookConfig
from runstate.ports import Clock, Journal, Opened, StageRunner
from runstate.state.bus import EventBus
from runstate.state.manager import PipelineStateManager
from runstate.state.retention import EVERY_S, Keep, keep_retention
from runstate.webhooks.events import secret_key
from runstate.webhooks.post import posting
from runstate.webhooks.sender import Sender, Webhooks, hook_id, outboxes


class OpenJournal(Protocol):
    """Opens a directory's journal, in a thread."""

    def __call__(self, data: Path, /, *, clock: Clock) -> tuple[Journal, Opened]: ...


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        """Return wall time in milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class StageRunners:
    """Async stages run in the loop, plain functions and commands in child processes."""

    task: AsyncTaskRunner
    child: ChildRunner

    def runner_of(self, stage: Stage) -> StageRunner:
        """Return the runner for `stage`."""
        return self.task if stage.is_async else self.child


@dataclass(frozen=True, slots=True)
class Engine:
    """What is open while `open_engine` lasts."""

    manager: PipelineStateManager
    orchestrator: Orchestrator
    external: ExternalRuns
    bus: EventBus
    lock: DirectoryLock
    logs: RunLogs
    webhooks: Webhooks
    clock: Clock
    work: Path  #: Where the runs' own folders are.
    loop: asyncio.AbstractEventLoop

    def begin_to_end(self) -> None:
        """End streams and waiting polls, take no commands any more, and ask running stages to stop; returns at once."""
        self.bus.drain()
        self.orchestrator.close()
        self.manager.wake()


@asynccontextmanager
async def open_engine(
    pipelines: Sequence[Pipeline],
    data: Path,
    *,
    on_line: Callable[[Line], None] | None = None,
    fail_unserved: bool = True,
    schedules: bool = True,
    keep: Keep | None = None,
    max_log_bytes: int = MAX_LOG_BYTES,
    webhooks: Sequence[WebhookConfig] | None = None,
    environ: Mapping[str, str] = os.environ,
    open_journal: OpenJournal = SqliteJournal.open,
) -> AsyncIterator[Engine]:
    """Open `data`, recover what was under way, and run until the block ends.

    Args:
        pipelines: What can be started; the first is the default.
        data: The data directory; made if need be.
        on_line: Called with each log line of a stage.
        keep: What history and logs keep; None: everything.
        max_log_bytes: What the log of one run may take; its oldest lines go beyond that.
        webhooks: Who is told; None: nobody, and whoever was told before hears it when they are named again.
        environ: Where the webhooks' secrets are.
        fail_unserved: End active runs of pipelines that are not among these, instead of leaving them alone.
        schedules: Start runs that are due; else schedules are left alone.
        open_journal: Opens the journal of the directory.

    Raises:
        StoreInUse: Another process holds the directory.
        StoreError: The directory or its store cannot be used.
        DefinitionError: A pipeline has no stage, or a webhook's secret is not set.
    """
    keys = _keys(webhooks or (), environ)
    data = await asyncio.to_thread(data.absolute)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(DirectoryLock.acquire, data, now_ms=clock.now_ms())
        stack.callback(lock.release)
        journal, opened = await asyncio.to_thread(open_journal, data, clock=clock)
        stack.callback(journal.close)
        bus = EventBus(clock)
        manager = PipelineStateManager(journal, opened, clock=clock, bus=bus)
        await stack.enter_async_context(manager.running())
        told = outboxes(opened.notes)
        post = await stack.enter_async_context(posting())
        senders = [
            Sender(
                hook,
                told.get(hook_id(hook)),
                key=keys[hook],
                manager=manager,
                clock=clock,
                post=post,
                random=random,
            )
            for hook in webhooks or ()
        ]
        receivers = Webhooks(senders, manager)
        if webhooks is not None:
            await stack.enter_async_context(receivers.running(opened.notes))
        logs = RunLogs(data / "logs", clock=clock, max_bytes=max_log_bytes)
        stack.callback(logs.close)
        runners = StageRunners(
            await stack.enter_async_context(AsyncTaskRunner(pipelines)),
            await stack.enter_async_context(ChildRunner(pipelines)),
        )
        orchestrator = Orchestrator(
            manager,
            pipelines,
            runners=runners,
            clock=clock,
            directory=data / "work",
            logs=logs,
            on_line=on_line,
        )
        await stack.enter_async_context(orchestrator.running(fail_unserved=fail_unserved, schedules=schedules))
        external = ExternalRuns(manager, settings=orchestrator.settings, clock=clock, logs=logs, on_line=on_line)
        await stack.enter_async_context(external.running(take_over=fail_unserved))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        keeper = group.create_task(keep_retention(manager, keep or Keep(), clock))
        stack.callback(keeper.cancel)
        thinner = group.create_task(_thin_logs(manager, logs, keep or Keep(), clock))
        stack.callback(thinner.cancel)
        loop = asyncio.get_running_loop()
        yield Engine(manager, orchestrator, external, bus, lock, logs, receivers, clock, data / "work", loop)


async def _thin_logs(manager: PipelineStateManager, logs: RunLogs, keep: Keep, clock: Clock) -> None:
    """Let go of what runs that are over logged longer ago than their history is kept, for ever."""
    while keep.days is not None:
        before_ms = keep.at(clock.now_ms()).before_ms
        assert before_ms is not None
        active = {document.key.id for document in manager.head.active_runs()}
        for run_id in await asyncio.to_thread(logs.older_than, before_ms):
            if run_id not in active:
                logs.forget(run_id)
        await asyncio.sleep(EVERY_S)


def _keys(webhooks: Sequence[WebhookConfig], environ: Mapping[str, str]) -> dict[WebhookConfig, bytes | None]:
    """Return what each webhook is signed with."""
    if len({hook.url for hook in webhooks}) != len(webhooks):
        raise DefinitionError("two webhooks have the same url; put what it is told of into the `on` of one")
    return {
        hook: None if hook.secret_env is None else secret_key(environ.get(hook.secret_env, ""), hook.secret_env)
        for hook in webhooks
    }
