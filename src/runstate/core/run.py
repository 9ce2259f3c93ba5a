"""`step`: the one function that makes the next state of a run.

An event is a fact that happened, past tense. `step` folds it into the document and its ledger and refuses what the state
machine does not allow; it stamps no version and no epoch, the commit does (`core/commit.py`).
Longer than others: all that can happen to a run stands in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from msgspec.structs import replace

from runstate.core.canonical import FrozenJson, Json
from runstate.core.errors import InvalidValue, StaleAttempt, TransitionRejected
from runstate.core.events import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptStarted,
    Event,
    MetadataChanged,
    ProgressReported,
    RunBegun,
    RunFailed,
    RunRetried,
    RunStopped,
    StageSkipped,
    StageSucceeded,
    StopAsked,
    WorkerHeard,
    WorkerKnown,
)
from runstate.core.machine import Phase, State, check_move, is_over, phase_of, status_of
from runstate.core.model import (
    MAX_ERROR_BYTES,
    MAX_OUTPUTS_BYTES,
    MAX_REASON_BYTES,
    Ledger,
    RunContext,
    StageRecord,
    StopRequest,
    Trigger,
    cut_text,
    progress_reserve_bytes,
    reserve_bytes,
    shorten,
)
from runstate.core.times import format_time


class Run(NamedTuple):
    """A run's document and what is remembered beside it."""

    context: RunContext
    ledger: Ledger


def new_run(
    *, pipeline: str, run_id: str, plan: Sequence[str], metadata: FrozenJson, trigger: Trigger, now_ms: int
) -> Run:
    """Return a run in `starting`, or in `scheduled` where a schedule made it due; its version 1 (D2)."""
    waits = trigger.kind == "schedule"
    context = RunContext(
        epoch="",
        pipeline=pipeline,
        run_id=run_id,
        version=0,
        state="scheduled" if waits else "starting",
        status="running",
        started_at=None if waits else format_time(now_ms),
        metadata=metadata,
        trigger=trigger,
        stage_order=tuple(plan),
        stages=dict.fromkeys(plan, StageRecord()),
    )
    return Run(context, Ledger())


def never_run(*, pipeline: str, plan: Sequence[str], epoch: str) -> RunContext:
    """Return the document of a pipeline that has never run (D5)."""
    return RunContext(
        epoch=epoch,
        pipeline=pipeline,
        run_id=None,
        version=0,
        state="idle",
        status="idle",
        stage_order=tuple(plan),
        stages=dict.fromkeys(plan, StageRecord()),
    )


def state_of(context: RunContext) -> State:
    """Return where the run is."""
    return State(phase_of(context.state), context.current_stage)


