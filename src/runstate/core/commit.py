"""A commit: the one step in which documents change, as journalled and as sent (PROTOCOL V2, V3, F5).

The canonical bytes, the digest and the patch are made here, once; every transport copies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from runstate.core.canonical import FrozenJson, digest, encode
from runstate.core.errors import InvalidValue
from runstate.core.model import MAX_DOCUMENT_BYTES, PipelineDocument, RunContext, Value, decode_pipeline, decode_run
from runstate.core.patch import diff
from runstate.core.position import Position
from runstate.core.times import format_time

Kind = Literal["run", "pipeline"]


class Key(NamedTuple):
    """What a document is known by, store-wide."""

    kind: Kind
    id: str  #: `run_id` or the pipeline's name.


@dataclass(frozen=True, slots=True)
class Document:
    """One version of one document, with everything a reader may be sent of it."""

    key: Key
    value: Value
    encoded: bytes  #: Canonical; what `value.encoded()` gave at commit, byte for byte.
    digest: str
    position: Position  #: Of the commit that made this version.
    at_ms: int  #: Wall time of that commit.
    old_state: str  #: State at version − 1 (`idle` before version 1); for a pipeline always "".

    @property
    def version(self) -> int:
        return self.value.version

    @property
    def run(self) -> RunContext:
        """The value of a run document; asking a pipeline document is a bug."""
        assert isinstance(self.value, RunContext)
        return self.value

    @property
    def pipeline(self) -> PipelineDocument:
        """The value of a pipeline document; asking a run document is a bug."""
        assert isinstance(self.value, PipelineDocument)
        return self.value


@dataclass(frozen=True, slots=True)
class Change:
    """One document's step in a commit."""

    document: Document
    patch: bytes | None  #: RFC 6902 from version − 1, canonical JSON; None for version 1.


@dataclass(frozen=True, slots=True)
class Note:
    """A fact that is journalled beside the documents and never shown, such as a run's ledger."""

    kind: str
    id: str
    value: bytes | None  #: None removes it.


@dataclass(frozen=True, slots=True)
class Commit:
    """What one revision did. All of it becomes durable together, or none of it."""

    position: Position
    at_ms: int  #: Wall time, milliseconds since the Unix epoch.
    cause: FrozenJson  #: `{"event": word, "by": text|null, …}`: what happened and who wanted it.
    changes: tuple[Change, ...]
    notes: tuple[Note, ...] = ()


def key_of(value: Value) -> Key:
    """Return the key of a document that is in the store (a run document with a `run_id`)."""
    if isinstance(value, PipelineDocument):
        return Key("pipeline", value.pipeline)
    assert value.run_id is not None, "the document of a pipeline that never ran is not in the store"
    return Key("run", value.run_id)


def make_document(
    value: Value, *, position: Position, at_ms: int, old_state: str = "", reserve_bytes: int = 0
) -> Document:
    """Return `value` as a document; `value` carries its epoch, version and time already.

    Args:
        reserve_bytes: Room that must be left below the largest size of PROTOCOL §2.

    Raises:
        InvalidValue: It is too large.
    """
    encoded = value.encoded()
    limit = MAX_DOCUMENT_BYTES - reserve_bytes
    if len(encoded) > limit:
        raise InvalidValue(
            f"the document of {' '.join(key_of(value))} would be {len(encoded)} bytes, more than {limit}; "
            "keep large things in files and name them in metadata or outputs"
        )
    return Document(key_of(value), value, encoded, digest(encoded), position, at_ms, old_state)


def make_change(
    old: Document | None, value: Value, *, position: Position, at_ms: int, reserve_bytes: int = 0
) -> Change:
    """Return the step from `old` (None: there was none) to `value`, stamped with the commit's epoch, version and time.

    Args:
        reserve_bytes: Room that the new document must leave below the largest size.

    Raises:
        InvalidValue: The new document is too large.
    """
    stamped = msgspec.structs.replace(
        value,
        epoch=position.epoch,
        version=1 if old is None else old.version + 1,
        updated_at=format_time(at_ms),
    )
    old_state = "" if isinstance(value, PipelineDocument) else "idle" if old is None else old.run.state
    document = make_document(stamped, position=position, at_ms=at_ms, old_state=old_state, reserve_bytes=reserve_bytes)
    patch = None if old is None else encode(diff(old.value.to_dict(), stamped.to_dict()))
    return Change(document, patch)


def restore_document(kind: Kind, encoded: bytes, *, position: Position, at_ms: int, old_state: str) -> Document:
    """Return the document that a journal kept.

    Raises:
        InvalidValue: `encoded` is not such a document.
    """
    value: Value = decode_run(encoded) if kind == "run" else decode_pipeline(encoded)
    return Document(key_of(value), value, encoded, digest(encoded), position, at_ms, old_state)
