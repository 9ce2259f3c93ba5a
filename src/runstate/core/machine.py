"""The state machine of a run: phases, the moves between them, and the words on the wire (PROTOCOL D2, D3, C6).

    idle ──▶ scheduled ──▶ starting ──▶ running_<first> ──▶ … ──▶ running_<last> ──▶ success
      └────────────────────▶ │                 │  ▲
                             ▼                 ▼  │ same stage
                      failed, stopped ◀──── retrying

All moves stand here as data. The machine knows phases and a separate current stage; `running_<stage>` is derived.
`success`, `failed` and `stopped` are terminal; only a person's retry leaves the last two.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

from runstate.core.errors import InvalidValue, TransitionRejected

Status = Literal["idle", "running", "stopped", "error"]


class Phase(StrEnum):
    """Where a run is, without its stage."""

    IDLE = "idle"
    SCHEDULED = "scheduled"
    STARTING = "starting"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    STOPPED = "stopped"


MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.IDLE: frozenset({Phase.SCHEDULED, Phase.STARTING}),
    Phase.SCHEDULED: frozenset({Phase.STARTING, Phase.IDLE}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.FAILED, Phase.STOPPED}),
    Phase.RUNNING: frozenset({Phase.RUNNING, Phase.SUCCESS, Phase.RETRYING, Phase.FAILED, Phase.STOPPED}),
    Phase.RETRYING: frozenset({Phase.RUNNING, Phase.FAILED, Phase.STOPPED}),
    Phase.SUCCESS: frozenset(),
    Phase.FAILED: frozenset({Phase.RETRYING}),
    Phase.STOPPED: frozenset({Phase.RETRYING}),
}

TERMINAL = frozenset({Phase.SUCCESS, Phase.FAILED, Phase.STOPPED})
TERMINAL_STATES = tuple(sorted(TERMINAL))

_STATUS: dict[Phase, Status] = {
    Phase.IDLE: "idle",
    Phase.SUCCESS: "idle",
    Phase.STOPPED: "stopped",
    Phase.FAILED: "error",
    Phase.SCHEDULED: "running",
    Phase.STARTING: "running",
    Phase.RUNNING: "running",
    Phase.RETRYING: "running",
}


class State(NamedTuple):
    """Where a run is."""

    phase: Phase
    stage: str | None  #: While running or retrying, else None. A retrying state's stage is not on the wire's word.

    @property
    def word(self) -> str:
        """The wire's `state`."""
        return f"running_{self.stage}" if self.phase is Phase.RUNNING else str(self.phase)


def phase_of(word: str) -> Phase:
    """Return the phase that a wire `state` spells.

    Raises:
        InvalidValue: The word is unknown (never taken for `idle`, D3).
    """
    if word.startswith("running_") and len(word) > len("running_"):
        return Phase.RUNNING
    try:
        phase = Phase(word)
    except ValueError:
        phase = Phase.RUNNING
    if phase is Phase.RUNNING:  # the bare word stands for no state
        raise InvalidValue(f"{word!r} is not a state of a run")
    return phase


def status_of(word: str) -> Status:
    """Return the coarse `status` of a wire `state` (D3).

    Raises:
        InvalidValue: The word is unknown.
    """
    return _STATUS[phase_of(word)]


def is_terminal(word: str) -> bool:
    """Return whether a run in this wire `state` is over."""
    return phase_of(word) in TERMINAL


def is_over(word: str) -> bool:
    """Return whether nothing happens any more to a run in this wire `state`: it ended, or was cancelled before it began."""
    return status_of(word) != "running"


def check_move(plan: Sequence[str], old: State, new: State) -> None:
    """Check a move of a run whose stages, in running order, are `plan`.

    Raises:
        TransitionRejected: There is no such move (D2); the text names both states.
    """
    if new.phase not in MOVES[old.phase] or not _stages_fit(plan, old, new):
        raise TransitionRejected(old.word, new.word)


def _stages_fit(plan: Sequence[str], old: State, new: State) -> bool:
    match old.phase, new.phase:
        case Phase.STARTING, Phase.RUNNING:
            return new.stage == plan[0]
        case Phase.RUNNING, Phase.RUNNING:
            return old.stage in plan[:-1] and new.stage == plan[plan.index(old.stage) + 1]
        case Phase.RUNNING, Phase.SUCCESS:
            return old.stage == plan[-1]
        case (Phase.RUNNING, Phase.RETRYING) | (Phase.RETRYING, Phase.RUNNING):
            return new.stage == old.stage
        case ((Phase.FAILED | Phase.STOPPED), Phase.RETRYING):
            return new.stage in plan
        case _:
            return True
