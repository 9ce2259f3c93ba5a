"""What the core needs from the world: a journal, a clock, and runners for stages.

Each port has an exam in `runstate.testing` that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runstate.core.commit import Change, Commit, Document, Key, Note
from runstate.core.facts import Fact, Outcome
from runstate.core.model import Worker

COMMITS_AT_ONCE = 100  # of 256 KiB at most: what a reader that catches up holds in memory, unless it asks for more


@dataclass(frozen=True, slots=True)
class Opened:
    """What a journal holds when it is opened: enough to go on, whatever its age."""

    epoch: str  #: Of this incarnation of the store (PROTOCOL V1).
    revision: int  #: Of the latest commit; 0 for a new store.
    documents: tuple[Document, ...]  #: Every pipeline, each pipeline's current run, every run that is not over.
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class RunsFilter:
    """Which runs a list shows (PROTOCOL H7); None means any."""

    pipeline: str | None = None
    status: str | None = None
    state: str | None = None
    before: int | None = None  #: Only runs created before this revision.
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Cut:
    """A consistent list of runs (PROTOCOL H7)."""

    revision: int  #: The latest commit the list has seen.
    documents: tuple[Document, ...]  #: Newest first, by creation.
    next: int | None  #: `before` for the next page, None at the end.


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One version of a document, without its bytes."""

    commit_position: str
    at_ms: int
    cause: bytes  #: Canonical JSON.
    version: int
    old_state: str
    new_state: str
    digest: str
    patch: bytes | None


@dataclass(frozen=True, slots=True)
class History:
    """A page of a document's versions (PROTOCOL H6)."""

    floor: int  #: Oldest version kept.
    head: int  #: Latest version.
    entries: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """Which versions may go: those that one of these gives up. A document's head always stays, so no run is deleted."""

    keep_versions: int | None = None  #: The latest so many of each document stay, at least 1; None gives up none.
    before_ms: int | None = None  #: What was committed before this wall time goes; None gives up none.


@dataclass(frozen=True, slots=True)
class Compaction:
    """What one turn of compaction did."""

    versions: int  #: So many went for good.
    commits: int  #: So many went because nothing of them was left.
    damaged: int  #: Documents that were left alone because they do not verify.
    floor: int  #: Of the whole log: only after this revision has every commit all of its versions.
    next: int | None  #: `after` of the next turn; None when this pass has seen every document.


class Journal(Protocol):
    """The durable order of commits. One process writes; calls come from threads, never from the event loop.

    `append`, `probe`, `compact`, `reopen` and `close` come from one writer thread; the reads may come from others at the
    same time.
    """

    def append(self, commits: Sequence[Commit], notes: Sequence[Note] = ()) -> None:
        """Make `commits` and `notes` durable, all or none, in order, with one fsync.

        Raises:
            StoreUnavailable: They may or may not be durable; only `reopen` tells.
        """

    def probe(self) -> None:
        """Show that a commit would work now.

        Raises:
            StoreUnavailable: It would not; the text says why.
        """

    def reopen(self) -> Opened:
        """Drop the handle, open the store again and return what it holds. Never creates a store.

        Raises:
            StoreUnavailable: It cannot be opened now.
            StoreDamaged: Its content does not verify.
        """

    def close(self) -> None:
        """Release everything; safe to call twice."""

    def head(self, key: Key) -> Document | None:
        """Return the latest version of a document, None if there is no such document."""

    def version(self, key: Key, version: int) -> Document | None:
        """Return the document as it was at `version`, byte for byte; None above its head or if unknown.

        Raises:
            Compacted: The version is below the retention floor.
        """

    def history(self, key: Key, *, after: int, limit: int) -> History | None:
        """Return up to `limit` versions above `after` in order, from the floor on; None if there is no such document."""

    def runs(self, wanted: RunsFilter) -> Cut:
        """Return the runs of one consistent cut, newest first."""

    def commits_after(self, revision: int, limit: int | None = COMMITS_AT_ONCE) -> Sequence[Commit]:
        """Return the first `limit` commits after `revision` (None: all), in order, with full documents, without notes.

        Raises:
            Compacted: Some version of them is gone: `revision` is below the log's floor.
        """

    def compact(self, retention: Retention, *, after: int, limit: int) -> Compaction:
        """Remove at most `limit` of the versions that `retention` gives up, durably, as one turn of a pass.

        A pass begins with `after` 0 and goes on with `next` of the turn before; between turns anything may happen, also
        the end of the process: a new pass finds what is left. What stays, stays byte for byte; each document keeps an
        unbroken row of versions from its floor to its head.

        Raises:
            StoreUnavailable: It may or may not be done; only `reopen` tells.
        """


class Clock(Protocol):
    """The world's time."""

    def now_ms(self) -> int:
        """Return wall time in milliseconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class StageTask:
    """All that an attempt needs to know. What it needs to do is the runner's."""

    run_id: str
    pipeline: str
    stage: str
    attempt: int  #: From 1.
    metadata: bytes  #: Canonical JSON object.
    outputs: dict[str, bytes]  #: Canonical JSON object by finished earlier stage.
    workdir: Path  #: The run's own folder; exists.
    progress_interval_s: float  #: 0: every call is a commit.


#: How a runner hands a fact to the orchestrator; returns when it is taken, which is the back-pressure.
Report = Callable[[Fact], Awaitable[None]]


class Attempt(Protocol):
    """One execution of a stage that has been made ready and waits for `go`."""

    @property
    def worker(self) -> Worker | None:
        """The process to journal before `go`; None where the server itself executes the stage."""

    @property
    def has_heartbeat(self) -> bool:
        """Whether it reports heartbeats in silence, more than two in a lease, so that longer silence is its end."""

    def go(self) -> None:
        """Begin the stage's work; call once."""

    def stop(self) -> None:
        """Ask the work to end; returns at once; safe to call at any time and repeatedly."""

    def kill(self) -> None:
        """End the work and everything it started, without asking; returns at once; safe at any time."""

    async def wait(self) -> Outcome:
        """Return how it ended, once nothing of it is alive and every fact has been reported."""


class StageRunner(Protocol):
    """Executes attempts of one kind of stage."""

    async def prepare(self, task: StageTask, report: Report) -> Attempt:
        """Make an attempt ready; nothing of the stage runs before its `go`.

        Raises:
            NotStartable: It cannot be started; the text says why.
        """


__all__ = [
    "COMMITS_AT_ONCE",
    "Attempt",
    "Change",
    "Clock",
    "Compaction",
    "Cut",
    "Document",
    "Fact",
    "History",
    "HistoryEntry",
    "Journal",
    "Key",
    "Note",
    "Opened",
    "Outcome",
    "Report",
    "Retention",
    "RunsFilter",
    "StageRunner",
    "StageTask",
    "Worker",
]
