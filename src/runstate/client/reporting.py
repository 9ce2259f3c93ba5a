"""Reporting a run that this program executes (PROTOCOL C8): numbered reports, folded progress, heartbeats, patience.

Law: a report that was sent is sent again with its number and its facts until it is answered, so nothing is told twice and
nothing is lost; a report holds at most one move of the run, so that history shows each. What the work must know, a stop
above all, is read from the latest answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from random import random
from typing import Any, Protocol

from runstate.client.errors import ServerAway, ServerUnreachable, Stopped
from runstate.core.backoff import delay_ms
from runstate.core.canonical import FrozenJson
from runstate.core.errors import InvalidValue, RunstateError, StoreError
from runstate.core.machine import is_over
from runstate.core.model import MAX_ERROR_BYTES, RunContext, cut_text, make_progress
from runstate.core.reports import (
    MAX_FACTS,
    HeartbeatTold,
    LogTold,
    MetadataTold,
    ProgressTold,
    ReportedFact,
    StageFailedTold,
    StageSkippedTold,
    StageStarted,
    StageSucceededTold,
)

log = logging.getLogger("runstate.client")

LEASE_S = 30.0
PROGRESS_INTERVAL_S = 0.1
PATIENCE_S = 60.0
BEATS = 3  # in a lease
LONGEST_WAIT_MS = 2000  # between two tries
AWAY_S = 1.0  # between two tries in the background
#: Refusals after which no report of the run can be taken any more; any other is about one report.
FINAL = frozenset({"not_allowed", "not_found", "unauthorized", "forbidden"})
MAX_QUEUED_LINES = 10_000


class Door(Protocol):
    """Where a run is opened and reported: a server over HTTP, or a `Runstate` in this process."""

    async def open_run(
        self, pipeline: str, *, stages: Sequence[str], metadata: Mapping[str, Any], lease_s: float, override: bool
    ) -> tuple[RunContext, str]:
        """Open a run; return its document and its fencing token."""

    async def report(self, run_id: str, token: str, seq: int, facts: Sequence[ReportedFact]) -> RunContext:
        """Take a report; return the run's document after it."""


