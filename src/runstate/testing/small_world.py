"""A world so small that all of it can be seen: two runs, a store, perhaps its copy, one client (`testing/explorer.py`).

Law: a state is frozen, and what may happen next is a list of moves, each a name and the state after it. The client is
`core/link.py` with `core/replica.py`, the server's side is `core/reader.py` and `core/frames.py`; time stands still, so
waits are over at once. What the rules decide is asked of `Rules`; leaving one out is a subclass (`testing/mutants.py`).
"""

# ruff: noqa: ARG002 - a rule is asked with all that it may depend on

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Commit, Document, Key
from runstate.core.link import (
    Connect,
    Link,
)
from runstate.core.position import Position
from runstate.core.reader import Mode, Reader
from runstate.core.replica import Frame, Replica
from runstate.testing.commits import Author, make_pipeline, make_run

EPOCHS = ("1790000000-00000000", "1790000001-11111111")


Log = tuple[str, ...]  #: Names of commits: epoch's number, and "'" where a crash lost the one that stood there before.


@cache
def commits_of(log: Log) -> tuple[Commit, ...]:
    """Return the commits that a log names; the n-th is always of the same kind."""
    if not log:
        return ()
    before = commits_of(log[:-1])
    author = Author(EPOCHS[int(log[-1][0])], revision=len(before))
    author.heads = {change.document.key: change.document for commit in before for change in commit.changes}
    run_id = "A" if len(log) <= 2 else "B"
    metadata = FrozenJson({"again": log[-1].endswith("'")})
    run = make_run(run_id, "starting" if len(log) % 2 else "success", metadata=metadata)
    values = (run, make_pipeline(current_run_id=run_id)) if len(log) % 2 else (run,)
    return (*before, author.commit(*values))


@cache
def heads_of(log: Log) -> dict[Key, Document]:
    """Return what `*` shows at the end of a log: the pipeline and its current run."""
    latest = {change.document.key: change.document for commit in commits_of(log) for change in commit.changes}
    current = {d.pipeline.current_run_id for key, d in latest.items() if key.kind == "pipeline"}
    return {key: d for key, d in latest.items() if key.kind == "pipeline" or key.id in current}


@dataclass(frozen=True, slots=True)
class Server:
    """A store and who serves it."""

    epoch: int
    log: Log = ()  #: Durable.
    pending: str | None = None  #: Decided, and not durable.
    crashed: bool = False
    floor: int = 0  #: Commits up to here are compacted.
    serves: bool = True
    grows: bool = True


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection."""

    server: int
    reader: Reader
    under_way: tuple[bytes, ...] = ()  #: To the client.
    asked: bool = False  #: A `subscribe` is under way to the server.
    ended: bool = False  #: The server has said `bye`.
    registered: bool = True  #: Commits mark the reader.


Trouble = Literal["crash", "copy", "cut", "lie", "get", "compact"]
KINDS: frozenset[Trouble] = frozenset(get_args(Trouble))


@dataclass(frozen=True, slots=True)
class Budget:
    """What may still go wrong: each kind once, and so many in all."""

    left: int = 2
    spent: frozenset[Trouble] = frozenset()

    def has(self, kind: Trouble) -> bool:
        """Return whether this may happen."""
        return self.left > 0 and kind not in self.spent

    def without(self, kind: Trouble) -> Budget:
        """Return what is left when it has happened."""
        return Budget(self.left - 1, self.spent | {kind})


@dataclass(frozen=True, slots=True)
class State:
    """The world at one moment."""

    servers: tuple[Server, ...] = (Server(0),)
    link: Link = field(default_factory=Link)
    wire: Wire | None = None
    wants: Connect | None = None  #: The client's request is under way.
    ghosts: tuple[tuple[int, bytes], ...] = ()  #: Late frames of a connection that was cut.
    answer: Document | None = None  #: Of a GET, under way.
    budget: Budget = field(default_factory=Budget)

    def key(self) -> Hashable:
        """Return what tells two states apart."""
        link, wire = self.link, self.wire
        replica = link.replica
        reader = None if wire is None else wire.reader
        return (
            self.servers,
            (link.phase, link.generation, link.ask_at, link.asks, link.connect_at, link.transport),
            (replica.position, replica.following, replica.expecting, replica.faults, replica.parts_position),
            tuple((change.key, getattr(change, "version", 0)) for change in replica.parts),
            tuple(
                (key, entry.version, entry.digest, entry.verified, entry.encoded)
                for key, entry in replica.entries.items()
            ),
            None if wire is None else (wire.server, wire.under_way, wire.asked, wire.ended, wire.registered),
            None if reader is None else (reader.position, _digests(reader.dirty.values()), tuple(reader.bases.items())),
            self.wants,
            self.ghosts,
            None if self.answer is None else self.answer.digest,
            self.budget,
        )


def _digests(documents: Iterable[Document]) -> tuple[str, ...]:
    return tuple(document.digest for document in documents)


Move = tuple[str, State]


class Rules:
    """The rules as they are; a subclass leaves one out."""

    mode: Mode = "latest"
    delta = True
    steps = 3  #: Commits: A begins, A ends, B begins, B ends.
    troubles = 2  #: How much may go wrong in one story.
    lies = frozenset({"drop", "bend", "double", "garble"})  #: Of these kinds.
    copies = frozenset({"stale", "new"})  #: Servers that come beside the first: one that lags, and a restored backup.
    kinds: frozenset[Trouble] = KINDS  #: And what.
    registers_at_once = True  #: Snapshot and registration are one step (F1).
    breaks = ""  #: The promise that does not hold without the rule.
    asks = False  #: GETs are sent; where their answers change nothing there is nothing to see.

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Return what the client judges when a frame arrives."""
        return replica, frame

    def generation(self, link: Link, generation: int) -> int:
        """Return the connection that a late frame is of."""
        return generation

    def take_answer(self, replica: Replica, document: Document) -> Replica:
        """Return the store after the answer of a GET (F11)."""
        return replica

    def shows(self, server: Server) -> Log:
        """Return the log as readers are told of it (V5)."""
        return server.log

    def refuses(self, resume: Position, head: Position) -> bool:
        """Return whether a server has not come as far as a reader that resumes (F6)."""
        return resume.order > head.order

    def epoch_of_copy(self, server: Server) -> int:
        """Return the epoch under which a copy is opened (V1)."""
        return server.epoch + 1

    def may_beat(self, reader: Reader) -> bool:
        """Return whether a heartbeat may go out (F3)."""
        return not reader.dirty

    def parcels(self, documents: tuple[Document, ...]) -> list[tuple[Document, ...]]:
        """Return the documents by transition (F5)."""
        return [documents]

    def is_compacted(self, position: Position, server: Server) -> bool:
        """Return whether a reader of every version must be told that some are gone (F6)."""
        return position.revision < server.floor
