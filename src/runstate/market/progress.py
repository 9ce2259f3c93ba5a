"""How far a stage is: one number that never falls, said from several threads, with the pace so far."""

from __future__ import annotations

import os
import threading
import time

from runstate.market.failures import Stopped
from runstate.market.manifest import Run


def cores() -> int:
    """Return how many threads have work side by side."""
    return max(1, os.cpu_count() or 1)


def paced(count: float, begun: float, what: str) -> str:
    """Return `1 234 rows/s` for `count` since the monotonic instant `begun`."""
    return f"{spaced(count / max(time.monotonic() - begun, 1e-3))} {what}/s"


def spaced(number: float) -> str:
    """Return the number with a space between thousands."""
    return f"{number:,.0f}".replace(",", " ")


class Steps:
    """The items of a stage. Each call leaves the stage if the run was asked to stop."""

    def __init__(self, run: Run, total: int, unit: str, *, done: float = 0) -> None:
        self._run, self._total, self._unit, self._done = run, total, unit, float(done)
        self._lock = threading.Lock()

    def say(self, message: str | None = None, *, by: float = 0) -> None:
        """Count `by` items more, in parts of an item where one is large, and say what goes on.

        Raises:
            Stopped: The run was asked to stop.
        """
        with self._lock:
            self._done = min(self._done + by, float(self._total))
            done = round(self._done, 3)
            if self._run.stopping:
                raise Stopped(f"stopped after {done:g} of {self._total} {self._unit}")
            self._run.progress(int(done) if done.is_integer() else done, self._total, self._unit, message)


class SeriesSteps:
    """The files of a series among those of the stage: half done when read, whole when their days are written."""

    def __init__(self, steps: Steps, name: str) -> None:
        self._steps, self._name = steps, name
        self._begun = time.monotonic()
        self._part, self._part_rows, self._part_share = "", 0, 0.0  # the one being read
        self._rows, self._read, self._skipped = 0, 0.0, 0  # of all parts before it
        self._counted = 0.0

    def reading(self, part: str, rows: int, share: float) -> None:
        """Say how many rows of a part were read, and what share of it."""
        if part != self._part:
            self._rows, self._read = self._rows + self._part_rows, self._read + self._part_share
            self._part = part
        self._part_rows, self._part_share = rows, share
        pace = f": {spaced(rows)} rows, {self._pace()}" if rows else ""
        self._say(f"reading {part}{pace}", 0.0)

    def skipped(self) -> None:
        """Say that a part is as it was."""
        self._skipped += 1
        self._say(None, 0.0)

    def writing(self, month: str, done: int, total: int) -> None:
        """Say which month is decided, and how many are done."""
        self._say(f"writing {self._name} {month}, {done} of {total} done: {self._pace()}", done / total)

    def done(self, parts: int) -> None:
        """Say that all is written."""
        self._advance(None, float(parts))

    def _pace(self) -> str:
        return paced(self._rows + self._part_rows, self._begun, "rows")

    def _say(self, message: str | None, written: float) -> None:
        self._advance(message, self._skipped + (self._read + self._part_share) * (1 + written) / 2)

    def _advance(self, message: str | None, to: float) -> None:
        by = max(0.0, to - self._counted)
        self._counted += by
        self._steps.say(message, by=by)
