"""Reports: the facts that whoever executes a run elsewhere sends (PROTOCOL C8), as they stand on the wire, and what they mean.

A report is a list of facts, oldest first. `fold` turns it into the events of one commit; each fact is judged on the run
as the facts before it leave it, and one that may not be refuses them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from runstate.core.canonical import FrozenJson
from runstate.core.errors import InvalidValue, ReporterRefused, StaleAttempt, TransitionRejected
from runstate.core.events import (
    AttemptFailed,
    AttemptStarted,
    Event,
    MetadataChanged,
    ProgressReported,
    RunFailed,
    RunStopped,
    StageSkipped,
    StageSucceeded,
    WorkerHeard,
)
from runstate.core.machine import Phase, is_over, phase_of
from runstate.core.model import RunContext, cut_text, make_progress
from runstate.core.run import Run, step

MAX_FACTS = 1000  # in one report
MAX_WORD_BYTES = 64  # of an error code or a level of logging
MAX_LINE_BYTES = 8 * 1024  # of one log line
KEPT_ANSWERS = 100  # of the latest reports of a run; a reporter has one under way


class Reporter(msgspec.Struct, frozen=True, kw_only=True):
    """Who executes a run elsewhere, and what they were answered; journalled beside the run."""

    token: str  #: The fencing token, as the reporter was given it: no key to anything but this run.
    lease_s: float  #: Seconds of silence after which the run is over.
    at_ms: int  #: Wall time of the opening, milliseconds since the Unix epoch.
    next: int | None = None  #: The `seq` that comes next; None before the first report, which is 0 or 1.
    versions: tuple[int, ...] = ()  #: The run's version after each of the latest reports, up to `next` − 1.

    def version_of(self, seq: int) -> int | None:
        """Return the version that a report was answered with; None: it was not taken, or too long ago."""
        if self.next is None or not self.next - len(self.versions) <= seq < self.next:
            return None
        return self.versions[seq - self.next]

    def check_next(self, seq: int) -> None:
        """Check that a report is the one that comes next.

        Raises:
            ReporterRefused: There is a gap, or its answer is not kept any more.
        """
        if self.next is None:
            if seq > 1:
                raise ReporterRefused(f"seq {seq} cannot be the first; begin with 1")
        elif seq > self.next:
            raise ReporterRefused(f"seq {seq} leaves a gap; {self.next} comes next")
        elif seq < self.next:
            raise ReporterRefused(
                f"seq {seq} was taken so long ago that its answer is not kept; {self.next} comes next"
            )

    def after(self, seq: int, version: int) -> Reporter:
        """Return the reporter after a report was taken."""
        return msgspec.structs.replace(self, next=seq + 1, versions=(*self.versions, version)[-KEPT_ANSWERS:])


class _Fact(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="fact"
):
    pass


class StageStarted(_Fact, frozen=True, kw_only=True, tag="stage_started"):
    """The reporter begins with a stage: the first one, or the one that began when the stage before it ended."""

    stage: str


class ProgressTold(_Fact, frozen=True, kw_only=True, tag="progress"):
    """The stage is this far."""

    stage: str
    done: int | float
    total: int | float | None = None
    unit: str | None = None
    message: str | None = None


class LogTold(_Fact, frozen=True, kw_only=True, tag="log"):
    """Lines for the run's log; without a stage, of the current one."""

    text: str
    stage: str | None = None
    level: str = "info"


class HeartbeatTold(_Fact, frozen=True, kw_only=True, tag="heartbeat"):
    """The reporter is alive."""

    stage: str | None = None


class StageSucceededTold(_Fact, frozen=True, kw_only=True, tag="stage_succeeded"):
    """The stage is done."""

    stage: str
    outputs: dict[str, Any] = msgspec.field(default_factory=dict)


class StageFailedTold(_Fact, frozen=True, kw_only=True, tag="stage_failed"):
    """The stage failed, and the run with it; without a stage, the run failed outside of any."""

    stage: str | None = None
    error: str = "Failed: the stage failed"
    error_code: str = "exception"


class StageSkippedTold(_Fact, frozen=True, kw_only=True, tag="stage_skipped"):
    """There was nothing to do in the stage."""

    stage: str
    reason: str | None = None


class MetadataTold(_Fact, frozen=True, kw_only=True, tag="metadata"):
    """The run's metadata change by a merge patch (RFC 7396)."""

    metadata: dict[str, Any]
    stage: str | None = None


ReportedFact = (
    StageStarted
    | ProgressTold
    | LogTold
    | HeartbeatTold
    | StageSucceededTold
    | StageFailedTold
    | StageSkippedTold
    | MetadataTold
)

Facts = tuple[ReportedFact, ...]


class Told(NamedTuple):
    """A line for the run's log."""

    stage: str
    attempt: int
    level: str
    text: str


