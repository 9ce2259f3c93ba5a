"""A drive: the task that holds one active run until it is over. It does what `decide.py` says, and no rule is its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, assert_never

from runstate.core.errors import (
    CallerError,
    InvalidValue,
    NotFound,
    NotStartable,
    StaleAttempt,
    StoreUnavailable,
    TransitionRejected,
)
from runstate.core.events import Event, RunStopped
from runstate.core.facts import Failed
from runstate.core.machine import Phase, is_over, phase_of
from runstate.core.model import RunContext
from runstate.pipeline.attempt import Ended, FactReporter, see_through
from runstate.pipeline.decide import (
    Commit,
    Execute,
    Finish,
    Limit,
    WaitUntil,
    current_stage,
    decide,
    interrupted,
    judge,
    limit_of,
    not_served,
)
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.runlog import Line, RunLogs
from runstate.pipeline.stage import Stage
from runstate.ports import Clock, StageRunner, StageTask
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.pipeline")


class Runners(Protocol):
    """Which runner executes a stage."""

    def runner_of(self, stage: Stage) -> StageRunner:
        """Return the runner for `stage`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every drive of an orchestrator works with."""

    manager: PipelineStateManager
    pipelines: Mapping[str, Pipeline]
    runners: Runners
    clock: Clock
    directory: Path  #: Where the runs' own folders are made.
    logs: RunLogs
    on_line: Callable[[Line], None] | None

    def stages_of(self, pipeline: str) -> Mapping[str, Stage]:
        """Return a pipeline's stages by name; none if it is not served."""
        served = self.pipelines.get(pipeline)
        return {} if served is None else {stage.name: stage for stage in served.stages}

    def timeout_of(self, pipeline: str) -> float | None:
        """Return how long a run of the pipeline may take, in seconds."""
        served = self.pipelines.get(pipeline)
        return None if served is None else served.timeout_s


