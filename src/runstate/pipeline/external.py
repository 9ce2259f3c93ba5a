"""Runs that are executed elsewhere (PROTOCOL C8): opened and reported by whoever does the work, kept alive by a lease.

The same facts, the same commits and the same fence as for our own runners; only nobody here can begin, ask or kill. What a
restart must know, the token and the answers, is journalled; the lease begins anew, so a restart ends no live work.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from runstate.core.canonical import FrozenJson, Json
from runstate.core.commit import Document, Key
from runstate.core.errors import (
    InvalidValue,
    NotFound,
    ReporterRefused,
    StoreUnavailable,
)
from runstate.core.machine import is_over
from runstate.core.model import RunContext, Trigger, is_external
from runstate.core.reports import ReportedFact, Reporter, Told, fold
from runstate.core.run import new_run
from runstate.core.times import format_time, parse_time
from runstate.pipeline.ids import run_id as make_run_id
from runstate.pipeline.leases import LEASE_S, Leases
from runstate.pipeline.options import MAX_NAME_LENGTH, NAME
from runstate.pipeline.runlog import Line, RunLogs
from runstate.pipeline.settings import Settings
from runstate.ports import Clock
from runstate.state.demands import NO_DEMANDS, Demands
from runstate.state.manager import PipelineStateManager
from runstate.state.notes import reporter_note

log = logging.getLogger("runstate.pipeline")

MAX_LEASE_S = 7 * 24 * 3600.0
MAX_STAGES = 256
KEEP_MS = 48 * 3600 * 1000  # of a run that is over: for a reporter who did not hear the last answer


class ExternalRuns:
    """Opens runs for others, takes their reports, and ends those that nobody reports any more."""

    def __init__(
        self,
        manager: PipelineStateManager,
        *,
        settings: Settings,
        clock: Clock,
        logs: RunLogs,
        on_line: Callable[[Line], None] | None = None,
    ) -> None:
        """Make the door; `async with external.running()` watches over the leases.

        Args:
            settings: Whose gate asks the run policies of the pipelines that are served here.
            on_line: Called with each log line, in the loop's thread.
        """
        self._manager, self._settings, self._clock, self._logs = manager, settings, clock, logs
        self._on_line = on_line
        self._leases = Leases(manager, clock)
        self._closing = False

    @asynccontextmanager
    async def running(self, *, take_over: bool = True) -> AsyncIterator[None]:
        """Watch over leases for as long as the block lasts.

        Args:
            take_over: Begin with the runs that are under way, each with a whole lease; else they are left alone.
        """
        self._closing = False
        async with self._leases.running():
            for document in self._manager.head.active_runs() if take_over else ():
                if is_external(document.run):
                    self._leases.begin(document.key.id, last_ms=_last_told_ms(document.run))
            try:
                yield
            finally:
                self._closing = True

    async def open(
        self,
        pipeline: str,
        *,
        stages: Sequence[str],
        metadata: Mapping[str, Json] | None = None,
        lease_s: float = LEASE_S,
        override: bool = False,
        by: str | None = None,
        demands: Demands = NO_DEMANDS,
    ) -> Document:
        """Open a run that the caller executes; return its document once version 1 is durable. `token` has its token.

        Args:
            pipeline: Its name; it is made if it is new.
            stages: What the run will go through, in this order.
            metadata: A JSON object of the caller's.
            lease_s: Seconds of silence after which the run is over.
            override: Open it also while the pipeline is degraded or unstable and its run policy is `gated`.
            by: Who asks.
            demands: What must hold for it, and what is kept with it.

        Raises:
            InvalidValue: An argument is not as described.
            Conflict: `demands` does not hold.
            AlreadyRunning: The pipeline has an active run (PROTOCOL C4).
            Blocked: The run policy lets no run start; that this was refused is committed.
            StoreUnavailable: The journal refuses writes, or the server is about to end.
        """
        if self._closing:
            raise StoreUnavailable("the server is shutting down; open the run again when it is back")
        _check_plan(pipeline, stages)
        if isinstance(lease_s, bool) or not (math.isfinite(lease_s) and 0 < lease_s <= MAX_LEASE_S):
            raise InvalidValue(
                f"lease_s is {lease_s!r}; a number of seconds above 0, at most {MAX_LEASE_S:.0f}, is needed"
            )
        now_ms = self._clock.now_ms()
        run_id = make_run_id(now_ms, os.urandom(10))
        run = new_run(
            pipeline=pipeline,
            run_id=run_id,
            plan=stages,
            metadata=FrozenJson({} if metadata is None else metadata, "metadata"),
            trigger=Trigger(kind="external", by=by),
            now_ms=now_ms,
        )
        reporter = Reporter(token=secrets.token_urlsafe(24), lease_s=lease_s, at_ms=now_ms)
        notes = (*(reporter_note(old, None) for old in self._long_over(now_ms)), reporter_note(run_id, reporter))
        async with self._settings.gate(pipeline, override=override, by=by) as admit:
            ticket = self._manager.create_run(run, by=by, demands=demands, notes=notes, change=admit)
        ticket.future.add_done_callback(
            lambda done: None if done.cancelled() or done.exception() else self._leases.begin(run_id)
        )
        await ticket
        assert ticket.commit is not None
        return ticket.commit.changes[0].document

    def token(self, run_id: str) -> str | None:
        """Return the fencing token of a run; None where it is not executed elsewhere, or long over."""
        reporter = self._manager.reporters.get(run_id)
        return None if reporter is None else reporter.token

    async def report(self, run_id: str, token: str, seq: int, facts: Sequence[ReportedFact]) -> Document:
        """Take a report: one commit, all of it or nothing. Return the run's document after it, once that is durable.

        Its `stop_requested` tells the reporter to stop. The same `seq` again returns the first answer again.

        Raises:
            NotFound: No such run.
            ReporterRefused: The token is another run's or an old one, the run is over, or `seq` leaves a gap.
            TransitionRejected: The state machine has no such move; nothing changes.
            StaleAttempt: A fact is of a stage that is not running; nothing changes.
            InvalidValue: A value may not stand in a document; nothing changes.
            Compacted: `seq` was taken, and history does not keep its answer any more.
            StoreUnavailable: The journal refuses writes now; send the same report again.
        """
        if self._closing:
            raise StoreUnavailable("the server is shutting down; send the same report again when it is back")
        reporter = await self._reporter(run_id, token)
        if self._manager.trouble is not None:
            self._leases.hear(run_id)  # that it cannot be written down is not the reporter's fault
            raise StoreUnavailable(f"the journal refuses writes: {self._manager.trouble}")
        answered = reporter.version_of(seq)
        if answered is not None:
            return await self._answer(run_id, answered)
        run = self._manager.pending_run(run_id) if self._is_active(run_id) else None
        if run is None or is_over(run.context.state):
            raise ReporterRefused(f"run {run_id} is over; what is still told of it is refused")
        reporter.check_next(seq)
        folded = fold(run, facts, now_ms=self._clock.now_ms())
        version = run.context.version + bool(folded.events)
        note = reporter_note(run_id, reporter.after(seq, version))
        ticket = self._manager.apply_all(run_id, folded.events, notes=(note,))
        assert ticket is not None, "a report is noted at least"
        self._leases.hear(run_id)
        await ticket
        for told in folded.lines:
            await self._add(run_id, told)
        return await self._answer(run_id, version)

    async def _reporter(self, run_id: str, token: str) -> Reporter:
        reporter = self._manager.reporters.get(run_id)
        if reporter is None:
            document = await self._manager.find_run(run_id)
            if is_external(document.run):
                raise ReporterRefused(f"run {run_id} is long over; what is still told of it is refused")
            raise ReporterRefused(f"run {run_id} is executed by this server, so nobody else reports it")
        if not hmac.compare_digest(reporter.token.encode(), token.encode(errors="replace")):
            log.warning("run %s: a report with another token was refused", run_id, extra={"event": "fact_refused"})
            raise ReporterRefused(
                f"this is not the token of run {run_id}; send what Runstate-Token said when the run was opened"
            )
        return reporter

    def _is_active(self, run_id: str) -> bool:
        try:
            self._manager.pending_run(run_id)
        except NotFound:
            return False
        return True

    async def _answer(self, run_id: str, version: int) -> Document:
        """Return a version of a run once it is durable."""

        def is_shown() -> bool:
            there = self._manager.head.run(run_id)
            return there is None or there.version >= version or self._manager.trouble is not None

        await self._manager.until(is_shown)
        there = self._manager.head.run(run_id)
        if there is not None and there.version == version:
            return there
        if there is not None and there.version < version:
            raise StoreUnavailable(f"the journal refuses writes: {self._manager.trouble}")
        kept = await asyncio.to_thread(self._manager.journal.version, Key("run", run_id), version)
        if kept is None:
            raise NotFound(f"there is no version {version} of run {run_id}")
        return kept

    async def _add(self, run_id: str, told: Told) -> None:
        line = Line(run_id, self._clock.now_ms(), told.stage, told.attempt, told.level, told.text)
        if self._on_line is not None:
            self._on_line(line)
        await self._logs.add(line)

    def _long_over(self, now_ms: int) -> list[str]:
        """Return the runs whose reporters can be forgotten."""
        active = {document.key.id for document in self._manager.head.active_runs()}
        return [
            run_id
            for run_id, reporter in self._manager.reporters.items()
            if reporter.at_ms < now_ms - KEEP_MS and run_id not in active
        ]


def _check_plan(pipeline: str, stages: Sequence[object]) -> None:
    names: list[tuple[str, object]] = [("pipeline", pipeline), *(("stage", stage) for stage in stages)]
    for what, name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
            raise InvalidValue(
                f"{what} name {name!r} is not allowed; use a lower-case letter, then letters, digits and underscores, "
                f"at most {MAX_NAME_LENGTH}"
            )
    if isinstance(stages, str) or not 0 < len(stages) <= MAX_STAGES or len(set(stages)) != len(stages):
        raise InvalidValue(f"stages is a list of 1 to {MAX_STAGES} different stage names, in the order they will run")


def _last_told_ms(context: RunContext) -> int:
    """Return when the reporter of a run was last heard, as far as its document tells."""
    times = [record.heartbeat_at for record in context.stages.values() if record.heartbeat_at is not None]
    return parse_time(max(times, default=context.started_at or format_time(0)))
