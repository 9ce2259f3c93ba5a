"""Commits for tests, made as the manager makes them: the next revision, the next version, one patch."""

from __future__ import annotations

from typing import Any

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Commit, Document, Key, Note, key_of, make_change
from runstate.core.machine import status_of
from runstate.core.model import PipelineDocument, Progress, RunContext, StageRecord, Trigger, Value
from runstate.core.position import Position

STAGES = ("translator", "analyzer", "merger")
TICK_MS = 1_000  # between two commits of an author


def make_run(run_id: str, state: str = "starting", *, pipeline: str = "market", **members: Any) -> RunContext:
    """Return a run document in `state`; its version and epoch are stamped at commit."""
    stages = {name: StageRecord() for name in STAGES}
    defaults: dict[str, Any] = {"stage_order": STAGES, "stages": stages, "trigger": Trigger(kind="manual")}
    return RunContext(
        epoch="", version=0, run_id=run_id, pipeline=pipeline, state=state, status=status_of(state), **(defaults | members)
    )  # fmt: skip


def make_progress_run(run_id: str, done: float, *, pipeline: str = "market", **members: Any) -> RunContext:
    """Return a run whose first stage is this far; the next such differs in a member or two, as progress does."""
    first = StageRecord(state="running", attempt=1, progress=Progress(done=done, total=1_000_000, unit="rows"))
    stages = {STAGES[0]: first} | {name: StageRecord() for name in STAGES[1:]}
    return make_run(run_id, f"running_{STAGES[0]}", pipeline=pipeline, stages=stages, **members)


def make_pipeline(name: str = "market", *, current_run_id: str | None = None) -> PipelineDocument:
    """Return a pipeline document."""
    return PipelineDocument(
        epoch="", pipeline=name, version=0, updated_at=None, stage_order=STAGES, current_run_id=current_run_id
    )


class Author:
    """Writes consecutive commits and keeps them, to compare with what a journal returns."""

    def __init__(self, epoch: str, *, revision: int = 0, at_ms: int = 1_795_442_496_000) -> None:
        """Begin after `revision`."""
        self.epoch, self.revision, self.at_ms = epoch, revision, at_ms
        self.commits: list[Commit] = []
        self.heads: dict[Key, Document] = {}  #: In order of creation.

    def commit(self, *values: Value, event: str = "changed", notes: tuple[Note, ...] = ()) -> Commit:
        """Return the next commit, in which all of `values` become the latest versions of their documents."""
        self.revision += 1
        self.at_ms += TICK_MS
        position = Position(self.epoch, self.revision)
        changes = tuple(
            make_change(self.heads.get(key_of(value)), value, position=position, at_ms=self.at_ms) for value in values
        )
        self.heads |= {change.document.key: change.document for change in changes}
        cause = FrozenJson({"event": event, "by": "author"})
        commit = Commit(position, self.at_ms, cause, changes, notes)
        self.commits.append(commit)
        return commit