class Drive:
    """Drives one run."""

    def __init__(self, run_id: str, around: Surroundings) -> None:
        self._run_id, self._around, self._manager = run_id, around, around.manager
        self._asked = asyncio.Event()
        self._closing = False
        self.has_finished = False  #: Whether it saw its run over.

    def ask_to_stop(self) -> None:
        """End the attempt in hand: somebody's stop is committed."""
        self._asked.set()

    def close(self) -> None:
        """End the attempt in hand and leave the run interrupted: the server is about to end."""
        self._closing = True
        self._asked.set()

    async def run(self) -> None:
        """Drive until the run is over, or interrupted because of `close`."""
        try:
            while not self._closing:
                try:
                    if await self._advance():
                        return
                except StoreUnavailable:
                    await self._manager.until(lambda: self._manager.trouble is None or self._closing)
                except NotFound:
                    return  # it was over, and its pipeline's next run has begun
            await self._interrupt()
        except Exception as bug:
            # The top of a server task: one run's trouble must not end the others.
            log.exception("run %s cannot be driven", self._run_id, extra={"event": "drive_failed"})
            with contextlib.suppress(CallerError):
                await self.surely(not_served(f"runstate failed to drive it ({type(bug).__name__}: {bug})"))

    async def _advance(self) -> bool:
        """Do the next thing; return whether the run is over."""
        run = self._manager.pending_run(self._run_id)
        stages = self._around.stages_of(run.context.pipeline)
        timeout_s = self._around.timeout_of(run.context.pipeline)
        action = decide(run, stages, now_ms=self._around.clock.now_ms(), timeout_s=timeout_s)
        match action:
            case Finish():
                self.has_finished = True
                return True
            case Commit(event):
                ticket = self._manager.apply(self._run_id, event)
                if ticket is not None:
                    await ticket
            case WaitUntil(due_ms):
                try:
                    async with asyncio.timeout((due_ms - self._around.clock.now_ms()) / 1000):
                        await self._asked.wait()
                except TimeoutError:
                    pass
            case Execute(name, attempt):
                now_ms = self._around.clock.now_ms()
                limit = limit_of(run, stages[name], now_ms=now_ms, timeout_s=timeout_s)
                await self._execute(run.context, stages[name], attempt, limit)
            case _:
                assert_never(action)
        return False

    async def _execute(self, context: RunContext, stage: Stage, attempt: int, limit: Limit) -> None:
        reporter = FactReporter(
            self._manager,
            self._around.logs,
            self._around.clock,
            run_id=self._run_id,
            stage=stage.name,
            attempt=attempt,
            on_line=self._around.on_line,
            is_closing=lambda: self._closing,
        )
        try:
            task = self._task(context, stage, attempt)
            work = await self._around.runners.runner_of(stage).prepare(task, reporter)
        except NotStartable as refusal:
            ended = Ended("itself", Failed(f"NotStartable: {refusal}", "not_startable", final=True))
        else:
            ended = await see_through(
                work,
                stage=stage,
                run_id=self._run_id,
                attempt=attempt,
                manager=self._manager,
                reporter=reporter,
                asked=self._asked,
                limit_s=limit.seconds,
            )
        await self._surely_end(stage, attempt, ended, limit)

    def _task(self, context: RunContext, stage: Stage, attempt: int) -> StageTask:
        workdir = self._around.directory / self._run_id
        try:
            workdir.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise NotStartable(f"the run's folder {workdir} cannot be made: {exc.strerror}") from exc
        return StageTask(
            run_id=self._run_id,
            pipeline=context.pipeline,
            stage=stage.name,
            attempt=attempt,
            metadata=context.metadata.encoded,
            outputs={n: r.outputs.encoded for n, r in context.stages.items() if r.state in ("success", "skipped")},
            workdir=workdir,
            progress_interval_s=self._around.pipelines[context.pipeline].progress_interval_s,
        )

    async def _surely_end(self, stage: Stage, attempt: int, ended: Ended, limit: Limit) -> None:
        """Commit what the end of an attempt means, as the run stands when the journal takes it."""
        try:
            await self.surely(lambda: self._meaning(stage, attempt, ended, limit))
        except InvalidValue as refusal:
            refused = Ended("itself", Failed(f"InvalidValue: {refusal}", "bad_output"))
            await self.surely(lambda: self._meaning(stage, attempt, refused, limit))

    def _meaning(self, stage: Stage, attempt: int, ended: Ended, limit: Limit) -> Event:
        run = self._manager.pending_run(self._run_id)
        if run.context.stop_requested is not None:
            return RunStopped()
        match ended.why:
            case "asked":
                return interrupted(run, stage, clean=True)
            case "timeout":
                return judge(run, stage, attempt, limit.failed)
            case "itself" if self._closing and isinstance(ended.outcome, Failed):
                # Whoever ends the server may have sent its signal to the workers too.
                return interrupted(run, stage, clean=True)
            case "itself":
                return judge(run, stage, attempt, ended.outcome)
            case _:
                assert_never(ended.why)

    async def surely(self, event: Event | Callable[[], Event]) -> None:
        """Commit `event`, however long the journal refuses, unless the server is about to end.

        Raises:
            InvalidValue: A value may not stand in a document; nothing changes.
        """
        while True:
            try:
                ticket = self._manager.apply(self._run_id, event() if callable(event) else event)
                if ticket is not None:
                    await ticket
            except StoreUnavailable:
                await self._manager.until(lambda: self._manager.trouble is None or self._closing)
                if self._manager.trouble is not None:
                    return  # the next start finds the run as it stands in the journal
                continue
            except (StaleAttempt, TransitionRejected) as refusal:
                # The commit that seemed to fail was durable, or somebody was faster; what stands is the truth.
                log.info("run %s: %s", self._run_id, refusal, extra={"event": "outcome_refused"})
            return

    async def _interrupt(self) -> None:
        """Leave the run as a clean shutdown shall leave it: never running (PROTOCOL D10)."""
        try:
            run = self._manager.pending_run(self._run_id)
        except NotFound:
            return
        if run.context.stop_requested is not None and not is_over(run.context.state):
            await self.surely(RunStopped())
        elif phase_of(run.context.state) is Phase.RUNNING:
            stage = self._around.stages_of(run.context.pipeline)[current_stage(run.context)]
            await self.surely(interrupted(run, stage, clean=True))
