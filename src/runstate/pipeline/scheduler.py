"""The scheduler: one task that starts runs when they are due. It does what `schedule.py` says, and no rule is its own.

It sleeps until the next due time or the next commit that could matter to it, but looks at the wall clock every few
seconds: clocks are set, and machines sleep. What it has to remember stands in the pipelines' documents, so a restart goes
on where the last server was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from runstate.core.commit import Commit
from runstate.core.errors import NotFound, StoreUnavailable
from runstate.core.health import refusal
from runstate.core.machine import is_over
from runstate.core.model import Trigger
from runstate.core.pipeline import Owner, with_schedule
from runstate.core.run import Run
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.schedule import Step, decide_schedule, wake_ms
from runstate.ports import Clock
from runstate.state.durable import Ticket
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.pipeline")

LOOK_S = 5.0  # the longest sleep while a schedule is enabled

MakeRun = Callable[[str, Trigger], Run]
Launch = Callable[[Ticket, str], None]


class Scheduler:
    """Looks after the schedules of the pipelines that are served."""

    def __init__(
        self,
        manager: PipelineStateManager,
        pipelines: Mapping[str, Pipeline],
        clock: Clock,
        *,
        make_run: MakeRun,
        launch: Launch,
    ) -> None:
        """Make one; `run` is its task.

        Args:
            make_run: Makes a run of a pipeline, of all its stages.
            launch: Drives a run once the commit that made it is durable.
        """
        self._manager, self._pipelines, self._clock = manager, pipelines, clock
        self._make_run, self._launch = make_run, launch
        self._news = asyncio.Event()

    def _hear(self, commit: Commit) -> None:
        """Look at every schedule soon where one may have changed, or a run is over, whoever executed it."""
        for change in commit.changes:
            document = change.document
            if document.key.kind == "pipeline" or is_over(document.run.state):
                self._news.set()

    async def run(self) -> None:
        """Start what is due, for ever."""
        self._manager.listeners.append(self._hear)
        try:
            await self._run()
        finally:
            self._manager.listeners.remove(self._hear)

    async def _run(self) -> None:
        was_away = True
        while True:
            self._news.clear()
            try:
                for name in self._pipelines:
                    await self._look(name, was_away=was_away)
            except StoreUnavailable as refused:
                log.warning("schedules wait: %s", refused, extra={"event": "schedules_wait"})
                await self._manager.until(lambda: self._manager.trouble is None)
                continue
            was_away = False
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._news.wait()

    def _pause_s(self) -> float | None:
        schedules = [self._manager.pending_pipeline(name).document.schedule for name in self._pipelines]
        if not any(schedule is not None and schedule.enabled for schedule in schedules):
            return None
        due = [at_ms for schedule in schedules if schedule is not None and (at_ms := wake_ms(schedule)) is not None]
        return min([LOOK_S, *(max(0.001, (at_ms - self._clock.now_ms()) / 1000) for at_ms in due)])

    async def _look(self, name: str, *, was_away: bool) -> None:
        while (step := self._next_step(name, was_away=was_away)) is not None:
            log.info(
                "schedule of %s: %s%s",
                name,
                step.what,
                f", {step.schedule.last_skip_reason}" if step.what == "skip" else "",
                extra={"event": "schedule"},
            )
            await self._carry_out(name, step)

    def _next_step(self, name: str, *, was_away: bool) -> Step | None:
        owner = self._manager.pending_pipeline(name).document
        if owner.schedule is None:
            return None
        policy = self._pipelines[name].run_policy
        return decide_schedule(
            owner.schedule,
            now_ms=self._clock.now_ms(),
            is_active=self._is_active(owner.current_run_id),
            may_start=refusal(owner.health, policy, scheduled=True, override=False) is None,
            was_away=was_away,
        )

    def _is_active(self, run_id: str | None) -> bool:
        if run_id is None:
            return False
        with suppress(NotFound):
            return not is_over(self._manager.pending_run(run_id).context.state)
        return False

    async def _carry_out(self, name: str, step: Step) -> None:
        """Commit a step. Nothing was awaited since it was decided, so it fits what it was decided on."""
        if step.what != "start":
            event = f"schedule_{step.what}"
            await self._manager.change_pipeline(name, partial(_changed, step), event=event, by=None)
            return
        run = self._make_run(name, Trigger(kind="schedule"))
        assert run.context.run_id is not None, "a new run has an id"
        begun = replace(step.schedule, last_run_id=run.context.run_id)
        ticket = self._manager.create_run(run, by=None, change=lambda owner: with_schedule(owner, begun))
        self._launch(ticket, run.context.run_id)
        await ticket


def _changed(step: Step, owner: Owner) -> Owner:
    return with_schedule(owner, step.schedule)
