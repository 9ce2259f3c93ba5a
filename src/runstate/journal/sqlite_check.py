"""Whether a store is sound, all of it: each finding names its place, and the check goes on after it.

What opening a store verifies is what it needs to go on; this verifies every version that is kept, and every row beside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runstate.core.canonical import Json, decode, digest, encode
from runstate.core.commit import Document, Key, restore_document
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.patch import apply
from runstate.core.position import Position, epoch_number
from runstate.journal.sqlite_files import reading
from runstate.journal.sqlite_open import log_of
from runstate.journal.sqlite_read import head_revision, log_floor
from runstate.journal.sqlite_write import state_and_status

MAX_PAGES_NAMED = 20  # of damaged pages; the first tells enough

_CHAIN = """
SELECT version, number, old_state, new_state, digest, CAST(patch AS BLOB), CAST(full AS BLOB), epoch, at_ms
FROM versions LEFT JOIN commits ON revision = number >> 16 WHERE id = ? AND kind = ? ORDER BY version
"""
_HEADS = """
SELECT number, kind, id, pipeline, state, status, floor, version, revision, epoch, at_ms, old_state, digest,
  CAST(encoded AS BLOB) FROM heads ORDER BY number
"""
_ORPHANS = """
SELECT kind, id, count(*), min(version), max(version) FROM versions
WHERE NOT EXISTS (SELECT 1 FROM heads WHERE heads.id = versions.id AND heads.kind = versions.kind) GROUP BY id, kind
"""

_LOST = "lost"  # a version that is made from one that does not verify

#: How the value of each kind of note is read; whoever writes notes knows.
Decoders = Mapping[str, Callable[[bytes], object]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where; what is None has no part in it."""

    problem: str
    kind: str | None = None
    id: str | None = None
    version: int | None = None
    revision: int | None = None

    def __str__(self) -> str:
        document = [] if self.id is None else [f"{self.kind} {self.id}"]
        if self.version is not None:
            document.append(f"version {self.version}")
        if self.revision is not None:
            document.append(f"(revision {self.revision})" if document else f"revision {self.revision}")
        return f"{' '.join(document) or 'store'}: {self.problem}"


@dataclass(slots=True)
class Checked:
    """What was looked at, and what is wrong with it."""

    epoch: str
    revision: int
    floor: int  #: Only after this revision has every commit all of its versions.
    size_bytes: int  #: Of the file and its log.
    runs: int = 0
    pipelines: int = 0
    versions: int = 0
    commits: int = 0
    notes: int = 0
    findings: list[Finding] = field(default_factory=list)


def check_store(path: Path, decoders: Decoders) -> Checked:
    """Verify one cut of the store at `path`; its owner may go on writing.

    Raises:
        StoreUnavailable: It cannot be read, or a newer runstate wrote it.
        StoreDamaged: It is not a store.
    """
    with reading(path) as db:
        epoch = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
        size = sum(file.stat().st_size for file in (path, log_of(path)) if file.exists())
        found = Checked(epoch, head_revision(db), log_floor(db), size)
        # Damaged pages end one look and not the others.
        for look in (_pages, _commits, _documents, _orphans, lambda db, found: _notes(db, found, decoders)):
            try:
                found.findings += look(db, found)
            except sqlite3.Error as exc:
                found.findings.append(Finding(f"the file is damaged ({exc}); what follows cannot be read"))
    return found


def _pages(db: sqlite3.Connection, _: Checked) -> Iterator[Finding]:
    for (said,) in db.execute(f"PRAGMA integrity_check({MAX_PAGES_NAMED})"):
        if said != "ok":
            yield Finding(f"SQLite finds {said}")


