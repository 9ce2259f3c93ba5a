"""What happens next to a run: pure decisions that the orchestrator's loop carries out.

`decide` answers with one action, `judge` with the event that an attempt's end means, `recover` with the event that a
restart means (PROTOCOL D10). None of them waits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from runstate.core.events import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptStarted,
    Event,
    RunFailed,
    RunStopped,
    StageSkipped,
    StageSucceeded,
)
from runstate.core.facts import Failed, Outcome, Skipped, Succeeded
from runstate.core.machine import Phase, is_terminal, phase_of
from runstate.core.model import RunContext
from runstate.core.run import Run
from runstate.core.times import parse_time
from runstate.pipeline.stage import Stage

MAX_BACKOFF_S = 300.0
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


def decide(run: Run, stages: Mapping[str, Stage], *, now_ms: int) -> Action:
    """Return the one thing to do next for a run of which nothing is alive."""
    context = run.context
    if is_terminal(context.state):
        return Finish()
    if context.stop_requested is not None:
        return Commit(RunStopped())
    missing = [name for name in context.stage_order if name not in stages]
    if missing:
        return Commit(not_served(f"its pipeline {context.pipeline} has no stage {missing[0]} any more"))
    match phase_of(context.state):
        case Phase.STARTING:
            return Commit(AttemptStarted(context.stage_order[0]))
        case Phase.RUNNING:
            stage = current_stage(context)
            return Execute(stage, context.stages[stage].attempt)
        case Phase.RETRYING:
            stage = current_stage(context)
            due_ms = retry_due_ms(run, stages[stage])
            return Commit(AttemptStarted(stage)) if now_ms >= due_ms else WaitUntil(due_ms)
        case other:
            raise AssertionError(f"an active run is never {other}")


def retry_due_ms(run: Run, stage: Stage) -> int:
    """Return when a retrying stage's next attempt may begin, in milliseconds since the Unix epoch."""
    record = run.context.stages[stage.name]
    if record.error_code == "interrupted" or record.ended_at is None:
        return 0
    return parse_time(record.ended_at) + round(1000 * backoff_s(stage.backoff_s, run.ledger.failures))


def backoff_s(base_s: float, failures: int) -> float:
    """Return the pause after the given number of failures (from 1): the base, doubling, at most 300 s."""
    return float(min(base_s * 2.0 ** min(failures - 1, 30), MAX_BACKOFF_S)) if failures > 0 else 0.0


def judge(run: Run, stage: Stage, attempt: int, outcome: Outcome) -> Event:
    """Return what the end of an attempt means for the run, if nobody had asked for it."""
    match outcome:
        case Succeeded(outputs):
            return StageSucceeded(stage.name, attempt, outputs)
        case Skipped():
            return StageSkipped(stage.name, attempt)
        case Failed(error, code, final):
            retry = not final and run.ledger.failures < stage.retries
            return AttemptFailed(stage.name, attempt, error, code, retry)
        case _:
            assert_never(outcome)


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
