"""How a command ends: its exit code, and the one sentence that says why.

| code | means                                                                |
| ---- | -------------------------------------------------------------------- |
| 0    | done                                                                 |
| 1    | the run or check failed, or the world did                            |
| 2    | wrong usage: what was asked for is not there, or not allowed         |
| 3    | the server is not reachable                                          |
| 4    | refused: in use, already running, blocked, not allowed, no token     |
| 130  | interrupted, or the run was stopped                                  |
"""

from __future__ import annotations

from runstate.core.errors import CallerError, RunstateError

DONE, FAILED, USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_REFUSALS = {"in_use", "already_running", "not_allowed", "blocked", "conflict", "unauthorized", "forbidden"}
_UNREACHABLE = {"unreachable"}
# What a server answers when the asking was wrong, whatever class it travels in.
_WRONG = {"not_found", "invalid", "bad_query", "bad_json", "too_large", "unsupported_media_type"}


class Usage(CallerError):
    """The command line asks for something that does not exist or makes no sense; the text says what to type."""


class Failure(RunstateError):
    """The command could not do its work; the text is all there is to say."""

    code = "failed"


def exit_code_of(error: RunstateError) -> int:
    """Return the exit code that `error` ends the program with."""
    if error.code in _REFUSALS:
        return REFUSED
    if error.code in _UNREACHABLE:
        return UNREACHABLE
    if error.code in _WRONG:
        return USAGE
    return FAILED


def first_of(error: BaseException) -> BaseException:
    """Return what a task group wraps: one of our errors if there is one, else the first."""
    while isinstance(error, BaseExceptionGroup):
        ours = [inner for inner in error.exceptions if isinstance(first_of(inner), RunstateError)]
        error = (ours or list(error.exceptions))[0]
    return error


def exit_code_of_state(state: str) -> int:
    """Return the exit code of a run that ended in `state`."""
    # A run that was cancelled before it began is idle.
    return {"success": DONE, "stopped": INTERRUPTED, "idle": INTERRUPTED}.get(state, FAILED)