class Reporting:
    """One run's reports. Everything but `progress` and `log` belongs to the loop's thread."""

    def __init__(
        self,
        door: Door,
        run: RunContext,
        token: str,
        *,
        lease_s: float = LEASE_S,
        interval_s: float = PROGRESS_INTERVAL_S,
        patience_s: float = PATIENCE_S,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Report a run that was opened.

        Args:
            interval_s: Seconds between two reports of progress.
            patience_s: Seconds that a stage's begin or end waits for a server that does not answer.
            on_end: Called once when somebody wants the run to stop, or it is over for the server.
        """
        assert run.run_id is not None, "a run that was opened has an id"
        self.run = run  #: As the server last answered.
        self.failure: RunstateError | None = None  #: Why nothing can be reported any more.
        self._door, self._run_id, self._token = door, run.run_id, token
        self._lease_s, self._interval_s, self._patience_s = lease_s, interval_s, patience_s
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._queue: deque[ReportedFact] = deque()
        self._batch: list[ReportedFact] = []  # under way: sent, and not answered yet
        self._seq = 1
        self._progress: ProgressTold | None = None
        self._at = 0  # of the next stage that has not ended

    # What the work says; from any thread

    @property
    def is_stopping(self) -> bool:
        """Whether somebody wants the run to stop, as far as is known here."""
        return self.run.stop_requested is not None or self.failure is not None

    def check(self) -> None:
        """Check that the work shall go on.

        Raises:
            Stopped: Somebody wants the run to stop.
            RunstateError: The run is over for the server, or it refused a report.
        """
        if self.run.stop_requested is not None:
            raise Stopped(self._run_id, self.run.stop_requested.reason)
        if self.failure is not None:
            raise self.failure

    def progress(
        self, stage: str, done: int | float, total: int | float | None, unit: str | None, message: str | None
    ) -> None:
        """Say how far a stage is; only the latest of an interval is reported."""
        made = make_progress(done, total, unit, message)
        is_first = self._progress is None
        self._progress = ProgressTold(
            stage=stage, done=made.done, total=made.total, unit=made.unit, message=made.message
        )
        if is_first:
            self._loop.call_soon_threadsafe(self._wake.set)

    def log(self, stage: str | None, text: str, level: str) -> None:
        """Add lines to the run's log; what is logged faster than it can be sent is dropped in the end, and said so."""
        waiting = len(self._queue)
        if waiting > MAX_QUEUED_LINES:
            return
        fact = LogTold(stage=stage, text=str(text), level=str(level))
        if waiting == MAX_QUEUED_LINES:
            fact = LogTold(stage=stage, text="the server does not keep up; lines are dropped", level="warning")
        self._queue.append(fact)
        if waiting == 0:
            self._loop.call_soon_threadsafe(self._wake.set)

    # The run's course

    async def begin(self, stage: str) -> None:
        """Say that a stage begins; stages that are passed over are skipped."""
        order = self.run.stage_order
        if stage not in order[self._at :]:
            why = "has ended already" if stage in order else f"is none of {', '.join(order)}"
            raise InvalidValue(f"stage {stage} {why}; stages run in the order that the run was opened with")
        passed = order[self._at : order.index(stage)]
        facts: list[ReportedFact] = [StageSkippedTold(stage=name) for name in passed]
        if self.run.state == "starting":
            facts.insert(0, StageStarted(stage=order[self._at]))  # later ones begin when the one before them ends
        self._at = order.index(stage)
        await self.tell(*facts)
        self.check()

    async def succeed(self, stage: str, outputs: Mapping[str, Any]) -> None:
        """Say that a stage is done."""
        self._at += 1
        await self.tell(StageSucceededTold(stage=stage, outputs=dict(outputs)))
        self.check()

    async def fail(self, stage: str | None, exc: BaseException) -> None:
        """Say that a stage, or the run outside of any, failed by `exc`; that this cannot be said is only logged."""
        if is_over(self.run.state):
            return
        code = "out_of_memory" if isinstance(exc, MemoryError) else getattr(exc, "code", None)
        if not isinstance(code, str) or not code:
            code = "exception"
        error = cut_text(f"{type(exc).__name__}: {_text(exc)}", MAX_ERROR_BYTES)
        try:
            await self.tell(StageFailedTold(stage=stage, error=error, error_code=code))
        except RunstateError as refusal:
            log.warning("run %s: its failure could not be reported: %s", self._run_id, refusal)

    async def finish(self) -> None:
        """Say that the work is done; stages that were not entered are skipped."""
        left = self.run.stage_order[self._at :]
        facts: list[ReportedFact] = [StageSkippedTold(stage=name) for name in left]
        if left and self.run.state == "starting":
            facts.insert(0, StageStarted(stage=left[0]))
        if not is_over(self.run.state):
            await self.tell(*facts)
        self.check()

    async def update_metadata(self, patch: Mapping[str, Any]) -> None:
        """Change the run's metadata by a merge patch (RFC 7396)."""
        FrozenJson(patch, "metadata")
        await self.tell(MetadataTold(metadata=dict(patch)))
        self.check()

    # Reports

    async def tell(self, *facts: ReportedFact) -> None:
        """Report `facts` after all that was said before; return once they are durable.

        Raises:
            ServerUnreachable: Nobody answered for as long as patience lasts; they are sent again with the next report.
            RunstateError: They were refused.
        """
        self._fold()
        self._queue.extend(facts)
        await self._drain(self._loop.time() + self._patience_s)

    async def keep(self) -> None:
        """Report progress and lines as they come, and heartbeats in silence, until the run is over; cancel it then."""
        beat_s = self._lease_s / BEATS
        while self.failure is None and not is_over(self.run.state):
            self._wake.clear()
            if not self._queue and self._progress is None:
                try:
                    async with asyncio.timeout(beat_s):
                        await self._wake.wait()
                except TimeoutError:
                    self._queue.append(HeartbeatTold())
            self._fold()
            pause_s = self._interval_s
            try:
                await self._drain(self._loop.time())
            except _AWAY as away:
                log.info("run %s: %s", self._run_id, away)
                pause_s = max(pause_s, AWAY_S)
            except RunstateError as refusal:
                log.warning("run %s: %s", self._run_id, refusal)
            await asyncio.sleep(pause_s)

    def _fold(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            self._queue.append(progress)

    async def _drain(self, deadline: float) -> None:
        """Send what is queued; after the deadline a server that does not answer is not tried again."""
        async with self._turn:
            while self.failure is None and (self._batch or self._queue):
                if not self._batch:
                    self._batch = self._next_batch()
                await self._send(deadline)
        if self.failure is not None:
            raise self.failure

    def _next_batch(self) -> list[ReportedFact]:
        batch, moves = list[ReportedFact](), 0
        while self._queue and len(batch) < MAX_FACTS:
            moves += isinstance(self._queue[0], _MOVES)
            if moves > 1:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _send(self, deadline: float) -> None:
        failures = 0
        was_stopping = self.is_stopping
        while True:
            try:
                self.run = await self._door.report(self._run_id, self._token, self._seq, self._batch)
                break
            except _AWAY:
                if self._loop.time() >= deadline:
                    raise
                await asyncio.sleep(max(10, min(LONGEST_WAIT_MS, delay_ms(failures, random()))) / 1000)
                failures += 1
            except RunstateError as refusal:
                self._batch = []
                if refusal.code in FINAL:
                    self.failure = refusal
                    self._queue.clear()
                    self._on_end()
                raise
        self._batch = []
        self._seq += 1
        if is_over(self.run.state):
            self._queue.clear()  # it can only be told of a run that is over that there was more
        if self.run.stop_requested is not None and not was_stopping:
            self._on_end()


#: What ends by itself; the same report is sent again then.
_AWAY = (ServerUnreachable, ServerAway, StoreError)
_MOVES = (StageStarted, StageSucceededTold, StageFailedTold, StageSkippedTold)


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - a user's exception whose own __str__ is broken
        return "(its text cannot be shown)"