def step(run: Run, event: Event, *, now_ms: int) -> Run:  # noqa: C901, PLR0912, PLR0915 - one arm per event: the whole law in one place
    """Return the run after `event`; `run` is left as it was.

    Raises:
        TransitionRejected: The state machine has no such move.
        StaleAttempt: The event is of an attempt that is not the running one.
        InvalidValue: A value may not stand in a document.
    """
    context, ledger = run
    now = format_time(now_ms)
    match event:
        case RunBegun():
            check_move(context.stage_order, state_of(context), State(Phase.STARTING, None))
            return Run(replace(context, state="starting", started_at=now), ledger)
        case AttemptStarted(stage):
            if phase_of(context.state) is Phase.RUNNING:
                # A running stage gives way to the next one by its own success alone.
                raise TransitionRejected(context.state, f"running_{stage}")
            record = context.stages.get(stage, StageRecord())
            fresh = StageRecord(state="running", attempt=record.attempt + 1, started_at=now, heartbeat_at=now)
            moved = _move(context, Phase.RUNNING, stage, fresh, now)
            return Run(moved, replace(ledger, worker=None))
        case WorkerKnown(stage, attempt, worker):
            _running(context, stage, attempt)
            return Run(context, replace(ledger, worker=worker))
        case ProgressReported(stage, attempt, progress):
            record = replace(_running(context, stage, attempt), progress=progress, heartbeat_at=now)
            return Run(_with_stage(context, stage, record), ledger)
        case WorkerHeard(stage, attempt):
            record = replace(_running(context, stage, attempt), heartbeat_at=now)
            return Run(_with_stage(context, stage, record), ledger)
        case MetadataChanged(stage, attempt, patch):
            if stage is not None:
                _running(context, stage, attempt)
            elif is_over(context.state):
                raise StaleAttempt(f"the run is {context.state}; its metadata do not change any more")
            merged = FrozenJson(_merge(context.metadata.to_dict(), patch.to_dict()), "metadata")
            return Run(replace(context, metadata=merged), ledger)
        case StageSucceeded(stage, attempt, outputs):
            record = _running(context, stage, attempt)
            if len(outputs.encoded) > MAX_OUTPUTS_BYTES:
                raise InvalidValue(
                    f"the outputs of stage {stage} are {len(outputs.encoded)} bytes, more than {MAX_OUTPUTS_BYTES}"
                )
            done = replace(record, state="success", ended_at=now, heartbeat_at=now, outputs=outputs)
            return Run(_advance(context, stage, done, now), Ledger(retried_at=ledger.retried_at))
        case StageSkipped(stage, attempt):
            done = replace(_running(context, stage, attempt), state="skipped", ended_at=now, heartbeat_at=now)
            return Run(_advance(context, stage, done, now), Ledger(retried_at=ledger.retried_at))
        case AttemptFailed(stage, attempt, error, code, retry):
            record = replace(
                _running(context, stage, attempt),
                state="retrying" if retry else "failed",
                ended_at=now,
                error=cut_text(error, MAX_ERROR_BYTES),
                error_code=code,
            )
            phase = Phase.RETRYING if retry else Phase.FAILED
            return Run(
                _move(context, phase, stage, record, now), replace(ledger, failures=ledger.failures + 1, worker=None)
            )
        case AttemptInterrupted(stage, clean):
            if context.state != f"running_{stage}":
                raise TransitionRejected(context.state, "retrying")
            record = replace(
                context.stages[stage],
                state="retrying",
                ended_at=now,
                error="Interrupted: the server went away while the stage was running",
                error_code="interrupted",
            )
            moved = _move(context, Phase.RETRYING, stage, record, now)
            return Run(moved, replace(ledger, interruptions=ledger.interruptions + (not clean), worker=None))
        case RunFailed(error, code):
            return Run(_end(context, Phase.FAILED, "failed", cut_text(error, MAX_ERROR_BYTES), code, now), Ledger())
        case RunRetried():
            return Run(_again(context), Ledger(retried_at=now))
        case StopAsked(by, reason):
            if is_over(context.state):
                check_move(context.stage_order, state_of(context), State(Phase.STOPPED, None))
            if context.stop_requested is not None:
                return run
            why = None if reason is None else cut_text(reason, MAX_REASON_BYTES)
            asking = replace(context, stop_requested=StopRequest(at=now, by=by, reason=why))
            if phase_of(context.state) is Phase.SCHEDULED:
                # Nothing of it has begun, so nothing has to end: it is cancelled.
                return Run(replace(asking, state="idle", status="idle", ended_at=now), ledger)
            return Run(asking, ledger)
        case RunStopped():
            asked = context.stop_requested
            why = f"Stopped: {asked.reason}" if asked is not None and asked.reason else "Stopped: on request"
            return Run(
                _end(context, Phase.STOPPED, "stopped", cut_text(why, MAX_ERROR_BYTES), "stopped", now), Ledger()
            )
        case _:
            assert_never(event)


def reserve_of(event: Event, stages: int) -> int:
    """Return the bytes that the document of a run of so many stages must leave free after `event`."""
    match event:
        case MetadataChanged() | StageSucceeded():
            return reserve_bytes(stages)
        case ProgressReported():
            return progress_reserve_bytes(stages)
        case _:
            return 0


