"""One attempt from ready to dead: its facts become commits, and it ends by itself, in time, or when it is asked to.

Returns only when nothing of the attempt is alive any more (PROTOCOL C5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, assert_never

from runstate.core.errors import InvalidValue, StaleAttempt, StoreUnavailable
from runstate.core.events import MetadataChanged, ProgressReported, WorkerHeard, WorkerKnown
from runstate.core.facts import Fact, Failed, HeartbeatHeard, LineLogged, MetadataPatched, Outcome, ProgressMade
from runstate.core.model import Progress
from runstate.core.times import format_time
from runstate.pipeline.runlog import Line, RunLogs
from runstate.pipeline.stage import LEASE_S, Stage
from runstate.ports import Attempt, Clock
from runstate.state.durable import Ticket
from runstate.state.manager import PipelineStateManager

log = logging.getLogger("runstate.pipeline")

MAX_BACKLOG = 256  # commits under way before whoever reports has to wait
LOOKS = 6  # within a lease: silence is counted in looks, so a loop that was held up for long has looked once


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, and on whose account."""

    why: Literal["itself", "timeout", "asked"]
    outcome: Outcome


class FactReporter:
    """Turns one attempt's facts into commits; the fence against everybody else's is in `core/run.py`."""

    def __init__(
        self,
        manager: PipelineStateManager,
        logs: RunLogs,
        clock: Clock,
        *,
        run_id: str,
        stage: str,
        attempt: int,
        on_line: Callable[[Line], None] | None,
        is_closing: Callable[[], bool],
    ) -> None:
        self._manager, self._logs, self._clock, self._on_line = manager, logs, clock, on_line
        self._is_closing = is_closing
        self._run_id, self._stage, self._attempt = run_id, stage, attempt
        self._last: tuple[ProgressMade, Ticket] | None = None
        self._was_heard = False  #: Since the last look.
        self._taking = 0  #: Facts that are being taken now, which may wait for the journal.
        self.heard_ms = clock.now_ms()  #: When the worker was last heard, wall time.
        self.refused: Failed | None = (
            None  #: Set when a fact cannot stand in the document; the attempt has failed then.
        )

    async def __call__(self, fact: Fact) -> None:
        """Take a fact; returns when the next may come, which is the back-pressure."""
        self._was_heard, self.heard_ms = True, self._clock.now_ms()
        self._taking += 1
        try:
            await self._take(fact)
        except StaleAttempt as refusal:
            log.warning("run %s: %s", self._run_id, refusal, extra={"event": "fact_refused", "run": self._run_id})
        except InvalidValue as refusal:
            self.refused = self.refused or Failed(f"InvalidValue: {refusal}", "bad_output")
        finally:
            self._taking -= 1

    async def silence(self, lease_s: float) -> None:
        """Return once nothing was heard for so long that the lease is about to run out."""
        silent = 0
        while silent < LOOKS - 1:
            self._was_heard = False
            await asyncio.sleep(lease_s / LOOKS)
            silent = 0 if self._was_heard or self._taking else silent + 1

    async def _take(self, fact: Fact) -> None:
        match fact:
            case LineLogged(level, text):
                line = Line(self._run_id, self._clock.now_ms(), self._stage, self._attempt, level, text)
                if self._on_line is not None:
                    self._on_line(line)
                await self._logs.add(line)
            case HeartbeatHeard():
                if self._manager.trouble is None:
                    self._manager.apply(self._run_id, WorkerHeard(self._stage, self._attempt))
            case ProgressMade():
                await self._progress(fact)
            case MetadataPatched(patch):
                await self._surely(MetadataChanged(self._stage, self._attempt, patch))
            case _:
                assert_never(fact)

    async def _progress(self, fact: ProgressMade) -> None:
        # While the journal refuses, the worker goes on and its progress is folded at its source.
        if not await self._journal_works():
            return
        try:
            ticket = self._manager.apply(self._run_id, ProgressReported(self._stage, self._attempt, fact.progress))
        except InvalidValue:
            # A document that is nearly full has room for the numbers, if not for the words.
            numbers = Progress(done=fact.progress.done, total=fact.progress.total)
            ticket = self._manager.apply(self._run_id, ProgressReported(self._stage, self._attempt, numbers))
        if ticket is not None:
            self._last = (fact, ticket)
            if self._manager.backlog > MAX_BACKLOG:
                await self.settle()

    async def _journal_works(self) -> bool:
        """Wait for it; False where the server ends before."""
        await self._manager.until(lambda: self._manager.trouble is None or self._is_closing())
        return self._manager.trouble is None

    async def settle(self) -> None:
        """Make sure that the last progress is durable: the last value is never lost."""
        while self._last is not None:
            fact, ticket = self._last
            self._last = None
            try:
                await ticket
            except StoreUnavailable:
                await self(fact)

    async def _surely(self, event: MetadataChanged) -> None:
        while await self._journal_works():
            try:
                ticket = self._manager.apply(self._run_id, event)
                if ticket is not None:
                    await ticket
            except StoreUnavailable:
                continue  # a merge patch may be applied twice
            return


async def see_through(
    work: Attempt,
    *,
    stage: Stage,
    run_id: str,
    attempt: int,
    manager: PipelineStateManager,
    reporter: FactReporter,
    asked: asyncio.Event,
    limit_s: float | None,
) -> Ended:
    """Begin the prepared `work` and return how it ended, once it is dead.

    Args:
        asked: Set when the attempt shall end: it is told, and killed after the stage's grace period.
        limit_s: Seconds after which the attempt is ended likewise; None: never.

    Raises:
        StoreUnavailable: The worker could not be journalled; nothing of the stage ran and the worker is dead.
    """
    try:
        if work.worker is not None:
            # A server that dies after `go` must find this process at its next start.
            ticket = manager.apply(run_id, WorkerKnown(stage.name, attempt, work.worker))
            if ticket is not None:
                await ticket
    except StoreUnavailable:
        work.kill()
        await work.wait()
        raise
    work.go()
    lease_s = stage.lease_s or LEASE_S
    async with asyncio.TaskGroup() as group:
        ended = group.create_task(work.wait())
        told = group.create_task(asked.wait())
        silence = group.create_task(reporter.silence(lease_s) if work.has_heartbeat else asyncio.Event().wait())
        await asyncio.wait({ended, told, silence}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        why: Literal["itself", "timeout", "asked"] = "itself" if ended.done() else "asked" if told.done() else "timeout"
        is_lost = not ended.done() and not told.done() and silence.done()
        told.cancel()
        silence.cancel()
        if is_lost:
            work.kill()  # who is not heard does not listen
        elif not ended.done():
            work.stop()
            await asyncio.wait({ended}, timeout=stage.grace_s)
            if not ended.done():
                work.kill()
        outcome = await ended
    await reporter.settle()
    if is_lost:
        heard = format_time(reporter.heard_ms)
        error = f"Lost: the worker gave no sign of life within its lease of {lease_s:g} s; last heard {heard}"
        return Ended("itself", Failed(error, "lost"))
    return Ended(why, reporter.refused or outcome)
