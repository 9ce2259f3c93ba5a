"""What the bus remembers of the latest commits, bounded: for readers that want each version, and as bases of patches.

A patch is made once for each pair of versions and shared by all readers that have the one and need the other (PROTOCOL F9).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import islice

from runstate.core.canonical import encode
from runstate.core.commit import Commit, Document, Key
from runstate.core.patch import diff
from runstate.core.reader import Base

MAX_BYTES = 16 * 1024 * 1024
MAX_COMMITS = 4096
MAX_PATCHES = 1024
MAX_KEPT = 256


class Recent:
    """The latest commits, in order, and the patches between their documents' versions."""

    def __init__(self) -> None:
        self._commits: deque[Commit] = deque()
        self._documents: dict[tuple[Key, int], Document] = {}
        self._kept: OrderedDict[tuple[Key, int], Document] = OrderedDict()
        self._pages: deque[Sequence[Commit]] = deque()  # what readers far behind were fetched, the latest last
        self._patches: OrderedDict[tuple[Key, int, int], bytes] = OrderedDict()
        self._bytes = 0

    def add(self, commit: Commit) -> None:
        """Remember a commit, and forget the oldest beyond the bound."""
        self._commits.append(commit)
        for change in commit.changes:
            document = change.document
            self._documents[document.key, document.version] = document
            self._bytes += len(document.encoded)
            if change.patch is not None:
                self._remember((document.key, document.version - 1, document.version), change.patch)
        while len(self._commits) > 1 and (len(self._commits) > MAX_COMMITS or self._bytes > MAX_BYTES):
            for change in self._commits.popleft().changes:
                self._bytes -= len(change.document.encoded)
                self._documents.pop((change.document.key, change.document.version), None)

    def keep(self, document: Document) -> None:
        """Remember a document that was there before the first commit, as a base."""
        name = (document.key, document.version)
        if name not in self._documents:
            self._kept[name] = document
            self._kept.move_to_end(name)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def keep_page(self, page: Sequence[Commit]) -> None:
        """Remember commits without a hole that the journal gave, for the reader that comes back for the next of them.

        A reader holds none itself, so one that stops reading costs nothing.
        """
        if page:
            self._pages.append(page)
        while len(self._pages) > 1 and sum(map(_size, self._pages)) > MAX_BYTES:
            self._pages.popleft()

    def after(self, revision: int) -> Iterator[Commit] | None:
        """Return commits from the one after `revision` on, None if that is not remembered."""
        for commits in (self._commits, *reversed(self._pages)):
            if commits and commits[0].position.revision <= revision + 1 <= commits[-1].position.revision:
                # Revisions have no holes (V2).
                return islice(commits, revision + 1 - commits[0].position.revision, None)
        return None

    def patch(self, base: Base, document: Document) -> bytes | None:
        """Return the patch from the version that a reader has to `document`; None if that version is not remembered."""
        name = (document.key, base.version, document.version)
        if name not in self._patches:
            place = (document.key, base.version)
            old = self._documents.get(place) or self._kept.get(place)
            if old is None or old.digest != base.digest:
                return None
            self._remember(name, encode(diff(old.value.to_dict(), document.value.to_dict())))
        return self._patches[name]

    def _remember(self, name: tuple[Key, int, int], patch: bytes) -> None:
        self._patches[name] = patch
        while len(self._patches) > MAX_PATCHES:
            self._patches.popitem(last=False)


def _size(commits: Sequence[Commit]) -> int:
    return sum(len(change.document.encoded) for commit in commits for change in commit.changes)
