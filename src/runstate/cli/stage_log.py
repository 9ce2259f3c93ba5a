"""The stages' log lines as they are shown among a run's news: whole in the log's file, without tracebacks here.

A traceback is for those who debug; the news say in one line what failed.
"""

from __future__ import annotations

from typing import Protocol

from runstate.cli.console import is_debugging
from runstate.cli.words import printable

_BEGIN = "Traceback (most recent call last):"
_GOES_ON = (" ", "During handling of the above exception", "The above exception was", _BEGIN)


class Logged(Protocol):
    """A line of a run's log; `pipeline.runlog.Line` is one."""

    @property
    def stage(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def text(self) -> str: ...


class StageLog:
    """Remembers which stages are in the middle of a traceback."""

    def __init__(self) -> None:
        self._tracing: set[str] = set()

    def words(self, line: Logged) -> str | None:
        """Return how a line is shown; None: it is not."""
        if not is_debugging() and self._is_of_traceback(line):
            return None
        loud = f"{line.level}: " if line.level not in ("info", "debug") else ""
        return f"{line.stage} | {loud}{printable(line.text.rstrip())}"

    def _is_of_traceback(self, line: Logged) -> bool:
        if line.text.startswith(_BEGIN):
            self._tracing.add(line.stage)
            return True
        if line.stage not in self._tracing:
            return False
        if line.text and not line.text.startswith(_GOES_ON):
            self._tracing.discard(line.stage)  # the exception itself, which ends it
        return True
