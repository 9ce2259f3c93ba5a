"""Leases of runs that are executed elsewhere (PROTOCOL C8): who falls silent for as long as its lease is taken for dead.

A lease counts from the last report that was taken, on the loop's clock, and does not run while the journal refuses:
nobody can be heard then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from runstate.core.errors import NotFound, StaleAttempt, StoreUnavailable, TransitionRejected
from runstate.core.events import Event, RunFailed, RunStopped
from runstate.core.machine import is_over
from runstate.core.model import RunContext
from runstate.core.times import format_time
from runstate.ports import Clock
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.pipeline")

LEASE_S = 30.0


@dataclass(slots=True)
class _Heard:
    """When a reporter was heard last."""

    at: float  #: The loop's time, from which its lease counts.
    wall_ms: int  #: As its document shall say.


class Leases:
    """Watches over runs, a task for each, and ends those whose reporters are silent."""

    def __init__(self, manager: PipelineStateManager, clock: Clock) -> None:
        """Make it; `async with leases.running()` watches."""
        self._manager, self._clock = manager, clock
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._heard: dict[str, _Heard] = {}
        self._closing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch for as long as the block lasts."""
        self._closing = False
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._closing = True
                for watch in self._watches.values():
                    watch.cancel()

    def begin(self, run_id: str, *, last_ms: int | None = None) -> None:
        """Begin the lease of a run.

        Args:
            last_ms: When its reporter was heard, if not now, in milliseconds since the Unix epoch.
        """
        if self._closing or run_id in self._watches:
            return
        self.hear(run_id)
        if last_ms is not None:
            self._heard[run_id].wall_ms = last_ms
        self._watches[run_id] = watch = self._group.create_task(self._keep(run_id), name=f"lease of run {run_id}")
        watch.add_done_callback(lambda _: self._watches.pop(run_id, None))
        watch.add_done_callback(lambda _: self._heard.pop(run_id, None))

    def hear(self, run_id: str) -> None:
        """Begin a lease anew: its reporter is alive."""
        self._heard[run_id] = _Heard(asyncio.get_running_loop().time(), self._clock.now_ms())

    async def _keep(self, run_id: str) -> None:
        """Wait until the run is over, or end it once nothing was heard of its reporter for a whole lease."""
        now = asyncio.get_running_loop().time
        lease_s = self._manager.reporters[run_id].lease_s if run_id in self._manager.reporters else LEASE_S
        while not self._is_over(run_id):
            try:
                async with asyncio.timeout_at(self._heard[run_id].at + lease_s):
                    await self._manager.until(lambda: self._is_over(run_id))
            except TimeoutError:
                if self._manager.trouble is not None:
                    # Nobody can be heard now; the silence counts from when the journal works again.
                    await self._manager.until(lambda: self._manager.trouble is None)
                    self._heard[run_id].at = now()
                elif now() >= self._heard[run_id].at + lease_s:
                    await self._end(run_id, lease_s)

    def _is_over(self, run_id: str) -> bool:
        document = self._manager.head.run(run_id)
        return document is None or is_over(document.run.state)

    async def _end(self, run_id: str, lease_s: float) -> None:
        try:
            run = self._manager.pending_run(run_id)
            if is_over(run.context.state):
                await self._manager.until(lambda: self._is_over(run_id) or self._manager.trouble is not None)
                return
            ticket = self._manager.apply(run_id, _lost(run.context, lease_s, self._heard[run_id].wall_ms))
            if ticket is not None:
                await ticket
            log.warning("run %s: its lease has run out", run_id, extra={"event": "lease_lost", "run": run_id})
        except StoreUnavailable:
            self._heard[run_id].at = asyncio.get_running_loop().time()
        except (NotFound, StaleAttempt, TransitionRejected):
            return  # its reporter was faster


def _lost(context: RunContext, lease_s: float, last_ms: int) -> Event:
    if context.stop_requested is not None:
        return RunStopped()
    return RunFailed(
        f"Lost: nothing was heard of its reporter for {lease_s:g} s; last heard {format_time(last_ms)}", "lost"
    )