class Folded(NamedTuple):
    """What a report means."""

    events: tuple[Event, ...]
    lines: tuple[Told, ...]


def read_facts(value: object) -> Facts:
    """Return the facts that a decoded JSON array spells.

    Raises:
        InvalidValue: It spells none; the text names the member.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MAX_FACTS:
        raise InvalidValue(f"facts is a list of 1 to {MAX_FACTS} facts")
    try:
        return msgspec.convert(value, Facts)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise InvalidValue(f"facts: {exc}".replace("`$[", "`facts[")) from exc


def fold(run: Run, facts: Sequence[ReportedFact], *, now_ms: int) -> Folded:
    """Return what `facts` mean for a run that is not over; `run` is left as it was.

    The first fact that ends a stage after a stop was asked for ends the run as stopped, and what follows it is dropped: it
    tells of work that the reporter did not know to be stopped (PROTOCOL C5, C8).

    Raises:
        TransitionRejected: The state machine has no such move.
        StaleAttempt: A fact is of a stage that is not running.
        InvalidValue: A value may not stand in a document, or the run has no such stage.
    """
    events: list[Event] = []
    lines: list[Told] = []
    for fact in facts:
        context = run.context
        if fact.stage is not None and fact.stage not in context.stages:
            raise InvalidValue(
                f"run {context.run_id} has no stage {fact.stage!r}; it has {', '.join(context.stage_order)}"
            )
        if isinstance(fact, LogTold):
            lines.extend(_lines(context, fact))
            continue
        event = _event_of(context, fact)
        if event is None:
            continue
        if isinstance(fact, StageSkippedTold) and fact.reason:
            lines.extend(_lines(context, LogTold(stage=fact.stage, text=f"skipped: {fact.reason}")))
        run = step(run, event, now_ms=now_ms)
        events.append(event)
        if is_over(run.context.state) and context.stop_requested is not None:
            break
    return Folded(tuple(events), tuple(lines))


def _event_of(context: RunContext, fact: ReportedFact) -> Event | None:
    """Return what one fact means; None: nothing that the document shows."""
    ends = isinstance(fact, StageSucceededTold | StageFailedTold | StageSkippedTold)
    if ends and fact.stage is not None:
        attempt = _attempt_of(context, fact.stage)
    if ends and context.stop_requested is not None:
        return RunStopped()
    match fact:
        case StageStarted(stage=stage):
            return _started(context, stage)
        case ProgressTold(stage=stage):
            progress = make_progress(fact.done, fact.total, fact.unit, fact.message)
            return ProgressReported(stage, _attempt_of(context, stage), progress)
        case HeartbeatTold():
            named = fact.stage or _running_stage(context)
            return None if named is None else WorkerHeard(named, _attempt_of(context, named))
        case MetadataTold(metadata=patch):
            of_stage = 0 if fact.stage is None else _attempt_of(context, fact.stage)
            return MetadataChanged(fact.stage, of_stage, FrozenJson(patch, "metadata"))
        case StageSucceededTold(stage=stage, outputs=outputs):
            return StageSucceeded(stage, attempt, FrozenJson(outputs, "outputs"))
        case StageSkippedTold(stage=stage):
            return StageSkipped(stage, attempt)
        case StageFailedTold(stage=None, error=error, error_code=code):
            return RunFailed(error, cut_text(code, MAX_WORD_BYTES))
        case StageFailedTold(stage=str(stage), error=error, error_code=code):
            return AttemptFailed(stage, attempt, error, cut_text(code, MAX_WORD_BYTES), retry=False)
        case _:
            raise AssertionError(f"{fact} has a meaning of its own")


def _started(context: RunContext, stage: str) -> Event:
    if phase_of(context.state) is Phase.STARTING:
        return AttemptStarted(stage)
    if context.state == f"running_{stage}":
        # The machine began it in the commit that ended the stage before.
        return WorkerHeard(stage, context.stages[stage].attempt)
    raise TransitionRejected(context.state, f"running_{stage}")


def _running_stage(context: RunContext) -> str | None:
    return context.current_stage if phase_of(context.state) is Phase.RUNNING else None


def _attempt_of(context: RunContext, stage: str) -> int:
    if _running_stage(context) != stage:
        raise StaleAttempt(f"stage {stage} is not running, the run is {context.state}; what was told of it is refused")
    return context.stages[stage].attempt


def _lines(context: RunContext, fact: LogTold) -> list[Told]:
    stage = fact.stage or _running_stage(context) or context.stage_order[0]
    level = cut_text(fact.level.lower(), MAX_WORD_BYTES)
    return [
        Told(stage, context.stages[stage].attempt, level, cut_text(text, MAX_LINE_BYTES))
        for text in fact.text.split("\n")
    ]
