"""What happens next to a run: pure decisions that the orchestrator's loop carries out.

`decide` answers with one action, `judge` with the event that an attempt's end means, `recover` with the event that a
restart means (PROTOCOL D10). None of them waits or reads a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from runstate.core.events import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptStarted,
    Event,
    RunBegun,
    RunFailed,
    RunStopped,
    StageSkipped,
    StageSucceeded,
)
from runstate.core.facts import Failed, Outcome, Skipped, Succeeded
from runstate.core.machine import Phase, is_over, phase_of
from runstate.core.model import RunContext
from runstate.core.run import Run
from runstate.core.times import parse_time
from runstate.pipeline.options import kind_of
from runstate.pipeline.stage import Stage

MAX_INTERRUPTIONS = 3  # of one stage in one run, so a stage that kills its server does not loop


@dataclass(frozen=True, slots=True)
class Execute:
    """Run this attempt, which the document already shows as running."""

    stage: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit this event, then decide again."""

    event: Event


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before this time, in milliseconds since the Unix epoch, unless somebody asks to stop."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over."""


Action = Execute | Commit | WaitUntil | Finish


def decide(run: Run, stages: Mapping[str, Stage], *, now_ms: int, timeout_s: float | None = None) -> Action:
    """Return the one thing to do next for a run of which nothing is alive.

    Args:
        timeout_s: What the run may take, see `deadline_ms`.
    """
    context = run.context
    if is_over(context.state):
        return Finish()
    if context.stop_requested is not None:
        return Commit(RunStopped())
    if phase_of(context.state) is Phase.SCHEDULED:
        return Commit(RunBegun())
    missing = [name for name in context.stage_order if name not in stages]
    if missing:
        return Commit(not_served(f"its pipeline {context.pipeline} has no stage {missing[0]} any more"))
    deadline = deadline_ms(run, timeout_s)
    if deadline is not None and now_ms >= deadline:
        late = _run_took_too_long(timeout_s)
        return Commit(RunFailed(late.error, late.code))
    match phase_of(context.state):
        case Phase.STARTING:
            return Commit(AttemptStarted(context.stage_order[0]))
        case Phase.RUNNING:
            stage = current_stage(context)
            return Execute(stage, context.stages[stage].attempt)
        case Phase.RETRYING:
            stage = current_stage(context)
            due_ms = retry_due_ms(run, stages[stage])
            if now_ms >= due_ms:
                return Commit(AttemptStarted(stage))
            return WaitUntil(due_ms if deadline is None else min(due_ms, deadline))
        case other:
            raise AssertionError(f"an active run is never {other}")


def retry_due_ms(run: Run, stage: Stage) -> int:
    """Return when a retrying stage's next attempt may begin, in milliseconds since the Unix epoch."""
    record = run.context.stages[stage.name]
    if record.error_code == "interrupted" or record.ended_at is None:
        return 0
    chance = chance_of(f"{run.context.run_id}/{stage.name}/{record.attempt}")
    return parse_time(record.ended_at) + round(1000 * pause_s(stage, run.ledger.failures, chance))


def pause_s(stage: Stage, failures: int, chance: float) -> float:
    """Return the pause after so many failures (from 1): the base, doubling, a quarter of it more by chance, bounded.

    Args:
        chance: From [0, 1).
    """
    if failures < 1:
        return 0.0
    doubled = stage.backoff_s * 2.0 ** min(failures - 1, 30)
    return float(min(doubled * (1 + chance / 4), stage.backoff_max_s))


def chance_of(name: str) -> float:
    """Return a number from [0, 1) that is any, and always the same for one name: a restart must not move a due time."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


@dataclass(frozen=True, slots=True)
class Limit:
    """How long an attempt may take."""

    seconds: float | None  #: None: for ever.
    failed: Failed  #: What it means that it took longer.


def limit_of(run: Run, stage: Stage, *, now_ms: int, timeout_s: float | None) -> Limit:
    """Return how long an attempt that begins now may take: as long as its stage may, within what is left for the run."""
    own = Limit(stage.timeout_s, _took_too_long(f"the stage took longer than {stage.timeout_s or 0:g} s"))
    deadline = deadline_ms(run, timeout_s)
    if deadline is None:
        return own
    left_s = max(0.0, (deadline - now_ms) / 1000)
    if own.seconds is not None and own.seconds < left_s:
        return own
    return Limit(left_s, _run_took_too_long(timeout_s))


def deadline_ms(run: Run, timeout_s: float | None) -> int | None:
    """Return when a run must be over: so long after its start, or after a person let it go on; None: never."""
    since = run.ledger.retried_at or run.context.started_at
    return None if timeout_s is None or since is None else parse_time(since) + round(1000 * timeout_s)


def _run_took_too_long(timeout_s: float | None) -> Failed:
    return _took_too_long(f"the run took longer than {timeout_s or 0:g} s", final=True)


def _took_too_long(what: str, *, final: bool = False) -> Failed:
    return Failed(f"TimeoutError: {what}", "timeout", final, kinds=(kind_of(TimeoutError),))


def judge(run: Run, stage: Stage, attempt: int, outcome: Outcome) -> Event:
    """Return what the end of an attempt means for the run, if nobody had asked for it."""
    match outcome:
        case Succeeded(outputs):
            return StageSucceeded(stage.name, attempt, outputs)
        case Skipped():
            return StageSkipped(stage.name, attempt)
        case Failed(error, code, final):
            retry = not final and run.ledger.failures < stage.retries and _is_retried(stage, outcome)
            return AttemptFailed(stage.name, attempt, error, code, retry)
        case _:
            assert_never(outcome)


def _is_retried(stage: Stage, failed: Failed) -> bool:
    """Return whether `retry_on` names the failure's code or one of its exception's classes."""
    return stage.retry_on is None or not {failed.code, *failed.kinds}.isdisjoint(stage.retry_on)


def interrupted(run: Run, stage: Stage, *, clean: bool) -> Event:
    """Return what it means that the server went away under the running stage.

    Args:
        clean: The server was asked to end, so the stage is not suspected of having killed it.
    """
    attempt = run.context.stages[stage.name].attempt
    error = "Interrupted: the server went away while the stage was running"
    if stage.on_interrupt == "fail":
        return AttemptFailed(stage.name, attempt, error, "interrupted", retry=False)
    if not clean and run.ledger.interruptions + 1 >= MAX_INTERRUPTIONS:
        error += f", {MAX_INTERRUPTIONS} times in this run"
        return AttemptFailed(stage.name, attempt, error, "interrupted", retry=False)
    return AttemptInterrupted(stage.name, clean)


def recover(run: Run, stages: Mapping[str, Stage]) -> Event | None:
    """Return what a restart means for a run that was active, once none of its processes is alive. None: it goes on."""
    context = run.context
    if context.stop_requested is not None:
        return RunStopped()
    if phase_of(context.state) is Phase.RUNNING:
        stage = stages.get(current_stage(context))
        if stage is not None:
            return interrupted(run, stage, clean=False)
    return None


def not_served(why: str) -> Event:
    """Return the end of a run that this server cannot execute (PROTOCOL D9)."""
    return RunFailed(f"NotStartable: {why}", "not_startable")


def current_stage(context: RunContext) -> str:
    """Return the stage of a run that is running or retrying."""
    assert context.current_stage is not None, f"a run in {context.state} has a current stage"
    return context.current_stage
