"""What people decide about a pipeline beside its runs: its schedule and acknowledgements; and what its run policy lets start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from msgspec.structs import replace

from runstate.core.commit import Document
from runstate.core.errors import Blocked, DefinitionError, InvalidValue, NotFound
from runstate.core.health import Memory, Policy, refusal, remember
from runstate.core.model import Schedule
from runstate.core.pipeline import Change, Owner, acknowledged, start_refused, with_memory, with_schedule
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.schedule import check_schedule, merge, redefine
from runstate.ports import Clock, RunsFilter
from runstate.state.demands import NO_DEMANDS, Demands
from runstate.state.durable import Ticket
from runstate.state.manager import PipelineStateManager

LOOKED_THROUGH = 50  # runs, where nothing is remembered of a pipeline yet


class Settings:
    """Changes of pipelines' documents, each one commit."""

    def __init__(
        self,
        manager: PipelineStateManager,
        pipelines: Mapping[str, Pipeline],
        clock: Clock,
    ) -> None:
        self._manager, self._pipelines, self._clock = manager, pipelines, clock

    async def definitions(self, *, schedules: bool) -> dict[str, Change]:
        """Return what becomes of each pipeline now that it is served.

        Args:
            schedules: Take the schedules of the definitions; else they stay as they stand in the store.

        Raises:
            DefinitionError: A schedule is none; the text names its place.
        """
        now_ms = self._clock.now_ms()
        changes: dict[str, Change] = {}
        for name, pipeline in self._pipelines.items():
            if pipeline.timetable is not None:
                try:
                    check_schedule(pipeline.timetable, now_ms=now_ms)
                except InvalidValue as refusal:
                    raise DefinitionError(f"pipeline {name} ({pipeline.place}): schedule: {refusal}") from None
            memory = await self._recollected(name)
            defined = pipeline.timetable if schedules else None
            changes[name] = partial(_defined, memory=memory, take=schedules, defined=defined, now_ms=now_ms)
        return changes

    async def _recollected(self, name: str) -> Memory | None:
        """Return what the committed runs of a pipeline say, where it has some and nothing is remembered of them."""
        if self._manager.has_memory(name):
            return None
        wanted = RunsFilter(pipeline=name, limit=LOOKED_THROUGH)
        cut = await asyncio.to_thread(self._manager.journal.runs, wanted)
        memory = Memory()
        for document in reversed(cut.documents):
            memory = remember(memory, document.run)
        return memory

    @asynccontextmanager
    async def gate(self, name: str, *, override: bool, by: str | None) -> AsyncIterator[Change]:
        """Give the change of a pipeline that a person's start makes: it refuses the start where the run policy does.

        That it was refused is committed before the block is left.

        Args:
            name: Of the pipeline; the run policy of one that is not served here is `always`.
            override: The person knows that the pipeline is degraded or unstable.
            by: Who asks.

        Raises:
            Blocked: The run policy lets no run start.
            StoreUnavailable: The journal refuses writes now.
        """
        policy: Policy = self._pipelines[name].run_policy if name in self._pipelines else "always"
        try:
            yield partial(_admitted, policy=policy, override=override)
        except Blocked:
            change = partial(start_refused, by=by, now_ms=self._clock.now_ms())
            await self._manager.change_pipeline(name, change, event="start_refused", by=by)
            raise

    async def set_schedule(
        self, pipeline: str, members: Mapping[str, Any], *, by: str | None = None, demands: Demands = NO_DEMANDS
    ) -> Document:
        """Set members of a pipeline's schedule; return the pipeline's document after the commit.

        What is set here wins over the definition until the definition changes.

        Args:
            pipeline: Its name.
            members: Some of `cron`, `tz`, `enabled`, `missed`, `overlap`.
            by: Who asks.
            demands: What must hold for it, and what is kept with it.

        Raises:
            NotFound: No such pipeline, or it is not served here.
            InvalidValue: A member is not as described, or there is no `cron` yet.
            Conflict: `demands` does not hold.
            StoreUnavailable: The journal refuses writes now.
        """
        self._check_served(pipeline)
        now_ms = self._clock.now_ms()

        def change(owner: Owner) -> Owner:
            return with_schedule(owner, merge(owner.document.schedule, dict(members), now_ms=now_ms))

        ticket = self._manager.change_pipeline(pipeline, change, event="schedule_set", by=by, demands=demands)
        return await _document(ticket)

    async def acknowledge(
        self, pipeline: str, reason: str, *, by: str | None = None, demands: Demands = NO_DEMANDS
    ) -> Document:
        """Take note of what a pipeline's runs did, so that they count no more; return the pipeline's document.

        Raises:
            NotFound: No such pipeline.
            InvalidValue: `reason` says nothing.
            Conflict: `demands` does not hold.
            StoreUnavailable: The journal refuses writes now.
        """
        if not reason.strip():
            raise InvalidValue("reason is empty; say why the pipeline may run again")
        change = partial(acknowledged, reason=reason.strip(), by=by, now_ms=self._clock.now_ms())
        ticket = self._manager.change_pipeline(pipeline, change, event="acknowledged", by=by, demands=demands)
        return await _document(ticket)

    def _check_served(self, name: str) -> None:
        self._manager.pending_pipeline(name)
        if name not in self._pipelines:
            raise NotFound(f"pipeline {name} is not served here; it only stands in the store")


def _defined(owner: Owner, *, memory: Memory | None, take: bool, defined: Schedule | None, now_ms: int) -> Owner:
    if memory is not None:
        owner = with_memory(owner, memory)
    if not take:
        return owner
    shown = redefine(owner.document.schedule, owner.memory.defined, defined, now_ms=now_ms)
    return with_schedule(with_memory(owner, replace(owner.memory, defined=defined)), shown)


def _admitted(owner: Owner, *, policy: Policy, override: bool) -> Owner:
    why = refusal(owner.document.health, policy, scheduled=False, override=override)
    if why is not None:
        raise Blocked(owner.document.pipeline, why)
    return owner if owner.memory.refused is None else with_memory(owner, replace(owner.memory, refused=None))


async def _document(ticket: Ticket) -> Document:
    await ticket
    assert ticket.commit is not None, "a change of a pipeline is a commit"
    return ticket.commit.changes[0].document
