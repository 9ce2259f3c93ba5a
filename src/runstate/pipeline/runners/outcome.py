"""What a stage's return value, exception or exit status means: the one mapping both runners use.

Law: values in, values out. Every sentence that a person reads about a failed attempt is made here.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Mapping

from runstate.core.canonical import FrozenJson
from runstate.core.errors import InvalidValue
from runstate.core.facts import Failed, Outcome, Skipped, Succeeded
from runstate.core.model import EMPTY, MAX_ERROR_BYTES, MAX_OUTPUTS_BYTES, cut_text
from runstate.pipeline.options import kind_of
from runstate.pipeline.stage import Fatal, Skip

MAX_TRACEBACK_LINES = 200
MAX_LINE_BYTES = 8 * 1024  # of one log line; PROTOCOL is silent, a line of text is meant
MAX_CODE_BYTES = 64
MAX_KINDS = 32
MAX_KIND_BYTES = 512


class StopRequested(BaseException):
    """Raised in a plain stage's main thread when it is asked to stop, so that its `finally` blocks run."""


STOPPED = Failed(error="Stopped: the stage was asked to stop", code="stopped")
KILLED = Failed(error="Killed: the stage was killed", code="killed")
OUT_OF_MEMORY = "OutOfMemory: memory ran out, and the kernel killed the {}"
ORPHANED = Failed(error="Killed: the fork server died, so the worker was killed", code="killed")


def outcome_of_value(value: object, stage: str) -> Outcome:
    """Return what it means that `stage` returned `value`: its outputs, or `bad_output`."""
    if value is None:
        return Succeeded(EMPTY)
    if not isinstance(value, Mapping):
        return _bad_output(stage, f"outputs is of type {type(value).__name__}; return a JSON object (dict) or None")
    # The walk stops at the limit, so a huge value costs the server's loop nothing.
    if not _may_fit(value, MAX_OUTPUTS_BYTES):
        return _too_large(stage)
    try:
        outputs = FrozenJson(value, "outputs")
    except InvalidValue as exc:
        return _bad_output(stage, str(exc))
    return Succeeded(outputs) if len(outputs.encoded) <= MAX_OUTPUTS_BYTES else _too_large(stage)


def outcome_of_exception(exc: BaseException) -> Outcome:
    """Return what it means that a stage raised `exc`; being asked to stop is the runner's to judge."""
    if isinstance(exc, Skip):
        return Skipped(cut_text(_text(exc), MAX_ERROR_BYTES))
    if isinstance(exc, Fatal):
        return Failed(error=_sentence(exc), code=cut_text(str(exc.code), MAX_CODE_BYTES), final=True)
    kinds = kinds_of(exc)
    if isinstance(exc, MemoryError):
        return Failed(error=_sentence(exc), code="out_of_memory", kinds=kinds)
    if isinstance(exc, SystemExit):
        error = f"SystemExit: the stage called sys.exit({exc.code!r:.100})"
        return Failed(error=error, code="exit_status", kinds=kinds)
    return Failed(error=_sentence(exc), code="exception", kinds=kinds)


def kinds_of(exc: BaseException) -> tuple[str, ...]:
    """Return the names of an exception's classes, nearest first, bounded."""
    classes = [cls for cls in type(exc).__mro__ if issubclass(cls, BaseException)]
    return tuple(cut_text(kind_of(cls), MAX_KIND_BYTES) for cls in classes[:MAX_KINDS])


def outcome_of_load(exc: BaseException, stage: str) -> Outcome:
    """Return what it means that the function of `stage` cannot be had."""
    error = cut_text(f"NotStartable: stage {stage} cannot be imported: {_sentence(exc)}", MAX_ERROR_BYTES)
    return Failed(error=error, code="not_startable", final=True)


def outcome_of_exit(returncode: int, *, for_memory: bool = False) -> Failed:
    """Return what it means that a worker ended without a result; a negative `returncode` is a signal.

    Args:
        for_memory: The kernel has ended processes because memory ran out while the worker lived.
    """
    if returncode >= 0:
        return Failed(f"ExitStatus: the worker exited with status {returncode} without a result", code="exit_status")
    if for_memory and -returncode == signal.SIGKILL:
        return Failed(OUT_OF_MEMORY.format("worker"), code="out_of_memory")
    return Failed(f"Killed: the worker was killed by {signal_name(-returncode)}", code="killed")


def failure_of_command(status: int, *, last_words: str, for_memory: bool) -> Failed:
    """Return what it means that a command's shell ended with a `status` other than 0; a negative one is a signal.

    Args:
        last_words: The last line of its stderr, "" for none.
        for_memory: The kernel has ended processes because memory ran out while the command ran.
    """
    # A shell says 128 + n where signal n ended the program that it waited for.
    if for_memory and status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return Failed(OUT_OF_MEMORY.format("command"), code="out_of_memory")
    if status < 0:
        return Failed(f"Killed: the command was killed by {signal_name(-status)}", code="killed")
    why = f" (128 + {status - 128}: a program was killed by {signal_name(status - 128)})" if 128 < status < 160 else ""
    words = f": {last_words}" if last_words else ""
    error = cut_text(f"ExitStatus: the command exited with status {status}{why}{words}", MAX_ERROR_BYTES)
    return Failed(error, code="exit_status")


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9; real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def traceback_lines(exc: BaseException) -> list[str]:
    """Return the traceback as log lines, without the runner's own frame, bounded."""
    inner = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
    text = "".join(traceback.format_exception(type(exc), exc, inner))
    lines = [cut_text(line, MAX_LINE_BYTES) for line in text.rstrip("\n").split("\n")]
    if len(lines) <= MAX_TRACEBACK_LINES:
        return lines
    # The end names the error; the beginning names the stage.
    half = MAX_TRACEBACK_LINES // 2
    return [*lines[:half], f"… [{len(lines) - 2 * half} lines cut]", *lines[-half:]]


def has_traceback(outcome: Outcome) -> bool:
    """Return whether a person wants the traceback of this outcome's exception in the log."""
    return isinstance(outcome, Failed) and outcome.code not in ("stopped", "bad_output", "exit_status")


def _bad_output(stage: str, why: str) -> Failed:
    return Failed(error=cut_text(f"BadOutput: stage {stage}: {why}", MAX_ERROR_BYTES), code="bad_output")


def _too_large(stage: str) -> Failed:
    limit = MAX_OUTPUTS_BYTES // 1024
    return _bad_output(stage, f"outputs is larger than {limit} KiB; write a file into ctx.workdir and return its path")


def _may_fit(value: object, limit_bytes: int) -> bool:
    """Return False where `value` surely takes more than `limit_bytes`; looks at no more than that many members."""
    least, todo = 0, [value]
    while todo:
        member = todo.pop()
        if isinstance(member, FrozenJson):
            least += len(member.encoded)
        elif isinstance(member, str):
            least += len(member) + 2
        elif isinstance(member, Mapping | list | tuple):
            least += max(2, len(member))
            if least <= limit_bytes:
                todo.extend(member.values() if isinstance(member, Mapping) else member)
                least += sum(len(key) for key in member if isinstance(key, str)) if isinstance(member, Mapping) else 0
        else:
            least += 1
        if least > limit_bytes:
            return False
    return True


def _sentence(exc: BaseException) -> str:
    return cut_text(f"{type(exc).__name__}: {_text(exc)}", MAX_ERROR_BYTES)


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # a user's exception whose own __str__ is broken
        return "(its text cannot be shown)"