def with_short_texts(context: RunContext) -> RunContext:
    """Return the document with errors and reason cut short, for one that has no room for them in full."""
    stages = {
        name: record if record.error is None else replace(record, error=shorten(record.error))
        for name, record in context.stages.items()
    }
    asked = context.stop_requested
    if asked is not None and asked.reason is not None:
        asked = replace(asked, reason=shorten(asked.reason))
    error = None if context.error is None else shorten(context.error)
    return replace(context, stages=stages, error=error, stop_requested=asked)


def _running(context: RunContext, stage: str, attempt: int) -> StageRecord:
    """Return the stage's record if `attempt` is the one that is running: the fence of PROTOCOL C5."""
    record = context.stages.get(stage)
    if record is None or context.current_stage != stage or record.state != "running" or record.attempt != attempt:
        raise StaleAttempt(
            f"attempt {attempt} of stage {stage} is not the one that is running; what it sent is refused"
        )
    return record


def _with_stage(context: RunContext, stage: str, record: StageRecord) -> RunContext:
    return replace(context, stages={**context.stages, stage: record})


def _move(context: RunContext, phase: Phase, stage: str, record: StageRecord, now: str) -> RunContext:
    """Move the run to `phase` at `stage` together with the stage's record, in one step."""
    over = phase is Phase.FAILED
    new = State(phase, None if over else stage)
    check_move(context.stage_order, state_of(context), new)
    moved = _with_stage(context, stage, record)
    return replace(
        moved,
        state=new.word,
        status=status_of(new.word),
        current_stage=new.stage,
        ended_at=now if over else None,
        error=record.error,
        error_code=record.error_code,
        retry_count=sum(max(0, r.attempt - 1) for r in moved.stages.values()),
    )


def _advance(context: RunContext, stage: str, done: StageRecord, now: str) -> RunContext:
    """Finish `stage` and begin the next planned one, or end the run, in one step."""
    place = context.stage_order.index(stage)
    finished = _with_stage(context, stage, done)
    if place + 1 < len(context.stage_order):
        following = context.stage_order[place + 1]
        record = StageRecord(
            state="running", attempt=finished.stages[following].attempt + 1, started_at=now, heartbeat_at=now
        )
        return _move(finished, Phase.RUNNING, following, record, now)
    check_move(context.stage_order, state_of(context), State(Phase.SUCCESS, None))
    return replace(finished, state="success", status="idle", current_stage=None, ended_at=now)


def _again(context: RunContext) -> RunContext:
    """Go on with the first stage that did not finish; its attempts count on, its retries are granted again (D4)."""
    if phase_of(context.state) not in (Phase.FAILED, Phase.STOPPED):
        # A running stage may become retrying too, by its own failure; a person's wish is only for runs that are over.
        raise TransitionRejected(context.state, "retrying")
    unfinished = [name for name in context.stage_order if context.stages[name].state not in ("success", "skipped")]
    stage = unfinished[0] if unfinished else context.stage_order[-1]
    new = State(Phase.RETRYING, stage)
    check_move(context.stage_order, state_of(context), new)
    moved = _with_stage(context, stage, replace(context.stages[stage], state="retrying"))
    return replace(
        moved, state=new.word, status=status_of(new.word), current_stage=stage, ended_at=None, stop_requested=None
    )


def _end(context: RunContext, phase: Phase, stage_state: str, error: str, code: str, now: str) -> RunContext:
    """End the run as failed or stopped; its current stage, if it has one, ends likewise."""
    new = State(phase, None)
    check_move(context.stage_order, state_of(context), new)
    stage = context.current_stage
    if stage is not None:
        record = replace(context.stages[stage], state=stage_state, ended_at=now, error=error, error_code=code)
        context = _with_stage(context, stage, record)
    return replace(
        context,
        state=new.word,
        status=status_of(new.word),
        current_stage=None,
        ended_at=now,
        error=error,
        error_code=code,
    )


def _merge(target: Json, patch: Json) -> Json:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
