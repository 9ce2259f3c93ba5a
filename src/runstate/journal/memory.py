"""The journal in memory: the same promises without a disk, for simulations and tests of code that uses a journal.

An outage can be scripted, so that what a full disk does to a manager is a test of a few lines.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from runstate.core.commit import Change, Commit, Document, Key, Note
from runstate.core.errors import Compacted, StoreUnavailable
from runstate.core.machine import is_over
from runstate.journal.batch import check_batch, fold_notes
from runstate.ports import COMMITS_AT_ONCE, Compaction, Cut, History, HistoryEntry, Opened, Retention, RunsFilter


@dataclass(slots=True)
class _Chain:
    """Every version of one document that is kept."""

    created: int  #: Revision of version 1.
    floor: int = 1  #: Oldest version kept.
    steps: list[tuple[Commit, Change]] = field(default_factory=list)  #: Version n at n − floor.

    @property
    def head(self) -> Document:
        return self.steps[-1][1].document

    @property
    def version(self) -> int:
        return self.floor + len(self.steps) - 1

    def new_floor(self, retention: Retention) -> int:
        """Return the oldest version that `retention` keeps."""
        wanted = self.floor
        if retention.keep_versions is not None:
            wanted = max(wanted, self.version - max(retention.keep_versions, 1) + 1)
        if retention.before_ms is not None:
            young = (at for at, (commit, _) in enumerate(self.steps) if commit.at_ms >= retention.before_ms)
            wanted = max(wanted, self.floor + min(next(young, len(self.steps)), len(self.steps) - 1))
        return wanted


class MemoryJournal:
    """A `runstate.ports.Journal` that lasts as long as the object. `reopen` also serves after `close`."""

    def __init__(self, *, epoch: str) -> None:
        """Make an empty, open store of this epoch (PROTOCOL V1)."""
        self._epoch = epoch
        self._guard = threading.Lock()  # of all below: appends and reads come from different threads
        self._commits: dict[int, Commit] = {}  # by revision, in order; below the floor not all
        self._revision = 0
        self._floor = 0  # of the log: the latest revision of which something is gone
        self._left: dict[int, int] = {}  # how many versions of a commit are kept
        self._chains: dict[Key, _Chain] = {}  # in order of creation
        self._notes: dict[tuple[str, str], bytes] = {}
        self._refusal: str | None = None
        self._outage: str | None = None
        self._keeps = self._opens = False

    @classmethod
    def open(cls, *, epoch: str) -> tuple[MemoryJournal, Opened]:
        """Return an empty journal and what it holds."""
        journal = cls(epoch=epoch)
        return journal, journal.reopen()

    def begin_outage(self, reason: str, *, keeps: bool = False, opens: bool = False) -> None:
        """From now on refuse appends, probes and reopening, until `end_outage`.

        Args:
            keeps: The next append is durable all the same, as after an fsync whose answer was lost.
            opens: It can be reopened meanwhile, and refuses then what is written, like a store on a full disk.
        """
        with self._guard:
            self._outage, self._keeps, self._opens = reason, keeps, opens

    def end_outage(self) -> None:
        """Let writes succeed again, once the journal is reopened."""
        with self._guard:
            self._outage = None

    def append(self, commits: Sequence[Commit], notes: Sequence[Note] = ()) -> None:
        """See the port."""
        with self._guard:
            refused = self._refused()
            if refused is None or self._keeps:
                self._keeps = False
                self._write(commits, notes)
            if refused is not None:
                raise StoreUnavailable(refused)

    def probe(self) -> None:
        """See the port."""
        with self._guard:
            refused = self._refused()
            if refused is not None:
                raise StoreUnavailable(refused)

    def reopen(self) -> Opened:
        """See the port."""
        with self._guard:
            if self._outage is not None and not self._opens:
                raise StoreUnavailable(self._outage)
            self._refusal = None
            heads = {key: chain.head for key, chain in self._chains.items()}
            pipelines = [document.pipeline for key, document in heads.items() if key.kind == "pipeline"]
            current = {Key("run", value.current_run_id) for value in pipelines if value.current_run_id is not None}
            documents = tuple(
                document
                for key, document in heads.items()
                if key.kind == "pipeline" or key in current or not is_over(document.run.state)
            )
            notes = tuple(Note(*key, value) for key, value in sorted(self._notes.items()))
            return Opened(self._epoch, self._revision, documents, notes)

    def close(self) -> None:
        """See the port."""
        with self._guard:
            self._refusal = "the journal is closed"

    def head(self, key: Key) -> Document | None:
        """See the port."""
        with self._guard:
            chain = self._chains.get(key)
            return None if chain is None else chain.head

    def version(self, key: Key, version: int) -> Document | None:
        """See the port."""
        with self._guard:
            chain = self._chains.get(key)
            if chain is None or not 1 <= version <= chain.version:
                return None
            if version < chain.floor:
                raise Compacted(
                    f"version {version} of {key.kind} {key.id} is no longer kept; the oldest is {chain.floor}"
                )
            return chain.steps[version - chain.floor][1].document

    def history(self, key: Key, *, after: int, limit: int) -> History | None:
        """See the port."""
        with self._guard:
            chain = self._chains.get(key)
            if chain is None:
                return None
            start = max(after + 1 - chain.floor, 0)
            page = chain.steps[start : start + max(limit, 0)]
            return History(chain.floor, chain.version, tuple(_entry(commit, change) for commit, change in page))

    def runs(self, wanted: RunsFilter) -> Cut:
        """See the port. A page never parts runs that one commit created, so it may exceed its limit by those."""
        limit = max(wanted.limit, 1)
        with self._guard:
            revision = self._revision
            found = [
                (chain.created, chain.head)
                for key, chain in self._chains.items()
                if key.kind == "run" and _matches(wanted, chain)
            ]
        found.reverse()
        end = min(limit, len(found))
        while 0 < end < len(found) and found[end][0] == found[end - 1][0]:
            end += 1
        following = found[end - 1][0] if end < len(found) else None
        return Cut(revision, tuple(document for _, document in found[:end]), following)

    def commits_after(self, revision: int, limit: int | None = COMMITS_AT_ONCE) -> Sequence[Commit]:
        """See the port."""
        with self._guard:
            if max(revision, 0) < self._floor:
                raise Compacted(
                    f"the commits after revision {revision} are no longer kept; those after {self._floor} are"
                )
            first = max(revision, 0) + 1
            end = self._revision + 1 if limit is None else min(self._revision + 1, first + max(limit, 0))
            later = [self._commits[number] for number in range(first, end)]
        return [Commit(commit.position, commit.at_ms, commit.cause, commit.changes) for commit in later]

    def compact(self, retention: Retention, *, after: int, limit: int) -> Compaction:
        """See the port. `after` counts documents, by creation."""
        with self._guard:
            refused = self._refused()
            if refused is not None:
                raise StoreUnavailable(refused)
            left, versions, commits = max(limit, 1), 0, 0
            following: int | None = None
            for number, chain in enumerate(list(self._chains.values())[after:], after):
                count = chain.new_floor(retention) - chain.floor
                if count > left:
                    following = number
                commits += self._thin(chain, min(count, left))
                versions += min(count, left)
                left -= min(count, left)
                if following is not None:
                    break
            return Compaction(versions, commits, 0, self._floor, following)

    def _refused(self) -> str | None:
        self._refusal = self._refusal or self._outage
        return self._refusal

    def _thin(self, chain: _Chain, count: int) -> int:
        """Remove the oldest versions of a document; return how many commits have nothing left."""
        emptied = 0
        for commit, _ in chain.steps[:count]:
            revision = commit.position.revision
            self._floor = max(self._floor, revision)
            self._left[revision] -= 1
            if self._left[revision] == 0:
                del self._left[revision], self._commits[revision]
                emptied += 1
        del chain.steps[:count]
        chain.floor += count
        return emptied

    def _write(self, commits: Sequence[Commit], notes: Sequence[Note]) -> None:
        check_batch(commits, epoch=self._epoch, revision=self._revision)
        self._check_versions(commits)
        for commit in commits:
            self._revision = commit.position.revision
            self._commits[self._revision], self._left[self._revision] = commit, len(commit.changes)
            for change in commit.changes:
                chain = self._chains.setdefault(change.document.key, _Chain(commit.position.revision))
                chain.steps.append((commit, change))
        for key, value in fold_notes(commits, notes).items():
            if value is None:
                self._notes.pop(key, None)
            else:
                self._notes[key] = value

    def _check_versions(self, commits: Sequence[Commit]) -> None:
        expected = {key: chain.version for key, chain in self._chains.items()}
        for change in (change for commit in commits for change in commit.changes):
            key, version = change.document.key, change.document.version
            expected[key] = expected.get(key, 0) + 1
            assert version == expected[key], f"version {version} of {key.kind} {key.id} does not follow its head"


def _matches(wanted: RunsFilter, chain: _Chain) -> bool:
    run = chain.head.run
    return (
        wanted.pipeline in (None, run.pipeline)
        and wanted.status in (None, run.status)
        and wanted.state in (None, run.state)
        and (wanted.before is None or chain.created < wanted.before)
    )


def _entry(commit: Commit, change: Change) -> HistoryEntry:
    document = change.document
    state = document.run.state if document.key.kind == "run" else ""
    return HistoryEntry(
        str(commit.position), commit.at_ms, commit.cause.encoded, document.version,
        document.old_state, state, document.digest, change.patch,
    )  # fmt: skip
