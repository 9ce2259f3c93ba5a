"""What the bus remembers of the latest commits, bounded: for readers that want each version, and as bases of patches.

A patch is made once for each pair of versions and shared by all readers that have the one and need the other (PROTOCOL F9).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from runstate.core.canonical import encode
from runstate.core.commit import Commit, Document, Key
from runstate.core.patch import diff
from runstate.core.reader import Base

MAX_BYTES = 16 * 1024 * 1024
MAX_COMMITS = 4096
MAX_PATCHES = 1024


class Recent:
    """The latest commits, in order, and the patches between their documents' versions."""

    def __init__(self) -> None:
        self._commits: deque[Commit] = deque()
        self._documents: dict[tuple[Key, int], Document] = {}
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
        """Remember a document that was there before the first commit, as a base; it is never many."""
        self._documents.setdefault((document.key, document.version), document)

    def after(self, revision: int) -> Iterator[Commit] | None:
        """Return the commits after `revision`, None if they are not all remembered."""
        if not self._commits or self._commits[0].position.revision > revision + 1:
            return None
        return (commit for commit in self._commits if commit.position.revision > revision)

    def patch(self, base: Base, document: Document) -> bytes | None:
        """Return the patch from the version that a reader has to `document`; None if that version is not remembered."""
        name = (document.key, base.version, document.version)
        if name not in self._patches:
            old = self._documents.get((document.key, base.version))
            if old is None or old.digest != base.digest:
                return None
            self._remember(name, encode(diff(old.value.to_dict(), document.value.to_dict())))
        return self._patches[name]

    def _remember(self, name: tuple[Key, int, int], patch: bytes) -> None:
        self._patches[name] = patch
        while len(self._patches) > MAX_PATCHES:
            self._patches.popitem(last=False)
