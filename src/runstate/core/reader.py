"""The server's view of one reader: what it asked for, how far it is, and which documents are dirty (PROTOCOL F8).

Never a queue: a commit marks documents dirty, and when the reader can take a frame it is sent the latest of each. A slow
reader so skips versions but misses no end result, and nobody slows the writer. A reader of every version (`mode=every`)
is a position alone: what follows it stands in the log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from runstate.core.commit import Document, Key
from runstate.core.errors import PeerError
from runstate.core.position import Position

#: Runs that are no longer current and still owed to a reader that follows pipelines: beyond this the oldest are let go.
MAX_LEFT_RUNS = 64

Mode = Literal["latest", "every"]


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

    def wants(self, document: Document, *, current: bool = True) -> bool:
        """Return whether the document belongs to these topics.

        Args:
            current: Whether a run is its pipeline's current one; one that commits is.
        """
        if document.key.kind == "pipeline":
            return self.everything or document.key.id in self.pipelines
        follows = current and (self.everything or document.run.pipeline in self.pipelines)
        return follows or document.key.id in self.runs


@dataclass(frozen=True, slots=True)
class Base:
    """The version of a document that a reader has, which a patch may start from (PROTOCOL F9)."""

    version: int
    digest: str
    pipeline: str | None = None  #: Of a run.


def _nothing() -> Mapping[Key, Document]:
    return MappingProxyType({})


def _no_bases() -> Mapping[Key, Base]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader's place; frozen, so the bus swaps it."""

    topics: Topics
    position: Position  #: All that concerns the reader up to here has been sent.
    delta: bool = False  #: Whether it takes patches.
    mode: Mode = "latest"
    dirty: Mapping[Key, Document] = field(default_factory=_nothing)  #: Owed, in order of commit; none with `every`.
    bases: Mapping[Key, Base] = field(default_factory=_no_bases)  #: What it has, if it takes patches.

    def mark(self, documents: Iterable[Document]) -> Reader:
        """Return the reader after a commit that touched `documents`."""
        if self.mode == "every":
            return self
        owed = dict(self.dirty)
        for document in documents:
            if self.topics.wants(document):
                owed.pop(document.key, None)
                owed[document.key] = document
        for key in _beyond(owed, self.topics):
            del owed[key]
        return replace(self, dirty=MappingProxyType(owed))

    def sent(self, documents: Collection[Document], position: Position) -> Reader:
        """Return the reader after it was sent these versions, and so all that it was owed up to `position`."""
        bases = self.bases
        if self.delta:
            has = dict(bases)
            for document in documents:
                has.pop(document.key, None)
                pipeline = document.run.pipeline if document.key.kind == "run" else None
                has[document.key] = Base(document.version, document.digest, pipeline)
            for document in documents:
                for key in _left(has, document, self.topics):
                    del has[key]
            for key in _beyond(has, self.topics):
                del has[key]
            bases = MappingProxyType(has)
        return replace(self, position=position, dirty=_nothing(), bases=bases)


def _left(has: Mapping[Key, Base], document: Document, topics: Topics) -> list[Key]:
    """Return the runs that a reader lets go of when it is sent a pipeline that has gone on to another run (F9)."""
    if document.key.kind != "pipeline":
        return []
    owner, current = document.key.id, document.pipeline.current_run_id
    return [key for key, base in has.items() if base.pipeline == owner and key.id not in topics.runs | {current}]


def _beyond(known: Mapping[Key, object], topics: Topics) -> list[Key]:
    """Return the runs to let go of: the oldest that no topic names, beyond the limit."""
    if len(known) <= MAX_LEFT_RUNS:
        return []
    followed = [key for key in known if key.kind == "run" and key.id not in topics.runs]
    return followed[: max(0, len(followed) - MAX_LEFT_RUNS)]
