"""The border where a server's bytes become frames: parse once, here, into the values of `core/replica.py`.

Law: nothing that arrives raises. A frame of a type that this version does not know is `Unknown` and passes over; one
that breaks the protocol is `Unreadable`, and the connection is left. Unknown members are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from runstate.core.canonical import decode
from runstate.core.commit import Key
from runstate.core.errors import InvalidValue, PeerError
from runstate.core.position import Position, epoch_number
from runstate.core.replica import (
    Bye,
    Change,
    Delta,
    Frame,
    Full,
    Hello,
    Left,
    Snapshot,
    Transition,
    Trouble,
    Unknown,
    Unreadable,
)

PROTOCOL = 1


class _Typed(msgspec.Struct):
    type: str


class _Hello(msgspec.Struct):
    protocol: int
    epoch: str
    heartbeat_ms: int


class _Base(msgspec.Struct):
    version: int
    digest: str


class _Data(msgspec.Struct):
    old_state: str | None = None
    new_state: str | None = None
    canonical_state: msgspec.Raw = msgspec.Raw()  # empty where the member is not there
    document: msgspec.Raw = msgspec.Raw()
    base: _Base | None = None
    patch: Any = None


class _Change(msgspec.Struct):
    event: str
    kind: str | None = None
    run_id: str | None = None
    pipeline: str | None = None
    position: str = ""
    version: int = 0
    digest: str = ""
    data: _Data | None = None


class _Snapshot(msgspec.Struct):
    position: str
    more: bool
    changes: list[_Change]


class _Transition(msgspec.Struct):
    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    source_age_ms: int
    changes: list[_Change]


class _Bye(msgspec.Struct):
    code: str
    retry_ms: int = 0


class _Trouble(msgspec.Struct):
    code: str = "unknown"
    status: int = 0
    detail: str | None = None
    title: str | None = None


_typed = msgspec.json.Decoder(_Typed)
_hello = msgspec.json.Decoder(_Hello)
_snapshot = msgspec.json.Decoder(_Snapshot)
_transition = msgspec.json.Decoder(_Transition)
_bye = msgspec.json.Decoder(_Bye)
_trouble = msgspec.json.Decoder(_Trouble)


def parse_frame(text: str | bytes) -> Frame:
    """Return the frame that a message holds."""
    try:
        return _parse(text)
    except (msgspec.DecodeError, UnicodeDecodeError, PeerError, InvalidValue):
        return Unreadable()


def parse_trouble(text: str | bytes, status: int) -> Trouble | None:
    """Return what an RFC 9457 answer with HTTP `status` says; None if the body is not one of ours."""
    try:
        told = _trouble.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if told.code == "unknown" else Trouble(told.code, status, told.detail or told.title or told.code)


def _parse(text: str | bytes) -> Frame:
    match _typed.decode(text).type:
        case "hello":
            hello = _hello.decode(text)
            epoch_number(hello.epoch)
            if hello.heartbeat_ms <= 0:
                raise PeerError(f"{hello.heartbeat_ms} ms is not a time between heartbeats")
            return Hello(hello.protocol, hello.epoch, hello.heartbeat_ms)
        case "snapshot":
            snapshot = _snapshot.decode(text)
            return Snapshot(Position.parse(snapshot.position), snapshot.more, _changes(snapshot.changes))
        case "transition":
            step = _transition.decode(text)
            return Transition(
                Position.parse(step.start), Position.parse(step.end), step.source_age_ms, _changes(step.changes)
            )
        case "bye":
            bye = _bye.decode(text)
            return Bye(bye.code, max(0, bye.retry_ms))
        case "problem":
            told = _trouble.decode(text)
            return Trouble(told.code, told.status, told.detail or told.title or told.code)
        case _:
            return Unknown()


def _changes(changes: list[_Change]) -> tuple[Change, ...]:
    parsed = (_change(change) for change in changes)
    return tuple(change for change in parsed if change is not None)


def _change(change: _Change) -> Change | None:
    match change.event:
        case "gone" if change.kind in ("run", "pipeline"):
            return Left(_key(change))
        case "state_change" | "pipeline_change":
            return _step(change)
        case _:
            return None  # an event of a later protocol


def _step(change: _Change) -> Change:
    data = change.data or _Data()
    key, position = _key(change), Position.parse(change.position)
    encoded = bytes(data.canonical_state if change.event == "state_change" else data.document)
    common = (key, change.version, position, change.digest, data.old_state, data.new_state)
    if encoded:
        if not isinstance(decode(encoded), dict):
            raise PeerError("a document is a JSON object")
        return Full(*common, encoded)
    if data.base is None:
        raise PeerError("a change carries a document, or a patch and its base")
    return Delta(*common, data.base.version, data.base.digest, data.patch)


def _key(change: _Change) -> Key:
    is_run = change.event == "state_change" or (change.event == "gone" and change.kind == "run")
    name = change.run_id if is_run else change.pipeline
    if name is None:
        raise PeerError("a change names its run or its pipeline")
    return Key("run" if is_run else "pipeline", name)
