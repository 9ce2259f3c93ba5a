"""What a stage holds: the `StageContext` of `definition.py`, the same for a task and for a child process.

Law: nothing here waits, except where `tell` does. Progress is folded: the first call of an interval `wake`s whoever
speaks for the stage, the following ones only replace the value, and `take_progress` returns the latest. A value is
never lost: writers store before they look at the flag, the speaker clears the flag before it reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from runstate.core.canonical import FrozenJson, Json, decode
from runstate.core.errors import InvalidValue
from runstate.core.facts import Fact, LineLogged, MetadataPatched, ProgressMade
from runstate.core.model import MAX_DOCUMENT_BYTES, Progress, cut_text, make_progress
from runstate.pipeline.runners.outcome import MAX_LINE_BYTES
from runstate.ports import StageTask

MAX_LEVEL_BYTES = 32


class RunningContext:
    """The `StageContext` of one attempt."""

    def __init__(self, task: StageTask, *, tell: Callable[[Fact], None], wake: Callable[[], None]) -> None:
        """Make the context of `task`.

        Args:
            tell: Takes one fact; may block, which is the back-pressure.
            wake: Says that `take_progress` has something; called once until it was taken.
        """
        self.run_id = task.run_id
        self.pipeline = task.pipeline
        self.stage = task.stage
        self.attempt = task.attempt
        self.workdir: Path = task.workdir
        self.metadata = FrozenJson(decode(task.metadata), "metadata")
        self.asked_to_stop = False
        self.has_polled = False  #: The stage has looked at `stopping`, so it will look again.
        self._outputs = task.outputs
        self._folds = task.progress_interval_s > 0
        self._tell, self._wake = tell, wake
        self._latest: Progress | None = None
        self.is_waiting = False  #: There is progress that nobody has taken.

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the run to stop."""
        self.has_polled = True
        return self.asked_to_stop

    def progress(
        self, done: int | float, total: int | float | None = None, unit: str | None = None, message: str | None = None
    ) -> None:
        """Say how far the stage is; folded within the pipeline's `progress_interval_s`."""
        self.report(make_progress(done, total, unit, message))

    def report(self, progress: Progress) -> None:
        """Take progress that is checked already."""
        if not self._folds:
            self._tell(ProgressMade(progress))
            return
        self._latest = progress
        if not self.is_waiting:
            self.is_waiting = True
            self._wake()

    def take_progress(self) -> Progress | None:
        """Return the latest progress that nobody has taken, None if there is none."""
        if not self.is_waiting:
            return None
        self.is_waiting = False
        return self._latest

    def update_metadata(self, patch: dict[str, Json]) -> None:
        """Change the run's metadata by a merge patch (RFC 7396)."""
        frozen = FrozenJson(patch, "metadata")
        if len(frozen.encoded) > MAX_DOCUMENT_BYTES:
            raise InvalidValue(
                f"metadata is larger than {MAX_DOCUMENT_BYTES // 1024} KiB, the limit of a run's document"
            )
        self._tell(MetadataPatched(frozen))

    def outputs(self, stage: str) -> dict[str, Json]:
        """Return what an earlier stage of this run returned, as a fresh dict."""
        if stage not in self._outputs:
            raise KeyError(f"no stage {stage} has finished in this run; finished are {sorted(self._outputs)}")
        outputs: dict[str, Json] = decode(self._outputs[stage])
        return outputs

    def all_outputs(self) -> dict[str, Json]:
        """Return what each finished stage returned, by name."""
        return {stage: decode(outputs) for stage, outputs in self._outputs.items()}

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the run's log; a text of several lines becomes several."""
        level = cut_text(str(level).lower(), MAX_LEVEL_BYTES)
        for line in str(text).split("\n"):
            self._tell(LineLogged(level=level, text=cut_text(line, MAX_LINE_BYTES)))


class StageLog(logging.Handler):
    """Takes the stdlib's log records to the stage that made them."""

    def __init__(self, find: Callable[[], RunningContext | None]) -> None:
        super().__init__()
        self._find = find

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's text as lines of its stage; a record of no stage is left to the others."""
        context = self._find()
        if context is not None:
            context.log(self.format(record), record.levelname)
            return
        # Our being there must not silence the warnings that Python prints where nobody configured logging.
        last = logging.lastResort
        if last is not None and logging.root.handlers == [self] and record.levelno >= last.level:
            last.handle(record)