def _commits(db: sqlite3.Connection, found: Checked) -> Iterator[Finding]:
    """Yield holes in the revisions after the floor, epochs that go back, and causes that nobody can read."""
    expected, epoch = found.floor + 1, 0
    for revision, name, cause in db.execute(
        "SELECT revision, epoch, CAST(cause AS BLOB) FROM commits ORDER BY revision"
    ):
        found.commits += 1
        if revision > expected:
            yield _hole(expected, revision - 1)
        expected = max(expected, revision + 1)
        try:
            number = epoch_number(name)
            decode(cause or b"")
        except (InvalidValue, PeerError, TypeError) as exc:
            yield Finding(f"its epoch or cause cannot be read ({exc})", revision=revision)
            continue
        if number < epoch:
            yield Finding(f"its epoch {name} is earlier than that of the commit before", revision=revision)
        epoch = number
    known = int(db.execute("SELECT ifnull((SELECT value FROM meta WHERE key = 'verified'), 0)").fetchone()[0])
    if found.revision < max(known, found.floor):
        yield _hole(found.revision + 1, max(known, found.floor))
    if epoch > epoch_number(found.epoch):
        yield Finding(f"its epoch {found.epoch} is earlier than that of its last commit")


def _hole(first: int, last: int) -> Finding:
    missing = f"revision {first} is missing" if first == last else f"revisions {first} to {last} are missing"
    return Finding(missing, revision=first)


def _documents(db: sqlite3.Connection, found: Checked) -> Iterator[Finding]:
    """Yield every version that cannot be made or is not what it was, and every head that its versions do not lead to."""
    runs = set(db.execute("SELECT id FROM heads WHERE kind = 'run'"))
    for row in db.execute(_HEADS):
        chain = _Chain(Key(row[1], row[2]), row)
        yield from chain.look(db)
        found.versions += chain.versions
        if chain.key.kind == "run":
            found.runs += 1
            continue
        found.pipelines += 1
        current = None if chain.last is None else chain.last.pipeline.current_run_id
        if current is not None and (current,) not in runs:
            yield chain.finding(f"its current run {current} is missing", chain.head)


