"""Events: what happened to a run, past tense. `core/run.py` folds them into its document."""

from __future__ import annotations

from dataclasses import dataclass

from runstate.core.canonical import FrozenJson
from runstate.core.model import Progress, Worker


@dataclass(frozen=True, slots=True)
class RunBegun:
    """A run that was due and waited begins."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An execution of `stage` began: the first stage's, or one after a retry."""

    stage: str


@dataclass(frozen=True, slots=True)
class WorkerKnown:
    """The process that will execute the attempt is known; it waits for its go."""

    stage: str
    attempt: int
    worker: Worker


@dataclass(frozen=True, slots=True)
class ProgressReported:
    """The stage is this far."""

    stage: str
    attempt: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class WorkerHeard:
    """The worker said that it is alive."""

    stage: str
    attempt: int


@dataclass(frozen=True, slots=True)
class MetadataChanged:
    """The stage changed the run's metadata, or, without a stage, whoever executes the run elsewhere did."""

    stage: str | None
    attempt: int
    patch: FrozenJson  #: A merge patch (RFC 7396).


@dataclass(frozen=True, slots=True)
class StageSucceeded:
    """The stage is done; the next one begins in the same commit, or the run is a success."""

    stage: str
    attempt: int
    outputs: FrozenJson


@dataclass(frozen=True, slots=True)
class StageSkipped:
    """The stage had nothing to do; the run goes on as after a success."""

    stage: str
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The attempt failed; with `retry` the stage is tried again, else the run has failed."""

    stage: str
    attempt: int
    error: str
    code: str
    retry: bool


@dataclass(frozen=True, slots=True)
class AttemptInterrupted:
    """The server went away under the attempt; the stage will be tried again (D10)."""

    stage: str
    clean: bool  #: The server was asked to end; such an interruption is not counted against the stage.


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run cannot go on, for a reason that is no attempt's."""

    error: str
    code: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants the run to stop; it ends when nothing of it is alive (PROTOCOL C5)."""

    by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class RunStopped:
    """Nothing of the run is alive any more."""


@dataclass(frozen=True, slots=True)
class RunRetried:
    """A person wants a run that failed or was stopped to go on from the stage that did not finish."""


Event = (
    AttemptStarted
    | WorkerKnown
    | ProgressReported
    | WorkerHeard
    | MetadataChanged
    | StageSucceeded
    | StageSkipped
    | AttemptFailed
    | AttemptInterrupted
    | RunBegun
    | RunFailed
    | RunRetried
    | StopAsked
    | RunStopped
)


def word_of(event: Event) -> str:
    """Return an event's name as a cause has it: `AttemptStarted` is `attempt_started`."""
    name = type(event).__name__
    return name[0].lower() + "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name[1:])
