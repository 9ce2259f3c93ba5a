"""Orchestrator: starts and stops runs, keeps one drive per active run, and takes up at a start what was under way.

Longer than others: every way in and out of a run's life stands in one place.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from runstate.core.canonical import FrozenJson, Json
from runstate.core.commit import Document
from runstate.core.errors import (
    ExecutedElsewhere,
    InvalidValue,
    NotFound,
    StoreUnavailable,
    TransitionRejected,
)
from runstate.core.events import RunBegun, StopAsked
from runstate.core.machine import Phase, is_over, phase_of
from runstate.core.model import EMPTY, Trigger, Worker, is_external
from runstate.core.run import Run, new_run
from runstate.pipeline.decide import not_served, recover
from runstate.pipeline.definition import Pipeline, check_pipelines
from runstate.pipeline.drive import Drive, Runners, Surroundings
from runstate.pipeline.ids import run_id as make_run_id
from runstate.pipeline.runlog import Line, RunLogs
from runstate.pipeline.runners.process import kill_survivor
from runstate.pipeline.scheduler import Scheduler
from runstate.pipeline.settings import Settings
from runstate.ports import Clock
from runstate.state.demands import NO_DEMANDS, Demands
from runstate.state.durable import Ticket
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.pipeline")

SURVIVOR_S = 30.0  # until a process that was sent SIGKILL must be gone


class Orchestrator:
    """Turns definitions into runs, and runs into commits."""

    def __init__(
        self,
        manager: PipelineStateManager,
        pipelines: Sequence[Pipeline],
        *,
        runners: Runners,
        clock: Clock,
        directory: Path,
        logs: RunLogs,
        on_line: Callable[[Line], None] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Make an orchestrator; `async with orchestrator.running()` recovers what was under way and goes on.

        Args:
            directory: Where the runs' own folders are made.
            on_line: Called with each log line, in the loop's thread.
            random_bytes: Makes runs' names different; drawn by a simulation, whose pauses before retries follow from them.

        Raises:
            DefinitionError: A pipeline has no stage, or two have one name.
        """
        check_pipelines(pipelines)
        self.manager = manager
        self.pipelines: Mapping[str, Pipeline] = {pipeline.name: pipeline for pipeline in pipelines}
        self._around = Surroundings(manager, self.pipelines, runners, clock, directory, logs, on_line)
        self._clock, self._random_bytes = clock, random_bytes
        self._drives: dict[str, Drive] = {}
        self._closing = False
        self._scheduler = Scheduler(manager, self.pipelines, clock, make_run=self._make_run, launch=self._launch_with)
        self.settings = Settings(manager, self.pipelines, clock)

    @asynccontextmanager
    async def running(self, *, fail_unserved: bool = True, schedules: bool = True) -> AsyncIterator[None]:
        """Drive runs for as long as the block lasts; at its end running stages are interrupted cleanly (PROTOCOL D10).

        Args:
            fail_unserved: End active runs of pipelines that are not served here, instead of leaving them alone.
            schedules: Start runs that are due; else schedules are left alone.

        Raises:
            DefinitionError: A schedule is none.
        """
        changes = await self.settings.definitions(schedules=schedules)
        ticket = self.manager.serve({name: pipeline.stage_order for name, pipeline in self.pipelines.items()}, changes)
        if ticket is not None:
            await ticket
        self._closing = False
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._recover(fail_unserved=fail_unserved)
            tasks = [group.create_task(self._watch_store())]
            if schedules:
                tasks.append(group.create_task(self._scheduler.run()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self.close()

    def close(self) -> None:
        """Begin to end: no run starts any more, and running stages are asked to stop; `running` waits for them."""
        self._closing = True
        for drive in self._drives.values():
            drive.close()

    # Commands

    async def get_status(self, pipeline: str | None = None) -> dict[str, Json]:
        """Return the canonical state of a pipeline's current run as a fresh dict (PROTOCOL D1, D5).

        Raises:
            NotFound: No such pipeline.
        """
        return self.manager.get_state(pipeline).to_dict()

    async def start(
        self,
        pipeline: str | None = None,
        *,
        metadata: Mapping[str, Json] | None = None,
        stages: Sequence[str] | None = None,
        override: bool = False,
        by: str | None = None,
        demands: Demands = NO_DEMANDS,
    ) -> Document:
        """Start a run; return its document once version 1 is durable (PROTOCOL C1).

        Args:
            pipeline: Its name; None means the default pipeline.
            metadata: A JSON object of the caller's.
            stages: Run only these stages, in the pipeline's order.
            override: Start also while the pipeline is degraded or unstable and its run policy is `gated`.
            by: Who asks.
            demands: What must hold for it, and what is kept with it.

        Raises:
            NotFound: No such pipeline.
            Conflict: `demands` does not hold.
            InvalidValue: `metadata` or `stages` is not as described.
            AlreadyRunning: The pipeline has an active run (C4).
            Blocked: The run policy lets no run start; that this was refused is committed.
            StoreUnavailable: The journal refuses writes, or the server is about to end.
        """
        if self._closing:
            raise StoreUnavailable("the server is shutting down; start the run again when it is back")
        name = self.manager.head.pipeline(pipeline).key.id
        if name not in self.pipelines:
            raise NotFound(f"pipeline {name} is not served here; it only stands in the store")
        run = self._make_run(
            name, Trigger(kind="manual", by=by), stages, FrozenJson({} if metadata is None else metadata, "metadata")
        )
        async with self.settings.gate(name, override=override, by=by) as admit:
            ticket = self.manager.create_run(run, by=by, demands=demands, change=admit)
        assert ticket.commit is not None and run.context.run_id is not None
        run_id = run.context.run_id
        self._launch_with(ticket, run_id)
        await ticket
        return next(change.document for change in ticket.commit.changes if change.document.key.kind == "run")

    def _make_run(
        self, name: str, trigger: Trigger, stages: Sequence[str] | None = None, metadata: FrozenJson = EMPTY
    ) -> Run:
        now_ms = self._clock.now_ms()
        return new_run(
            pipeline=name,
            run_id=make_run_id(now_ms, self._random_bytes(10)),
            plan=self._plan(name, stages),
            metadata=metadata,
            trigger=trigger,
            now_ms=now_ms,
        )

    def _plan(self, name: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
        order = self.pipelines[name].stage_order
        if wanted is None:
            return order
        if isinstance(wanted, str) or not all(isinstance(stage, str) for stage in wanted):
            raise InvalidValue("stages is not a list of texts; give the names of stages")
        if len(set(wanted)) != len(wanted):
            raise InvalidValue("stages names one of them twice; name each once")
        for stage in wanted:
            if stage not in order:
                raise InvalidValue(f"pipeline {name} has no stage {stage}; it has {', '.join(order)}")
        if not wanted:
            raise InvalidValue("stages is empty; leave it out to run all")
        return tuple(stage for stage in order if stage in wanted)

    async def retry(self, run_id: str, *, by: str | None = None, demands: Demands = NO_DEMANDS) -> Document:
        """Let a run that failed or was stopped go on from the stage that did not finish; what is finished stays so.

        Raises:
            NotFound: No such run, or its pipeline is not served here.
            ExecutedElsewhere: It is not this server that executes it (PROTOCOL C8).
            Conflict: `demands` does not hold.
            TransitionRejected: The run is neither failed nor stopped.
            AlreadyRunning: Its pipeline has an active run (PROTOCOL C4).
            Blocked: The pipeline is blocked and its run policy is `gated`; that this was refused is committed.
            StoreUnavailable: The journal refuses writes, or the server is about to end.
        """
        if self._closing:
            raise StoreUnavailable("the server is shutting down; retry the run when it is back")
        kept = await self.manager.find_run(run_id)
        if is_external(kept.run):
            raise ExecutedElsewhere(
                f"run {run_id} was executed elsewhere, so it cannot be retried here; whoever did its work opens a new run"
            )
        if kept.run.pipeline not in self.pipelines:
            raise NotFound(f"pipeline {kept.run.pipeline} is not served here; it only stands in the store")
        async with self.settings.gate(kept.run.pipeline, override=True, by=by) as admit:  # the wish to retry is one
            ticket = self.manager.retry_run(kept, by=by, demands=demands, change=admit)
        self._launch_with(ticket, run_id)
        await ticket
        assert ticket.commit is not None
        return ticket.commit.changes[0].document

    def _launch_with(self, ticket: Ticket, run_id: str) -> None:
        """Drive the run once its commit is durable, whatever becomes of the caller that waits for it."""
        ticket.future.add_done_callback(
            lambda done: None if done.cancelled() or done.exception() else self._launch(run_id)
        )

    async def stop(
        self, run_id: str, *, by: str | None = None, reason: str | None = None, demands: Demands = NO_DEMANDS
    ) -> Document:
        """Ask a run to stop; return its document once the request is durable (PROTOCOL C5).

        The run is `stopped` only later, when nothing of it is alive. Asking again changes nothing.

        Raises:
            NotFound: No such run.
            Conflict: `demands` does not hold.
            TransitionRejected: The run is over.
            StoreUnavailable: The journal refuses writes now.
        """
        if self.manager.head.run(run_id) is None:
            over = await self.manager.find_run(run_id)
            if self.manager.head.run(run_id) is None:
                demands.check(f"run {run_id}", over)
                raise TransitionRejected(over.run.state, "stopped")
        ticket = self.manager.apply(run_id, StopAsked(by, reason), by=by, demands=demands)
        if ticket is not None:
            ticket.future.add_done_callback(
                lambda done: None if done.cancelled() or done.exception() else self._ask(run_id)
            )
            await ticket
            assert ticket.commit is not None
            return ticket.commit.changes[0].document
        await self.manager.until(lambda: self._shows_stop(run_id) or self.manager.trouble is not None)
        if not self._shows_stop(run_id):
            raise StoreUnavailable(f"the journal refuses writes: {self.manager.trouble}")
        return await self.manager.find_run(run_id)

    def _shows_stop(self, run_id: str) -> bool:
        document = self.manager.head.run(run_id)
        return document is None or document.run.stop_requested is not None

    async def finished(self, run_id: str) -> Document:
        """Wait until a run is over; return its last document.

        Raises:
            NotFound: No such run.
        """

        def has_ended() -> bool:
            document = self.manager.head.run(run_id)
            return document is None or is_over(document.run.state)

        await self.manager.until(has_ended)
        return await self.manager.find_run(run_id)

    # Driving

    def _launch(self, run_id: str) -> None:
        if run_id in self._drives or self._closing:
            return
        self._drives[run_id] = drive = Drive(run_id, self._around)
        task = self._group.create_task(drive.run(), name=f"run {run_id}")
        task.add_done_callback(lambda _: self._left(run_id))

    def _left(self, run_id: str) -> None:
        """Let a finished drive go; its run may have been retried before this."""
        drive = self._drives.pop(run_id)
        document = self.manager.head.run(run_id)
        if drive.has_finished and document is not None and not is_over(document.run.state):
            self._launch(run_id)

    def _ask(self, run_id: str) -> None:
        drive = self._drives.get(run_id)
        if drive is not None:
            drive.ask_to_stop()

    async def _recover(self, *, fail_unserved: bool) -> None:
        """Go on with what was active when the last server went away; its processes are dead before that."""
        for document in self.manager.head.active_runs():
            if is_external(document.run):
                continue  # its lease decides
            run_id = document.key.id
            served = document.run.pipeline in self.pipelines
            if not served and not fail_unserved:
                continue
            run = self.manager.pending_run(run_id)
            event = recover(run, self._around.stages_of(document.run.pipeline))
            if not served and event is None:
                event = not_served(f"its pipeline {document.run.pipeline} is not served any more")
            if run.ledger.worker is not None and not await self._is_gone(run.ledger.worker):
                event = not_served(f"process {run.ledger.worker.pid} of the last server cannot be ended")
            log.info(
                "run %s was %s when the server went away", run_id, document.run.state, extra={"event": "recovered"}
            )
            drive = Drive(run_id, self._around)
            if not served and phase_of(document.run.state) is Phase.SCHEDULED:
                await drive.surely(RunBegun())  # what has not begun cannot fail
            if event is not None:
                await drive.surely(event)
            if served:
                self._launch(run_id)

    async def _is_gone(self, worker: Worker) -> bool:
        try:
            return await asyncio.to_thread(kill_survivor, worker, SURVIVOR_S)
        except PermissionError:
            return False

    async def _watch_store(self) -> None:
        """After the journal's trouble, take up what turned out durable although it was answered 503."""
        while True:
            await self.manager.until(lambda: self.manager.trouble is not None)
            await self.manager.until(lambda: self.manager.trouble is None)
            for document in self.manager.head.active_runs():
                if document.run.pipeline in self.pipelines and not is_external(document.run):
                    self._launch(document.key.id)
                if document.run.stop_requested is not None:
                    self._ask(document.key.id)


def user_name() -> str | None:
    """Return who runs this process, for `trigger.by`; None where the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
