"""The frames of PROTOCOL §4, as the bytes that WebSocket and SSE both send.

A document's stored bytes are spliced in as they are, so a socket and a poll show the same bytes at one version (F4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from runstate.core.canonical import Json
from runstate.core.commit import Document
from runstate.core.reader import Base
from runstate.core.times import format_time

PROTOCOL = 1
HEARTBEAT_MS = 5000
SNAPSHOT_PART_BYTES = 256 * 1024  # a part closes once it is this full; one document may be as large

SnapshotReason = Literal["initial", "compacted", "epoch", "subscribe"]
ByeCode = Literal["drain", "slow", "auth", "behind"]

#: WebSocket close codes (F8); 1011 is for everything else that ends a stream.
CLOSE_CODES: dict[ByeCode, int] = {"drain": 1012, "slow": 4008, "auth": 1008, "behind": 1011}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to a reader."""

    data: bytes  #: One JSON object, without line feeds.
    id: str | None = None  #: The position a reader may resume from, where F7 wants it on SSE.
    retry_ms: int | None = None  #: How long a reader should wait before it connects again.
    close: int | None = None  #: Close the connection with this WebSocket code after sending.


def full_change(document: Document, *, in_snapshot: bool = False) -> bytes:
    """Return a change that carries the whole document; in a snapshot its `old_state` equals its `new_state` (F9)."""
    raw = msgspec.Raw(document.encoded)
    if document.key.kind == "pipeline":
        return _change(document, {"document": raw})
    state = document.run.state
    old_state = state if in_snapshot else document.old_state
    return _change(document, {"old_state": old_state, "new_state": state, "canonical_state": raw})


def delta_change(document: Document, base: Base, patch: bytes) -> bytes:
    """Return a change that carries the patch from the version that the reader has (F9)."""
    states = (
        {} if document.key.kind == "pipeline" else {"old_state": document.old_state, "new_state": document.run.state}
    )
    named = {"version": base.version, "digest": base.digest}
    return _change(document, {**states, "base": named, "patch": msgspec.Raw(patch)})


def _change(document: Document, data: Json) -> bytes:
    if document.key.kind == "pipeline":
        what: dict[str, Json] = {"event": "pipeline_change", "kind": "pipeline", "pipeline": document.key.id}
    else:
        what = {"event": "state_change", "kind": "run", "run_id": document.key.id, "stage": "pipeline"}
    common = {
        "position": str(document.position),
        "version": document.version,
        "digest": document.digest,
        "timestamp": format_time(document.at_ms),
        "data": data,
    }
    return msgspec.json.encode(what | common)


def hello(*, server: str, epoch: str, position: str) -> Frame:
    """Return the first frame of every stream (F1)."""
    body = {
        "type": "hello",
        "protocol": PROTOCOL,
        "server": server,
        "epoch": epoch,
        "position": position,
        "heartbeat_ms": HEARTBEAT_MS,
    }
    return Frame(msgspec.json.encode(body))


def snapshot(documents: Iterable[Document], *, reason: SnapshotReason, position: str) -> Iterator[Frame]:
    """Yield the parts of a snapshot, at least one; the last says `more: false` and carries the id (F1, F7)."""
    part: list[bytes] = []
    size = 0
    for document in documents:
        change = full_change(document, in_snapshot=True)
        if part and size + len(change) > SNAPSHOT_PART_BYTES:
            yield _snapshot_part(part, reason=reason, position=position, more=True)
            part, size = [], 0
        part.append(change)
        size += len(change)
    yield _snapshot_part(part, reason=reason, position=position, more=False)


def _snapshot_part(changes: Sequence[bytes], *, reason: SnapshotReason, position: str, more: bool) -> Frame:
    body = {"type": "snapshot", "reason": reason, "position": position, "more": more, "changes": _array(changes)}
    return Frame(msgspec.json.encode(body), id=None if more else position)


def transition(changes: Sequence[bytes], *, start: str, end: str, now_ms: int, source_age_ms: int) -> Frame:
    """Return the step from one position to a later one; without changes it is the heartbeat (F2, F3)."""
    body = {
        "type": "transition",
        "from": start,
        "to": end,
        "server_time": format_time(now_ms),
        "source_age_ms": source_age_ms,
        "changes": _array(changes),
    }
    return Frame(msgspec.json.encode(body), id=end)


def bye(code: ByeCode, *, resume: str, retry_ms: int) -> Frame:
    """Return the last frame of a stream that the server ends."""
    body = {"type": "bye", "code": code, "retry_ms": retry_ms, "resume": resume}
    return Frame(msgspec.json.encode(body), retry_ms=retry_ms, close=CLOSE_CODES[code])


def problem(members: Json) -> Frame:
    """Return a frame that says what was wrong with a reader's message (RFC 9457 members)."""
    return Frame(msgspec.json.encode({**members, "type": "problem"}))


def _array(changes: Sequence[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(changes) + b"]")
