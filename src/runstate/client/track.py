"""`track`: a run that this program executes itself, in a web request, a notebook or a task of somebody else's scheduler.

    async with rs.track("predict", stages=["load", "infer"]) as run:
        async with run.stage("load") as stage:
            stage.progress(3, total=10)

When somebody wants the run to stop, the task in the block is cancelled, once, and the block raises `Stopped`; likewise it
raises what the server refused, if the run is over there (its lease ran out while nobody could be reached).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from runstate.client.reporting import LEASE_S, PATIENCE_S, PROGRESS_INTERVAL_S, Door, Reporting
from runstate.core.canonical import FrozenJson
from runstate.core.errors import RunstateError
from runstate.core.model import RunContext


class TrackedStage:
    """A stage that is under way."""

    def __init__(self, name: str, reporting: Reporting) -> None:
        self.name = name
        self._reporting = reporting
        self.declared: dict[str, Any] = {}  #: What `outputs` was given so far.

    @property
    def stopping(self) -> bool:
        """Whether somebody wants the run to stop."""
        return self._reporting.is_stopping

    def progress(
        self, done: int | float, total: int | float | None = None, unit: str | None = None, message: str | None = None
    ) -> None:
        """Say how far the stage is; cheap, folded, and the last value is never lost."""
        self._reporting.progress(self.name, done, total, unit, message)

    def outputs(self, **outputs: Any) -> None:
        """Declare what the stage made; each name may be said again.

        Raises:
            InvalidValue: A value is not JSON.
        """
        FrozenJson(outputs, "outputs")
        self.declared |= outputs

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the run's log."""
        self._reporting.log(self.name, text, level)


class ReportedRun:
    """What a run that this program executes shows without waiting, the same for async and plain code."""

    def __init__(self, reporting: Reporting) -> None:
        self._reporting = reporting

    @property
    def run_id(self) -> str:
        return self._reporting.run.run_id or ""

    @property
    def document(self) -> RunContext:
        """The run as the server last answered."""
        return self._reporting.run

    @property
    def stopping(self) -> bool:
        """Whether somebody wants the run to stop."""
        return self._reporting.is_stopping

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the run's log."""
        self._reporting.log(None, text, level)


class TrackedRun(ReportedRun):
    """A run that this program executes."""

    @asynccontextmanager
    async def stage(self, name: str) -> AsyncGenerator[TrackedStage]:
        """Execute a stage: leaving the block succeeds it, an exception fails it and the run.

        Stages between the last one and this are skipped; going back is refused.
        """
        await self._reporting.begin(name)
        stage = TrackedStage(name, self._reporting)
        try:
            yield stage
        except BaseException as exc:
            await self._reporting.fail(name, exc)
            raise
        await self._reporting.succeed(name, stage.declared)

    async def update_metadata(self, patch: Mapping[str, Any]) -> None:
        """Change the run's metadata by a merge patch (RFC 7396): None removes a member."""
        await self._reporting.update_metadata(patch)


@asynccontextmanager
async def track(
    door: Door,
    pipeline: str,
    *,
    stages: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
    lease_s: float = LEASE_S,
    override: bool = False,
    progress_interval_s: float = PROGRESS_INTERVAL_S,
    patience_s: float = PATIENCE_S,
) -> AsyncGenerator[TrackedRun]:
    """Open a run, report it while the block lasts, and end it with the block.

    Args:
        door: Where it is reported.
        pipeline: Its name; it is made if it is new. It has one active run at a time.
        stages: What the run will go through, in this order.
        metadata: A JSON object of the caller's.
        lease_s: Seconds of silence after which the server takes this program for dead.
        override: Open it also while the pipeline is degraded or unstable and its run policy is `gated`.
        progress_interval_s: Seconds between two reports of progress.
        patience_s: Seconds that a stage's begin or end waits for a server that does not answer.

    Raises:
        Stopped: Somebody asked the run to stop.
        AlreadyRunning, Blocked, Problem: The pipeline has an active run, its run policy lets none start, or the server
            refused something else.
    """
    body = asyncio.current_task()
    assert body is not None, "a coroutine runs in a task"
    asked, has_left = False, False

    def cancel_body() -> None:
        nonlocal asked
        # A report that the block itself waits for tells it by an exception.
        if not asked and not has_left and asyncio.current_task() is not body:
            asked = body.cancel()

    opened = await door.open_run(pipeline, stages=stages, metadata=metadata or {}, lease_s=lease_s, override=override)
    reporting = Reporting(
        door, *opened, lease_s=lease_s, interval_s=progress_interval_s, patience_s=patience_s, on_end=cancel_body
    )
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(reporting.keep())
        try:
            yield TrackedRun(reporting)
        except BaseException as exc:  # noqa: BLE001 - goes on below, outside the group that would wrap it
            failure = exc
        has_left = True
        if asked:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # a cancellation that the block did not meet is met here
            if body.uncancel() == 0 and isinstance(failure, asyncio.CancelledError):
                failure = None
        try:
            if failure is not None:
                await reporting.fail(None, failure)
            elif reporting.is_stopping:
                await _give_in(reporting)
            else:
                await reporting.finish()
        except RunstateError as refusal:
            failure = failure or refusal
        keeper.cancel()
    if failure is not None:
        raise failure


async def _give_in(reporting: Reporting) -> None:
    """Say that the work has ended because it was asked to, and raise that."""
    try:
        reporting.check()
    except RunstateError as why:
        await reporting.fail(None, why)
        raise
