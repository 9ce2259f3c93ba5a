"""The frames of PROTOCOL §4 as `verify` reads them: from the bytes that came, by a reader of its own.

Law: a document's digest is that of its bytes as they stood in the message. Nothing here is shared with the client, which
is one of the readers that are checked.
"""

from __future__ import annotations

from typing import Any

import msgspec

from runstate.core.canonical import digest
from runstate.core.errors import PeerError
from runstate.core.position import Position, epoch_number
from runstate.verify.judging import Row


class Base(msgspec.Struct, frozen=True):
    """The version that a patch starts from (PROTOCOL F9)."""

    version: int
    digest: str


class Data(msgspec.Struct):
    """What a change carries: a document, or a patch and its base."""

    canonical_state: msgspec.Raw = msgspec.Raw()  # empty where the member is not there
    document: msgspec.Raw = msgspec.Raw()
    base: Base | None = None
    patch: Any = None

    @property
    def encoded(self) -> bytes:
        """The document as it was received, empty where there is a patch."""
        return bytes(self.canonical_state) or bytes(self.document)


class Change(msgspec.Struct):
    """One document's part of a frame."""

    event: str
    kind: str
    run_id: str | None = None
    pipeline: str | None = None
    position: str = ""
    version: int = 0
    digest: str = ""
    data: Data = msgspec.field(default_factory=Data)

    @property
    def key(self) -> tuple[str, str]:
        """What the document is known by."""
        return self.kind, (self.run_id if self.kind == "run" else self.pipeline) or ""


class Frame(msgspec.Struct):
    """A message of any type; the members of other types have their defaults."""

    type: str
    protocol: int = 0
    epoch: str = ""
    position: str = ""
    heartbeat_ms: int = 0
    reason: str = ""
    more: bool = False
    start: str = msgspec.field(default="", name="from")
    end: str = msgspec.field(default="", name="to")
    source_age_ms: int = -1
    changes: list[Change] = []
    code: str = ""
    retry_ms: int = 0
    resume: str = ""
    detail: str | None = None


class _Document(msgspec.Struct):
    epoch: str
    version: int
    pipeline: str
    run_id: str | None = None
    current_run_id: str | None = None


_frame = msgspec.json.Decoder(Frame)
_document = msgspec.json.Decoder(_Document)
_TYPES = {"hello", "snapshot", "transition", "bye", "problem"}


def parse(raw: bytes) -> Frame | None:
    """Return the frame, None if it is of a type that a later protocol adds.

    Raises:
        PeerError: It breaks the protocol.
    """
    try:
        frame = _frame.decode(raw)
        match frame.type:
            case "hello":
                epoch_number(frame.epoch)
                Position.parse(frame.position)
                if frame.protocol != 1 or frame.heartbeat_ms <= 0:
                    raise PeerError(f"protocol {frame.protocol} with a heartbeat of {frame.heartbeat_ms} ms")
            case "snapshot":
                Position.parse(frame.position)
            case "transition":
                Position.parse(frame.start)
                Position.parse(frame.end)
            case "bye":
                Position.parse(frame.resume)
        for change in frame.changes:
            if change.event != "gone":
                Position.parse(change.position)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PeerError(str(exc)) from exc
    return frame if frame.type in _TYPES else None


def row_of(key: tuple[str, str], version: int, position: str, claimed: str, encoded: bytes) -> Row:
    """Return what a reader saw of a document, with the digest of `encoded`.

    Raises:
        PeerError: The document is another one than it was said to be.
    """
    try:
        document = _document.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PeerError(f"{key[0]} {key[1]} v{version} is not a document: {exc}") from exc
    kind, name = key
    own = (document.run_id if kind == "run" else document.pipeline, document.version, document.epoch)
    if own != (name, version, position.rpartition(".")[0]):
        raise PeerError(
            f"{kind} {name} v{version} at {position} holds the document of {own[0]} v{own[1]} of epoch {own[2]}"
        )
    relative = document.pipeline if kind == "run" else document.current_run_id
    return Row(kind, name, version, position, claimed, actual=digest(encoded), relative=relative)
