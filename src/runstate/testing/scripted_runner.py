"""A stage runner whose attempts do what a script says, on any clock: for tests of what happens around stages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from runstate.core.canonical import FrozenJson
from runstate.core.errors import NotStartable
from runstate.core.facts import Failed, Outcome, Succeeded
from runstate.core.model import Worker
from runstate.pipeline.stage import Stage
from runstate.ports import Report, StageTask


@dataclass(slots=True)
class ScriptedAttempt:
    """One attempt in a test's hands."""

    task: StageTask
    report: Report
    script: Callable[[ScriptedAttempt], Awaitable[Outcome]]
    worker: Worker | None = None
    has_heartbeat: bool = False
    began: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False  #: Nothing of it is alive any more.

    def go(self) -> None:
        """See `runstate.ports.Attempt`."""
        self.began.set()

    def stop(self) -> None:
        """See `runstate.ports.Attempt`."""
        self.stopping.set()

    def kill(self) -> None:
        """See `runstate.ports.Attempt`."""
        self.killed.set()

    async def wait(self) -> Outcome:
        """See `runstate.ports.Attempt`."""
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._work())
            killed = group.create_task(self.killed.wait())
            await asyncio.wait({work, killed}, return_when=asyncio.FIRST_COMPLETED)
            killed.cancel()
            if not work.done():
                work.cancel()
        self.over = True
        return Failed("Killed: the worker was killed", "killed") if work.cancelled() else work.result()

    async def _work(self) -> Outcome:
        await self.began.wait()
        return await self.script(self)


Script = Callable[[ScriptedAttempt], Awaitable[Outcome]]


async def succeed(_: ScriptedAttempt) -> Outcome:
    """A script that succeeds at once."""
    return Succeeded(FrozenJson({}))


async def hang(_: ScriptedAttempt) -> Outcome:
    """A script that ends only when it is killed."""
    await asyncio.Event().wait()
    raise AssertionError("nothing sets that event")


async def obey(attempt: ScriptedAttempt) -> Outcome:
    """A script that works until it is asked to stop."""
    await attempt.stopping.wait()
    return Failed("Stopped: asked to stop", "stopped")


class ScriptedRunner:
    """A `runstate.ports.StageRunner`, and the one for every stage."""

    def __init__(self, scripts: dict[str, list[Script]] | None = None, *, has_heartbeat: bool = False) -> None:
        """Take scripts by stage, one per attempt; a stage without any left succeeds at once.

        Args:
            has_heartbeat: Whether the scripts report heartbeats, so that their silence is judged.
        """
        self._scripts, self._has_heartbeat = scripts or {}, has_heartbeat
        self.attempts: list[ScriptedAttempt] = []  #: Every attempt that was prepared, in order.

    def runner_of(self, _: Stage) -> ScriptedRunner:
        """Return itself."""
        return self

    async def prepare(self, task: StageTask, report: Report) -> ScriptedAttempt:
        """See `runstate.ports.StageRunner`."""
        assert all(attempt.over for attempt in self.attempts if attempt.task.run_id == task.run_id), (
            "two attempts alive"
        )
        scripts = self._scripts.get(task.stage, [])
        attempt = ScriptedAttempt(
            task, report, scripts.pop(0) if scripts else succeed, has_heartbeat=self._has_heartbeat
        )
        self.attempts.append(attempt)
        return attempt


class NeverStarts:
    """A runner that can start nothing."""

    def runner_of(self, _: Stage) -> NeverStarts:
        """Return itself."""
        return self

    async def prepare(self, task: StageTask, _: Report) -> ScriptedAttempt:
        """See `runstate.ports.StageRunner`."""
        raise NotStartable(f"stage {task.stage} cannot be imported")
