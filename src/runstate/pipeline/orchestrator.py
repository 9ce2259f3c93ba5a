"""Orchestrator: starts, stops and drives runs. It holds no rule of its own: `decide.py` says what happens next.

One task per active run loops over `decide`; whatever changes is an event applied through the manager.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, assert_never

from runstate.core.canonical import FrozenJson, Json
from runstate.core.commit import Document
from runstate.core.errors import (
    InvalidValue,
    NotFound,
    NotStartable,
    StaleAttempt,
    StoreUnavailable,
    TransitionRejected,
)
from runstate.core.facts import Failed
from runstate.core.machine import Phase, is_terminal, phase_of
from runstate.core.model import RunContext, Trigger, Worker
from runstate.core.run import Event, RunStopped, StopAsked, new_run
from runstate.pipeline import decide as decisions
from runstate.pipeline.attempt import Ended, FactReporter, see_through
from runstate.pipeline.decide import Commit, Execute, Finish, WaitUntil, current_stage, decide, interrupted, judge, recover
from runstate.pipeline.definition import Pipeline, Stage, check_pipeline
from runstate.pipeline.ids import run_id as make_run_id
from runstate.pipeline.runlog import Line, RunLogs
from runstate.pipeline.runners.process import kill_survivor
from runstate.ports import Clock, StageRunner, StageTask
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.pipeline")

SURVIVOR_S = 30.0  # until a process that was sent SIGKILL must be gone


class Runners(Protocol):
    """Which runner executes a stage."""

    def runner_of(self, stage: Stage) -> StageRunner:
        """Return the runner for `stage`."""


@dataclass(slots=True)
class _Drive:
    """What is held of a run while a task drives it."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)  #: Set when its attempt shall end.


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
    ) -> None:
        """Make an orchestrator; `async with orchestrator.running()` recovers what was under way and goes on.

        Args:
            directory: Where the runs' own folders are made.
            on_line: Called with each log line, in the loop's thread.

        Raises:
            DefinitionError: A pipeline has no stage.
        """
        for pipeline in pipelines:
            check_pipeline(pipeline)
        self.manager = manager
        self.pipelines: Mapping[str, Pipeline] = {pipeline.name: pipeline for pipeline in pipelines}
        self._stages = {p.name: {stage.name: stage for stage in p.stages} for p in pipelines}
        self._runners, self._clock, self._directory, self._logs, self._on_line = runners, clock, directory, logs, on_line
        self._drives: dict[str, _Drive] = {}
        self._closing = False

    @asynccontextmanager
    async def running(self, *, fail_unserved: bool = True) -> AsyncIterator[None]:
        """Drive runs for as long as the block lasts; at its end running stages are interrupted cleanly (PROTOCOL D10).

        Args:
            fail_unserved: End active runs of pipelines that are not served here, instead of leaving them alone.
        """
        ticket = self.manager.serve({name: pipeline.stage_order for name, pipeline in self.pipelines.items()})
        if ticket is not None:
            await ticket
        self._closing = False
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._recover(fail_unserved=fail_unserved)
            watcher = group.create_task(self._watch_store())
            try:
                yield
            finally:
                watcher.cancel()
                self.close()

    def close(self) -> None:
        """Begin to end: no run starts any more, and running stages are asked to stop; `running` waits for them."""
        self._closing = True
        for drive in self._drives.values():
            drive.asked.set()

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
        by: str | None = None,
    ) -> Document:
        """Start a run; return its document once version 1 is durable (PROTOCOL C1).

        Args:
            pipeline: Its name; None means the default pipeline.
            metadata: A JSON object of the caller's.
            stages: Run only these stages, in the pipeline's order.
            by: Who asks.

        Raises:
            NotFound: No such pipeline.
            InvalidValue: `metadata` or `stages` is not as described.
            AlreadyRunning: The pipeline has an active run (C4).
            StoreUnavailable: The journal refuses writes, or the server is about to end.
        """
        if self._closing:
            raise StoreUnavailable("the server is shutting down; start the run again when it is back")
        name = self.manager.head.pipeline(pipeline).key.id
        if name not in self.pipelines:
            raise NotFound(f"pipeline {name} is not served here; it only stands in the store")
        now_ms = self._clock.now_ms()
        run = new_run(
            pipeline=name,
            run_id=make_run_id(now_ms, os.urandom(10)),
            plan=self._plan(name, stages),
            metadata=FrozenJson(metadata or {}, "metadata"),
            trigger=Trigger(kind="manual", by=by),
            now_ms=now_ms,
        )
        ticket = self.manager.create_run(run, by=by)
        assert ticket.commit is not None and run.context.run_id is not None
        run_id = run.context.run_id
        # Not after the await: a caller that is cancelled must not leave a run that nobody drives.
        ticket.future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else self._launch(run_id))
        await ticket
        return next(change.document for change in ticket.commit.changes if change.document.key.kind == "run")

    def _plan(self, name: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
        order = self.pipelines[name].stage_order
        if wanted is None:
            return order
        if isinstance(wanted, str) or not all(isinstance(stage, str) for stage in wanted) or len(set(wanted)) != len(wanted):
            raise InvalidValue("stages is a list of different stage names")
        for stage in wanted:
            if stage not in order:
                raise InvalidValue(f"pipeline {name} has no stage {stage}; it has {', '.join(order)}")
        if not wanted:
            raise InvalidValue("stages is empty; leave it out to run all")
        return tuple(stage for stage in order if stage in wanted)

    async def stop(self, run_id: str, *, by: str | None = None, reason: str | None = None) -> Document:
        """Ask a run to stop; return its document once the request is durable (PROTOCOL C5).

        The run is `stopped` only later, when nothing of it is alive. Asking again changes nothing.

        Raises:
            NotFound: No such run.
            TransitionRejected: The run is over.
            StoreUnavailable: The journal refuses writes now.
        """
        if self.manager.head.run(run_id) is None:
            over = await self.manager.find_run(run_id)
            raise TransitionRejected(over.run.state, "stopped")
        ticket = self.manager.apply(run_id, StopAsked(by, reason), by=by)
        if ticket is not None:
            ticket.future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else self._ask(run_id))
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

        def is_over() -> bool:
            document = self.manager.head.run(run_id)
            return document is None or is_terminal(document.run.state)

        await self.manager.until(is_over)
        return await self.manager.find_run(run_id)

    # Driving

    def _launch(self, run_id: str) -> None:
        if run_id in self._drives or self._closing:
            return
        self._drives[run_id] = drive = _Drive()
        self._group.create_task(self._drive(run_id, drive), name=f"run {run_id}")

    def _ask(self, run_id: str) -> None:
        drive = self._drives.get(run_id)
        if drive is not None:
            drive.asked.set()

    async def _drive(self, run_id: str, drive: _Drive) -> None:
        try:
            while not self._closing:
                try:
                    if await self._advance(run_id, drive):
                        return
                except StoreUnavailable:
                    await self.manager.until(lambda: self.manager.trouble is None or self._closing)
            await self._interrupt(run_id)
        except Exception as bug:
            # The top of a server task: one run's trouble must not end the others.
            log.exception("run %s cannot be driven", run_id, extra={"event": "drive_failed", "run": run_id})
            await self._surely(run_id, decisions.not_served(f"runstate failed to drive it ({type(bug).__name__}: {bug})"))
        finally:
            del self._drives[run_id]

    async def _advance(self, run_id: str, drive: _Drive) -> bool:
        """Do the next thing; return whether the run is over."""
        run = self.manager.pending_run(run_id)
        action = decide(run, self._stages.get(run.context.pipeline, {}), now_ms=self._clock.now_ms())
        match action:
            case Finish():
                return True
            case Commit(event):
                ticket = self.manager.apply(run_id, event)
                if ticket is not None:
                    await ticket
            case WaitUntil(due_ms):
                try:
                    async with asyncio.timeout((due_ms - self._clock.now_ms()) / 1000):
                        await drive.asked.wait()
                except TimeoutError:
                    pass
            case Execute(name, attempt):
                await self._execute(run.context, self._stages[run.context.pipeline][name], attempt, drive)
            case _:
                assert_never(action)
        return False

    async def _execute(self, context: RunContext, stage: Stage, attempt: int, drive: _Drive) -> None:
        run_id = context.run_id
        assert run_id is not None
        reporter = FactReporter(self.manager, self._logs, self._clock, run_id, stage.name, attempt, self._on_line)
        try:
            work = await self._runners.runner_of(stage).prepare(self._task(context, stage, attempt), reporter)
        except NotStartable as refusal:
            ended = Ended("itself", Failed(f"NotStartable: {refusal}", "not_startable", final=True))
        else:
            ended = await see_through(
                work,
                stage=stage,
                run_id=run_id,
                attempt=attempt,
                manager=self.manager,
                reporter=reporter,
                asked=drive.asked,
            )
        await self._surely(run_id, None, stage=stage, attempt=attempt, ended=ended)

    def _task(self, context: RunContext, stage: Stage, attempt: int) -> StageTask:
        assert context.run_id is not None
        workdir = self._directory / context.run_id
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise NotStartable(f"the run's folder {workdir} cannot be made: {exc.strerror}") from exc
        return StageTask(
            run_id=context.run_id,
            pipeline=context.pipeline,
            stage=stage.name,
            attempt=attempt,
            metadata=context.metadata.encoded,
            outputs={n: r.outputs.encoded for n, r in context.stages.items() if r.state in ("success", "skipped")},
            workdir=workdir,
            progress_interval_s=self.pipelines[context.pipeline].progress_interval_s,
        )

    async def _surely(
        self, run_id: str, event: Event | None, *, stage: Stage | None = None, attempt: int = 0, ended: Ended | None = None
    ) -> None:
        """Commit `event`, or what the end of an attempt means, however long the journal refuses (unless we close)."""
        while True:
            try:
                if stage is not None and ended is not None:
                    event = self._meaning(run_id, stage, attempt, ended)
                if event is None:
                    return
                try:
                    ticket = self.manager.apply(run_id, event)
                except InvalidValue as refusal:
                    assert stage is not None and ended is not None, "only a stage's outputs can be refused"
                    ended = Ended("itself", Failed(f"InvalidValue: {refusal}", "bad_output"))
                    continue
                if ticket is not None:
                    await ticket
                return
            except StoreUnavailable:
                await self.manager.until(lambda: self.manager.trouble is None or self._closing)
                if self.manager.trouble is not None:
                    return  # the next start finds the run as it stands in the journal
            except (StaleAttempt, TransitionRejected) as refusal:
                # The commit that seemed to fail was durable, or somebody was faster; what stands is the truth.
                log.info("run %s: %s", run_id, refusal, extra={"event": "outcome_refused", "run": run_id})
                return

    def _meaning(self, run_id: str, stage: Stage, attempt: int, ended: Ended) -> Event:
        run = self.manager.pending_run(run_id)
        if run.context.stop_requested is not None:
            return RunStopped()
        match ended.why:
            case "asked":
                return interrupted(run, stage, clean=True)
            case "timeout":
                error = f"TimeoutError: the stage took longer than {stage.timeout_s:g} s"
                return judge(run, stage, attempt, Failed(error, "timeout"))
            case "itself":
                return judge(run, stage, attempt, ended.outcome)
            case _:
                assert_never(ended.why)

    async def _interrupt(self, run_id: str) -> None:
        """Leave a run as a clean shutdown shall leave it: never running (PROTOCOL D10)."""
        run = self.manager.pending_run(run_id)
        if run.context.stop_requested is not None and not is_terminal(run.context.state):
            await self._surely(run_id, RunStopped())
        elif phase_of(run.context.state) is Phase.RUNNING:
            stage = self._stages[run.context.pipeline][current_stage(run.context)]
            await self._surely(run_id, interrupted(run, stage, clean=True))

    async def _recover(self, *, fail_unserved: bool) -> None:
        """Go on with what was active when the last server went away; its processes are dead before that."""
        for document in self.manager.head.active_runs():
            run_id = document.key.id
            served = document.run.pipeline in self.pipelines
            if not served and not fail_unserved:
                continue
            run = self.manager.pending_run(run_id)
            event = recover(run, self._stages.get(document.run.pipeline, {}))
            if not served and event is None:
                event = decisions.not_served(f"its pipeline {document.run.pipeline} is not served any more")
            if run.ledger.worker is not None and not await self._is_gone(run.ledger.worker):
                event = decisions.not_served(f"process {run.ledger.worker.pid} of the last server cannot be ended")
            log.info("run %s was %s when the server went away", run_id, document.run.state, extra={"event": "recovered"})
            if event is not None:
                await self._surely(run_id, event)
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
                if document.run.pipeline in self.pipelines:
                    self._launch(document.key.id)
                if document.run.stop_requested is not None:
                    self._ask(document.key.id)


def user_name() -> str | None:
    """Return who runs this process, for `trigger.by`; None where the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


