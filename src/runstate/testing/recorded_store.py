"""What one incarnation of the store held at each of its revisions, as a recording tells it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from runstate.core.reader import Topics
from runstate.testing.recording import Row

Key = tuple[str, str]


@dataclass(slots=True)
class RecordedStore:
    """What one incarnation of the store held at each of its revisions."""

    revision: int = 0
    rows: dict[Key, tuple[list[int], list[Row]]] = field(default_factory=dict)

    def add(self, revision: int, rows: Iterable[Row]) -> None:
        """Take what a commit made."""
        self.revision = revision
        for row in rows:
            revisions, versions = self.rows.setdefault(row.key, ([], []))
            revisions.append(revision)
            versions.append(row)

    def copy(self, revision: int) -> RecordedStore:
        """Return what a copy holds that was made at `revision`."""
        other = RecordedStore(revision)
        for key, (revisions, versions) in self.rows.items():
            end = bisect_right(revisions, revision)
            if end:
                other.rows[key] = revisions[:end], versions[:end]
        return other

    def at(self, key: Key, revision: int) -> Row | None:
        """Return a document as it was at `revision`."""
        revisions, versions = self.rows.get(key, ([], []))
        found = bisect_right(revisions, revision)
        return versions[found - 1] if found else None

    def between(self, start: int, end: int) -> list[Row]:
        """Return each version that was committed after `start` and not after `end`."""
        found = []
        for revisions, versions in self.rows.values():
            found += versions[bisect_right(revisions, start) : bisect_right(revisions, end)]
        return found

    def cut(self, topics: Topics, revision: int) -> dict[Key, Row]:
        """Return what `topics` show at `revision` (PROTOCOL §4): pipelines, their current runs, and the named runs."""
        shown: dict[Key, Row] = {}
        for kind, name in self.rows:
            if kind == "pipeline" and (topics.everything or name in topics.pipelines):
                owner = self.at((kind, name), revision)
                if owner is not None:
                    shown[owner.key] = owner
                    run = None if owner.relative is None else self.at(("run", owner.relative), revision)
                    if run is not None:
                        shown[run.key] = run
        for name in topics.runs:
            run = self.at(("run", name), revision)
            if run is not None:
                shown[run.key] = run
        return shown
