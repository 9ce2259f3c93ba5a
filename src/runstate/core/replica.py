"""A reader's copy of the documents: never wrong, only behind, and it says so (PROTOCOL F1–F6, F9–F11).

    frame           what the replica does
    ──────────────  ──────────────────────────────────────────────────────────────────────────────────────────
    hello           of a smaller epoch: LEAVE (F6); of another one: a snapshot is due
    snapshot        gathers the parts, then swaps the whole store; older than what it shows: LEAVE
    transition      begins at our position: swaps the store; ended at or before it: IGNORED; else RESYNC (F2)
    unreadable      LEAVE: the other parts of the snapshot that it may be of must not pass as the whole

Law: `receive` is the only way in (F11). Nothing that a peer sends raises. A document whose digest is not that of its
bytes is refused once; from the second time on it is taken, marked as not verified, until a version verifies (F10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from runstate.core.canonical import Json, decode, digest, encode
from runstate.core.commit import Key
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.patch import apply
from runstate.core.position import Position, epoch_number


@dataclass(frozen=True, slots=True)
class _Step:
    key: Key
    version: int
    position: Position
    digest: str  #: Of the document at `version`, says the server.
    old_state: str | None  #: State at version − 1; None for a pipeline.
    new_state: str | None  #: What the document's `state` must be; None for a pipeline.


@dataclass(frozen=True, slots=True)
class Full(_Step):
    """A change that carries the whole document."""

    encoded: bytes  #: As received.


@dataclass(frozen=True, slots=True)
class Delta(_Step):
    """A change that carries a patch (F9); valid from the named base alone."""

    base_version: int
    base_digest: str
    patch: Json


@dataclass(frozen=True, slots=True)
class Left:
    """A document that is deleted or hidden (`gone`)."""

    key: Key


Change = Full | Delta | Left


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a connection (F1)."""

    protocol: int
    epoch: str
    heartbeat_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One part of the whole store."""

    position: Position
    more: bool  #: Another part follows.
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """A step; without changes the heartbeat and watermark (F3)."""

    start: Position  #: `from` on the wire.
    end: Position  #: `to` on the wire.
    source_age_ms: int | None  #: Since the server last knew that its journal works; None: it does not say.
    changes: tuple[Change, ...]  #: Empty: a heartbeat.


@dataclass(frozen=True, slots=True)
class Bye:
    """The server ends the stream."""

    code: str
    retry_ms: int  #: Do not come back sooner; 0 where the server did not say.


@dataclass(frozen=True, slots=True)
class Trouble:
    """A `problem` frame; also how a refused connection is told (RFC 9457)."""

    code: str
    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame of a later protocol."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that breaks the protocol."""


Frame = Hello | Snapshot | Transition | Bye | Trouble | Unknown | Unreadable


class Outcome(StrEnum):
    """What a frame came to, and so what is to be done."""

    APPLIED = "applied"  #: The store is what the server says it is, up to the frame's position.
    PART = "part"  #: A snapshot is arriving.
    IGNORED = "ignored"  #: Said nothing new.
    RESYNC = "resync"  #: Ask for a snapshot; until it comes, transitions are ignored.
    LEAVE = "leave"  #: The server is older than what is shown, or not understood: leave it and try again later.


@dataclass(frozen=True, slots=True)
class Entry:
    """One document as it is shown."""

    encoded: bytes  #: Canonical JSON.
    version: int
    position: Position
    digest: str
    verified: bool  #: `digest` is that of `encoded`, and both fit what the change said of them.
    old_state: str | None
    relative: str | None = None  #: Of a run its pipeline; of a pipeline its current run.

    @property
    def document(self) -> dict[str, Json]:
        """The document as a fresh dict; changing it changes nothing else."""
        document: dict[str, Json] = decode(self.encoded)
        return document


@dataclass(frozen=True, slots=True)
class Replica:
    """The copy; begin with `Replica(topics)`."""

    topics: tuple[str, ...] = ("*",)
    position: Position | None = None  #: The store is complete up to here; None before the first snapshot.
    entries: Mapping[Key, Entry] = field(default_factory=lambda: MappingProxyType({}))
    following: bool = False  #: Transitions from `position` on may be applied.
    expecting: bool = True  #: The server has not yet answered the (re)subscription.
    parts: tuple[Change, ...] = ()  #: Of the snapshot that is arriving.
    parts_position: Position | None = None
    faults: int = 0  #: Frames with a wrong digest so far; never reset.

    @property
    def resume(self) -> Position | None:
        """Where a new connection may go on; None if it must begin with a snapshot."""
        return self.position if self.following and not self.doubtful else None

    @property
    def doubtful(self) -> bool:
        """Whether something shown is not verified (F12 `integrity`)."""
        return any(not entry.verified for entry in self.entries.values())


def begin(replica: Replica, *, resume: bool) -> Replica:
    """Return the replica at the start of a connection, whose request named `replica.resume` or did not."""
    return replace(replica, following=resume, expecting=True, parts=(), parts_position=None)


