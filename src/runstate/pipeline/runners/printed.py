"""Facts that a command prints: lines that begin with `::progress` or `::outputs`; every other line is a log line.

    ::progress DONE[/TOTAL] [UNIT [MESSAGE]]
    ::outputs {JSON object}

Law: a line in, a value out. What is not understood as progress is shown as a warning and changes nothing; what is not
understood as outputs fails the attempt with `bad_output` at its end, since its outputs are not what it meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runstate.core.canonical import Json, decode
from runstate.core.errors import InvalidValue
from runstate.core.facts import Failed, Outcome
from runstate.core.model import MAX_OUTPUTS_BYTES, Progress, cut_text, make_progress
from runstate.pipeline.runners.outcome import outcome_of_value

OUTPUTS = "::outputs"
#: Of one `::outputs` line: 64 KiB of outputs spelled with escapes.
MAX_OUTPUTS_LINE_BYTES = 4 * MAX_OUTPUTS_BYTES
SHOWN_BYTES = 200  # of a line that was not understood
TOO_MUCH = f"outputs is larger than {MAX_OUTPUTS_BYTES // 1024} KiB; write a file into the workdir and print its path"

_NUMBER = r"[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?"
_PROGRESS = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?(?:\s+(\S+)(?:\s+(.*))?)?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A line that looks like a fact and is none."""

    why: str


def fact_in(line: str) -> Progress | dict[str, Json] | NotUnderstood | None:
    """Return the progress or outputs that a line of output says, None for a log line."""
    word, _, rest = line.partition(" ")
    if word == "::progress":
        return _progress_in(rest.strip())
    if word == OUTPUTS:
        return _outputs_in(rest)
    return None


def _progress_in(text: str) -> Progress | NotUnderstood:
    found = _PROGRESS.fullmatch(text)
    if found is None:
        return NotUnderstood(
            f"the progress {cut_text(text, SHOWN_BYTES)!r} is not understood; "
            "print ::progress DONE[/TOTAL] [UNIT [MESSAGE]], such as ::progress 3/10 files"
        )
    done, total, unit, message = found.groups()
    try:
        return make_progress(_number(done), None if total is None else _number(total), unit, message)
    except (InvalidValue, OverflowError) as exc:
        return NotUnderstood(f"the progress {cut_text(text, SHOWN_BYTES)!r} is refused: {exc}")


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _outputs_in(text: str) -> dict[str, Json] | NotUnderstood:
    if len(text.encode()) > MAX_OUTPUTS_LINE_BYTES - 2 * len(OUTPUTS):  # it was cut, or nearly
        return NotUnderstood(TOO_MUCH)
    try:
        outputs = decode(text)
    except InvalidValue as exc:
        return NotUnderstood(f"outputs is {cut_text(text, SHOWN_BYTES)!r}, which is not JSON: {exc}")
    if not isinstance(outputs, dict):
        return NotUnderstood(f"outputs is {cut_text(text, SHOWN_BYTES)!r}; print a JSON object")
    return outputs


class Outputs:
    """What the `::outputs` lines of an attempt say together: later members win. Holds little more than a stage may return."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._members: dict[str, Json] = {}
        self._added_bytes = 0
        self._bad: Failed | None = None

    def add(self, members: dict[str, Json], line_bytes: int) -> NotUnderstood | None:
        """Add the members of a line of so many bytes; say so where they are too much."""
        if self._bad is not None:
            return None
        self._members |= members
        self._added_bytes += line_bytes
        if self._added_bytes <= MAX_OUTPUTS_BYTES:
            return None
        # Members may have replaced each other, so only now it is worth to measure.
        if isinstance(outcome_of_value(self._members, self._stage), Failed):
            return self.refuse(TOO_MUCH)
        self._added_bytes = MAX_OUTPUTS_BYTES // 2  # and not again with each line
        return None

    def refuse(self, why: str) -> NotUnderstood:
        """Let the attempt fail for its outputs; the first reason stays."""
        if self._bad is None:
            self._bad = Failed(f"BadOutput: stage {self._stage}: {why}", "bad_output")
        self._members = {}
        return NotUnderstood(why)

    def outcome(self) -> Outcome:
        """Return what it means that the command has succeeded."""
        return self._bad or outcome_of_value(self._members, self._stage)