class _Chain:
    """One document's versions, followed from the floor to the head."""

    def __init__(self, key: Key, row: tuple[Any, ...]) -> None:
        self.key, self.row = key, row
        self.first_number, self.floor, self.head = row[0], row[6], row[7]
        self.versions = 0
        self.last: Document | None = None  #: The version looked at last, if it verified.
        self._value: Json = None
        self._revision = 0

    def finding(self, problem: str, version: int, revision: int | None = None) -> Finding:
        return Finding(problem, self.key.kind, self.key.id, version, revision)

    def look(self, db: sqlite3.Connection) -> Iterator[Finding]:
        expected = self.floor
        lost: list[int] = []
        for row in db.execute(_CHAIN, (self.key.id, self.key.kind)):
            version = row[0]
            self.versions += 1
            if version < self.floor:
                yield self.finding(f"it is kept though the floor is {self.floor}", version, row[1] >> 16)
                continue
            if version > expected:
                yield self._missing(expected, version - 1)
                self.last = None
            expected = version + 1
            problem = self._problem(row)
            if problem == _LOST:
                lost.append(version)
                continue
            yield from self._lost(lost)
            if problem is not None:
                yield self.finding(problem, version, row[1] >> 16)
        yield from self._lost(lost)
        if expected <= self.head:
            yield self._missing(expected, self.head)
        elif expected > self.head + 1:
            yield self.finding(f"it is later than the head, which is version {self.head}", expected - 1)
        elif (problem := self._head_problem()) is not None:
            yield self.finding(problem, self.head, self.row[8])

    def _lost(self, versions: list[int]) -> Iterator[Finding]:
        """Yield one finding for consecutive versions that share their cause, and forget them."""
        if versions:
            what = "it" if len(versions) == 1 else f"it, as every version up to {versions[-1]},"
            yield self.finding(f"{what} cannot be made without the one before", versions[0])
            versions.clear()

    def _missing(self, first: int, last: int) -> Finding:
        text = "it is missing" if first == last else f"it is missing, as is every version up to {last}"
        return self.finding(text, first)

    def _problem(self, row: tuple[Any, ...]) -> str | None:
        """Return what is wrong with a version, and go on from it."""
        before, self.last = self.last, None
        version, number, old_state, new_state, recorded, patch, full, epoch, at_ms = row
        revision = number >> 16
        if epoch is None:
            return "its commit is missing"
        if revision <= self._revision:
            return "its revision is not later than that of the version before"
        self._revision = revision
        try:
            encoded = self._bytes(before, version, patch, full)
            if encoded is None:
                return _LOST
            if digest(encoded) != recorded:
                return "its bytes do not have the recorded digest"
            document = restore_document(
                self.key.kind, encoded, position=Position(epoch, revision), at_ms=at_ms, old_state=old_state
            )
            self._value = decode(encoded)
        except _Misfit as exc:
            return str(exc)
        except (InvalidValue, PeerError) as exc:
            return f"its bytes are no {self.key.kind} document ({exc})"
        if (document.key, document.version) != (self.key, version):
            return f"its bytes are {document.key.id} version {document.version}"
        self.last = document
        if version == 1 and number != self.first_number:
            return "the order of creation does not name its revision"
        state = state_and_status(document)[0]
        came_from = old_state if before is None else state_and_status(before)[0]
        if (old_state, new_state) != (came_from, state):
            return f"it says it went from {old_state!r} to {new_state!r}, but went from {came_from!r} to {state!r}"
        return None if document.value.epoch == epoch else f"its epoch is not that of its commit, {epoch}"

    def _bytes(self, before: Document | None, version: int, patch: bytes | None, full: bytes | None) -> bytes | None:
        """Return the bytes of a version; None where neither it nor the one before is whole."""
        if (patch is None) != (version == 1):
            raise _Misfit("it has no patch from the version before" if patch is None else "version 1 has a patch")
        if version == self.floor and full is None:
            raise _Misfit("it is the oldest and not whole")
        made = None
        if before is not None and patch is not None:
            try:
                made = encode(apply(self._value, decode(patch)))
            except (InvalidValue, PeerError) as exc:
                raise _Misfit(f"its patch does not fit ({exc})") from exc
        if full is not None and made is not None and made != full:
            raise _Misfit("its patch leads to other bytes than its whole document")
        return made if full is None else full

    def _head_problem(self) -> str | None:
        if self.last is None:
            return None  # the finding about that version stands already
        _, _, _, pipeline, state, status, _, _, revision, epoch, at_ms, old_state, recorded, encoded = self.row
        if encoded != self.last.encoded:
            return "the head's bytes are not those of its history"
        position = self.last.position
        told = (pipeline, state, status, revision, epoch, at_ms, old_state, recorded)
        true = (
            self.last.value.pipeline, *state_and_status(self.last), position.revision, position.epoch, self.last.at_ms,
            self.last.old_state, self.last.digest,
        )  # fmt: skip
        return None if told == true else f"the head's row says {told}, its history {true}"


class _Misfit(Exception):
    """Why a version cannot be made."""


def _orphans(db: sqlite3.Connection, found: Checked) -> Iterator[Finding]:
    for kind, name, count, first, last in db.execute(_ORPHANS):
        found.versions += count
        yield Finding(f"its head is missing, though versions {first} to {last} are there", kind, name)


def _notes(db: sqlite3.Connection, found: Checked, decoders: Decoders) -> Iterator[Finding]:
    for kind, name, value in db.execute("SELECT kind, id, CAST(value AS BLOB) FROM notes ORDER BY kind, id"):
        found.notes += 1
        decoder = decoders.get(kind)
        if decoder is None:
            continue
        try:
            decoder(value)
        except (InvalidValue, PeerError, ValueError) as exc:
            yield Finding(f"its {kind} cannot be read ({exc})", "note", name)
