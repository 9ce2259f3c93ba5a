"""Async stages as tasks in the server's loop.

Law: whoever starts a task awaits it: `go` starts one task per attempt, `wait` returns when it and the one that reports
for it have ended. A coroutine cannot be killed from outside: `kill` cancels it again and again, and a stage that
swallows every cancellation keeps its attempt, and so its run, alive until it returns. `ctx.progress` and `ctx.log`
cannot wait in an async stage, so what it says without ever awaiting is held in memory until it does.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from runstate.core.errors import NotStartable
from runstate.core.facts import Fact, Failed, HeartbeatHeard, Outcome, ProgressMade
from runstate.core.model import Worker
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.runners.context import RunningContext, StageLog
from runstate.pipeline.runners.outcome import (
    KILLED,
    STOPPED,
    has_traceback,
    outcome_of_exception,
    outcome_of_value,
    traceback_lines,
)
from runstate.pipeline.stage import AsyncFunction, StageFunction
from runstate.ports import Report, StageTask

HEARTBEAT_S = 10.0
RECANCEL_S = 0.1  # between two cancellations of a killed task


class AsyncTaskRunner:
    """Runs the async stages of some pipelines.

    `async with` it, so that no task outlives it and the stdlib's `logging` inside a stage reaches the run's log (as far
    as the levels of the server's own loggers let it through).
    """

    def __init__(self, pipelines: Iterable[Pipeline], *, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Make a runner.

        Args:
            pipelines: Whose async stages it executes.
            heartbeat_s: Seconds of silence after which a living stage is reported as alive.
        """
        self._functions = {
            (pipeline.name, stage.name): stage.work.function
            for pipeline in pipelines
            for stage in pipeline.stages
            if isinstance(stage.work, AsyncFunction)
        }
        self._heartbeat_s = heartbeat_s
        self._group = asyncio.TaskGroup()
        self._attempts: set[TaskAttempt] = set()
        self._current: contextvars.ContextVar[RunningContext | None] = contextvars.ContextVar("stage", default=None)
        self._log = StageLog(self._current.get)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        logging.root.addHandler(self._log)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for attempt in self._attempts:
            attempt.kill()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            logging.root.removeHandler(self._log)

    async def prepare(self, task: StageTask, report: Report) -> TaskAttempt:
        """Make an attempt ready; nothing of the stage runs before its `go`.

        Raises:
            NotStartable: No async stage of that name is served here.
        """
        function = self._functions.get((task.pipeline, task.stage))
        if function is None:
            raise NotStartable(f"pipeline {task.pipeline} has no async stage {task.stage} here")
        return TaskAttempt(function, task, report, self._heartbeat_s, self._begin)

    def _begin(self, attempt: TaskAttempt) -> asyncio.Task[Outcome]:
        self._attempts.add(attempt)
        running = self._group.create_task(attempt.run(self._current))
        running.add_done_callback(lambda _: self._attempts.discard(attempt))
        return running


class TaskAttempt:
    """One execution of an async stage."""

    def __init__(
        self,
        function: StageFunction,
        task: StageTask,
        report: Report,
        heartbeat_s: float,
        begin: Callable[[TaskAttempt], asyncio.Task[Outcome]],
    ) -> None:
        self._function = function
        self._report = report
        self._interval_s, self._heartbeat_s = task.progress_interval_s, heartbeat_s
        self._begin = begin
        self._facts: deque[Fact] = deque()
        self._wake = asyncio.Event()
        self._context = RunningContext(task, tell=self._tell, wake=self._wake.set)
        self._decided = asyncio.Event()  #: `go`, `stop` or `kill` was called: `wait` has something to wait for.
        self._whole: asyncio.Task[Outcome] | None = None
        self._stage: asyncio.Task[Outcome] | None = None
        self._is_killed = self._is_over = False
        self._failure: Exception | None = None

    @property
    def worker(self) -> Worker | None:
        """None: the server itself executes the stage."""
        return None

    @property
    def has_heartbeat(self) -> bool:
        """False: it lives in the loop that would listen, and dies with it."""
        return False

    def go(self) -> None:
        """Begin the stage's work."""
        if not self._decided.is_set():
            self._whole = self._begin(self)
            self._decided.set()

    def stop(self) -> None:
        """Set `stopping` and cancel the stage's task, once."""
        if not self._context.asked_to_stop:
            self._context.asked_to_stop = True
            self._decided.set()
            if self._stage is not None:
                self._stage.cancel()

    def kill(self) -> None:
        """Cancel the stage's task until it gives in."""
        if not self._is_killed:
            self._is_killed = True
            self._decided.set()
            self._cancel_again()

    def _cancel_again(self) -> None:
        if self._stage is not None and not self._stage.done():
            self._stage.cancel()
            asyncio.get_running_loop().call_later(RECANCEL_S, self._cancel_again)

    async def wait(self) -> Outcome:
        """Return how it ended, once its task is done and every fact has been reported.

        Cancelling the call leaves the stage alone.

        Raises:
            Exception: What `report` raised; the stage has been cancelled because of it.
        """
        await self._decided.wait()
        if self._whole is None:
            return self._asked()
        await asyncio.wait([self._whole])
        if self._failure is not None:
            raise self._failure
        return self._whole.result()

    async def run(self, current: contextvars.ContextVar[RunningContext | None]) -> Outcome:
        """Execute the stage and report for it; the runner's, not yours."""
        if self._is_killed or self._context.asked_to_stop:
            return self._asked()
        current.set(self._context)  # in the context of this task, which the stage's task and its own inherit
        async with asyncio.TaskGroup() as group:
            self._stage = group.create_task(self._execute())
            group.create_task(self._speak())
            await asyncio.wait([self._stage])
            self._is_over = True
            self._wake.set()
        return self._asked() if self._stage.cancelled() else self._stage.result()

    async def _execute(self) -> Outcome:
        context = self._context
        try:
            return outcome_of_value(await self._function(context), context.stage)
        except asyncio.CancelledError as exc:
            # A stage may also raise CancelledError by itself; then nobody has called cancel() on its task.
            is_cancelled = self._stage is not None and self._stage.cancelling() > 0
            return self._asked() if is_cancelled else outcome_of_exception(exc)
        # SystemExit too: it must end the stage, not the server. Ctrl-C is the server's.
        except (Exception, SystemExit, GeneratorExit) as exc:
            outcome = outcome_of_exception(exc)
            if has_traceback(outcome):
                for line in traceback_lines(exc):
                    context.log(line, "error")
            return outcome

    def _asked(self) -> Failed:
        return STOPPED if self._context.asked_to_stop else KILLED

    def _tell(self, fact: Fact) -> None:
        self._facts.append(fact)
        self._wake.set()

    async def _speak(self) -> None:
        """Report what the stage says, in order, until it is over and all is said."""
        now = asyncio.get_running_loop().time
        fold_until = 0.0
        self._spoken_at = now()
        while True:
            self._wake.clear()
            while self._facts:
                await self._say(self._facts.popleft())
            if self._is_over or now() >= fold_until:
                progress = self._context.take_progress()
                if progress is not None:
                    fold_until = now() + self._interval_s
                    await self._say(ProgressMade(progress))
            # It may have gone on while `_say` waited.
            if self._wake.is_set():
                continue
            if self._is_over:
                return
            if now() >= self._spoken_at + self._heartbeat_s:
                await self._say(HeartbeatHeard())
                continue
            due = self._spoken_at + self._heartbeat_s
            try:
                async with asyncio.timeout_at(min(due, fold_until) if self._context.is_waiting else due):
                    await self._wake.wait()
            except TimeoutError:
                pass  # a fold or a heartbeat is due

    async def _say(self, fact: Fact) -> None:
        if self._failure is None:
            try:
                await self._report(fact)
            except Exception as exc:  # whatever the other side has, the attempt cannot go on unheard
                self._failure = exc
                self.kill()
        self._spoken_at = asyncio.get_running_loop().time()
