"""The server's view of one reader: what it asked for, how far it is, and which documents are dirty (PROTOCOL F8).

Never a queue: a commit marks documents dirty, and when the reader can take a frame it is sent the latest of each. A slow
reader so skips versions but misses no end result, and nobody slows the writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from runstate.core.commit import Document, Key
from runstate.core.errors import PeerError

#: Runs that are no longer current and still owed to a reader that follows pipelines: beyond this the oldest are let go.
MAX_LEFT_RUNS = 64


@dataclass(frozen=True, slots=True)
class Topics:
    """What a reader wants to see (PROTOCOL §4)."""

    everything: bool = True
    pipelines: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str | None) -> Topics:
        """Return the topics of a comma list; None (missing) is `*`.

        Raises:
            PeerError: A topic is none of `*`, `pipeline:<name>`, `run:<id>`.
        """
        if text is None:
            return cls()
        everything = False
        pipelines, runs = set(), set()
        for topic in text.split(","):
            kind, _, name = topic.partition(":")
            if topic == "*":
                everything = True
            elif kind == "pipeline" and name:
                pipelines.add(name)
            elif kind == "run" and name:
                runs.add(name)
            else:
                raise PeerError(
                    f"topic {topic!r} is not known; use *, pipeline:<name> or run:<id>, separated by commas"
                )
        return cls(everything, frozenset(pipelines), frozenset(runs))

    def wants(self, document: Document, *, current: bool) -> bool:
        """Return whether the document belongs to these topics; `current`: it is its pipeline's current run."""
        if document.key.kind == "pipeline":
            return self.everything or document.key.id in self.pipelines
        follows = current and (self.everything or document.run.pipeline in self.pipelines)
        return follows or document.key.id in self.runs


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader's place; frozen, so the bus swaps it."""

    topics: Topics
    position: str  #: All that concerns the reader up to here has been sent.
    dirty: Mapping[Key, Document] = field(
        default_factory=lambda: MappingProxyType({})
    )  #: Owed, the latest version of each, in order of commit.

    def mark(self, documents: Iterable[Document], *, is_current: Mapping[str, bool]) -> Reader:
        """Return the reader after a commit that touched `documents`.

        Args:
            is_current: By run id of each touched run, whether it is its pipeline's current run.
        """
        owed = dict(self.dirty)
        for document in documents:
            if self.topics.wants(document, current=is_current.get(document.key.id, False)):
                owed.pop(document.key, None)
                owed[document.key] = document
        if len(owed) > MAX_LEFT_RUNS:
            followed = [key for key in owed if key.kind == "run" and key.id not in self.topics.runs]
            for key in followed[: len(followed) - MAX_LEFT_RUNS]:
                del owed[key]
        return replace(self, dirty=MappingProxyType(owed))

    def sent(self, position: str) -> Reader:
        """Return the reader after it was sent all that it was owed, up to `position`."""
        return replace(self, position=position, dirty=MappingProxyType({}))
