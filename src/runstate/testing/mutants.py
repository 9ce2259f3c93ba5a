"""Worlds in which one rule is left out, each with the promise that then breaks.

Law: a mutant overrides one thing of `small_world.Rules` and says in its first line which rule it leaves out. What the
client compares is switched off by showing it a frame, or a copy of its own, that the comparison lets pass.
"""

# ruff: noqa: ARG002 - a rule is asked with all that it may depend on

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from runstate.core.canonical import digest, encode
from runstate.core.commit import Document
from runstate.core.errors import PeerError
from runstate.core.link import Link
from runstate.core.patch import apply
from runstate.core.position import Position
from runstate.core.reader import Reader
from runstate.core.replica import (
    Change,
    Delta,
    Entry,
    Frame,
    Full,
    Hello,
    Replica,
    Snapshot,
    Transition,
    Unknown,
    Unreadable,
)
from runstate.testing.small_world import Log, Rules, Server


class NoChain(Rules):
    """F2: the client does not compare `from` with its position, and so does not stop at a gap."""

    breaks = "right"

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Let every transition begin where the client is."""
        if isinstance(frame, Transition) and replica.position is not None:
            return replica, replace(frame, start=replica.position)
        return replica, frame


class NoEpochOrder(Rules):
    """F6: a smaller epoch may replace a larger one."""

    breaks = "ordered"

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Let every server's epoch be the right one, and its snapshot the first."""
        if replica.position is not None:
            if isinstance(frame, Hello):
                return replica, replace(frame, epoch=replica.position.epoch)
            if isinstance(frame, Snapshot) and frame.position.epoch != replica.position.epoch:
                return _forgetful(replica), frame
        return replica, frame

    def refuses(self, resume: Position, head: Position) -> bool:
        """Refuse nobody of another epoch."""
        return resume.epoch == head.epoch and resume.order > head.order


class NoSnapshotOrder(Rules):
    """F6, V4: a snapshot behind what is shown is taken."""

    breaks = "ordered"
    troubles = 3
    kinds = frozenset({"copy", "cut", "lie"})
    lies = frozenset({"garble"})
    copies = frozenset({"stale"})
    steps = 2

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Forget what is shown when a snapshot comes that is behind it."""
        if (
            isinstance(frame, Snapshot)
            and replica.position is not None
            and frame.position.order < replica.position.order
        ):
            return _forgetful(replica), frame
        return replica, frame


class NoGeneration(Rules):
    """F1: a late frame of an old connection counts; only the connection says whose part of a snapshot it is."""

    breaks = "right"

    def generation(self, link: Link, generation: int) -> int:
        """Take it for one of the present connection."""
        return link.generation


class NoDigest(Rules):
    """F10: the client shows what it received, whatever its digest."""

    breaks = "right"

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Let each change claim the digest that its document has."""
        if isinstance(frame, Snapshot | Transition):
            return replica, replace(frame, changes=tuple(_honest(replica, change) for change in frame.changes))
        return replica, frame


class StreamIsNotAlone(Rules):
    """F11: the answer of a GET writes the store."""

    breaks = "right"
    asks = True

    def take_answer(self, replica: Replica, document: Document) -> Replica:
        """Put the document into the store."""
        entry = Entry(document.encoded, document.version, document.position, document.digest, True, document.old_state)
        return replace(replica, entries=MappingProxyType({**replica.entries, document.key: entry}))


class SeenBeforeDurable(Rules):
    """V5: readers are told of a commit when it is decided."""

    breaks = "durable"

    def shows(self, server: Server) -> Log:
        """Show what is pending."""
        return server.log if server.pending is None else (*server.log, server.pending)


class SnapshotThenRegistration(Rules):
    """F1: commits between a snapshot and the registration are lost."""

    breaks = "right"
    registers_at_once = False


class HeartbeatOverOwed(Rules):
    """F3: a heartbeat moves the watermark over what is owed (the bus did, when both came in one turn of the loop)."""

    breaks = "right"

    def may_beat(self, reader: Reader) -> bool:
        """Beat at any time."""
        return True


class CommitInPieces(Rules):
    """F5: the documents of one commit travel in transitions of their own."""

    breaks = "right"

    def parcels(self, documents: tuple[Document, ...]) -> list[tuple[Document, ...]]:
        """Return each by itself."""
        return [(document,) for document in documents]


class CopyKeepsEpoch(Rules):
    """V1: a restored copy goes on under the epoch of its original."""

    breaks = "converges"
    steps = 2
    troubles = 1

    def epoch_of_copy(self, server: Server) -> int:
        """Return the original's."""
        return server.epoch


class SilentCompaction(Rules):
    """F6: a reader of every version is not told that some are compacted."""

    breaks = "right"
    mode = "every"

    def is_compacted(self, position: Position, server: Server) -> bool:
        """Say nothing."""
        return False


class UnreadablePassesOver(Rules):
    """F1: what cannot be read passes over, also where it was part of a snapshot, whose other parts then count as the whole."""

    breaks = "right"

    def hear(self, replica: Replica, frame: Frame) -> tuple[Replica, Frame]:
        """Take it for a frame of a later protocol."""
        return replica, Unknown() if isinstance(frame, Unreadable) else frame


MUTANTS: tuple[type[Rules], ...] = (
    NoChain,
    NoEpochOrder,
    NoSnapshotOrder,
    NoGeneration,
    NoDigest,
    StreamIsNotAlone,
    SeenBeforeDurable,
    SnapshotThenRegistration,
    HeartbeatOverOwed,
    CommitInPieces,
    CopyKeepsEpoch,
    SilentCompaction,
    UnreadablePassesOver,
)


def _forgetful(replica: Replica) -> Replica:
    """Return a replica that has never shown anything."""
    return Replica(replica.topics, faults=replica.faults, parts=replica.parts, parts_position=replica.parts_position)


def _honest(replica: Replica, change: Change) -> Change:
    if isinstance(change, Full):
        return replace(change, digest=digest(change.encoded))
    shown = replica.entries.get(change.key)
    if isinstance(change, Delta) and shown is not None:
        try:
            return replace(change, digest=digest(encode(apply(shown.document, change.patch))))
        except PeerError:
            return change
    return change