def receive(replica: Replica, frame: Frame) -> tuple[Replica, Outcome]:
    """Return the replica after `frame`, and what the frame came to."""
    match frame:
        case Hello():
            return _greet(replica, frame.epoch)
        case Snapshot():
            return _gather(replica, frame)
        case Transition():
            return _follow(replica, frame)
        case Unreadable():
            return begin(replica, resume=False), Outcome.LEAVE
        case Bye() | Trouble() | Unknown():
            return replica, Outcome.IGNORED  # the link's business


def _greet(replica: Replica, epoch: str) -> tuple[Replica, Outcome]:
    if replica.position is None or epoch == replica.position.epoch:
        return replica, Outcome.IGNORED
    if epoch_number(epoch) < epoch_number(replica.position.epoch):
        return replica, Outcome.LEAVE  # F6: a larger epoch is never replaced by a smaller
    return begin(replica, resume=False), Outcome.IGNORED


def _gather(replica: Replica, frame: Snapshot) -> tuple[Replica, Outcome]:
    if replica.position is not None:
        if _is_before(frame.position, replica.position):
            return begin(replica, resume=False), Outcome.LEAVE
        if frame.position == replica.position and not replica.expecting:
            return replica, Outcome.IGNORED
    parts = (replica.parts if frame.position == replica.parts_position else ()) + frame.changes
    if frame.more:
        return replace(begin(replica, resume=False), parts=parts, parts_position=frame.position), Outcome.PART
    return _take(replica, parts, MappingProxyType({}), frame.position)


def _follow(replica: Replica, frame: Transition) -> tuple[Replica, Outcome]:
    if not replica.following or replica.position is None:
        return replica, Outcome.IGNORED  # a snapshot is due; this was sent before the server heard us
    if frame.start == replica.position and not _is_before(frame.end, frame.start):
        return _take(replica, frame.changes, replica.entries, frame.end)
    if frame.end == replica.position or _is_before(frame.end, replica.position):
        return replica, Outcome.IGNORED  # delivered twice or late: it tells what we know
    return _lost(replica)


def _take(
    replica: Replica, changes: tuple[Change, ...], kept: Mapping[Key, Entry], position: Position
) -> tuple[Replica, Outcome]:
    entries = dict(kept)
    same_epoch = replica.position is not None and replica.position.epoch == position.epoch
    wrong = False
    for change in changes:
        if isinstance(change, Left):
            entries.pop(change.key, None)
            continue
        shown = replica.entries.get(change.key)
        if shown is not None and shown.verified and change.version < shown.version and same_epoch:
            return _lost(replica)  # V3: within one incarnation of the store no document goes back
        entry = _whole(change) if isinstance(change, Full) else _patched(change, entries.get(change.key))
        if entry is None:
            return _lost(replica)  # F9: there is no base for it
        if not entry.verified:
            wrong = True
            if replica.faults == 0 or isinstance(change, Delta):  # what a patch made wrongly is never shown
                return _lost(replace(replica, faults=replica.faults + 1))
        entries[change.key] = entry
    if changes or kept is not replica.entries:
        replica = replace(replica, entries=MappingProxyType(_without_left(entries, replica.topics)))
    faults = replica.faults + wrong
    return replace(begin(replica, resume=True), expecting=False, position=position, faults=faults), Outcome.APPLIED


def _whole(change: Full) -> Entry:
    return _entry(change, change.encoded, decode(change.encoded))


def _patched(change: Delta, base: Entry | None) -> Entry | None:
    if base is None or not base.verified or (base.version, base.digest) != (change.base_version, change.base_digest):
        return None
    try:
        document = apply(base.document, change.patch)
        if isinstance(document, dict):
            return _entry(change, encode(document), document)
    except (PeerError, InvalidValue):
        pass
    return replace(base, verified=False)  # the right base and a patch that misfits it: as wrong as a wrong digest


def _entry(change: Full | Delta, encoded: bytes, document: Json) -> Entry:
    verified = digest(encoded) == change.digest and _fits(change, document)
    relative = document.get("pipeline" if change.key.kind == "run" else "current_run_id")
    relative = relative if isinstance(relative, str) else None
    return Entry(encoded, change.version, change.position, change.digest, verified, change.old_state, relative)


def _fits(change: Full | Delta, document: Json) -> bool:
    # The digest binds id, version and state to the document, so an envelope that says otherwise is as wrong.
    return bool(
        document.get("run_id" if change.key.kind == "run" else "pipeline") == change.key.id
        and document.get("version") == change.version
        and (change.new_state is None or document.get("state") == change.new_state)
    )


def _without_left(entries: dict[Key, Entry], topics: tuple[str, ...]) -> dict[Key, Entry]:
    """Return `entries` without runs that their pipeline has left and nobody asked for: they would only age."""
    current = {key.id: entry.relative for key, entry in entries.items() if key.kind == "pipeline"}
    return {
        key: entry
        for key, entry in entries.items()
        if key.kind == "pipeline" or f"run:{key.id}" in topics or current.get(entry.relative or "", key.id) == key.id
    }


def _lost(replica: Replica) -> tuple[Replica, Outcome]:
    return begin(replica, resume=False), Outcome.RESYNC


def _is_before(one: Position, other: Position) -> bool:
    if one.epoch == other.epoch:
        return one.revision < other.revision
    return epoch_number(one.epoch) < epoch_number(other.epoch)  # equal numbers: two stores without an order
