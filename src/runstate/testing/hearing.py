"""From a frame's bytes to the event that records it."""

from __future__ import annotations

from typing import Any

import msgspec

from runstate.client.frames import parse_frame
from runstate.core.canonical import digest
from runstate.core.replica import Bye, Change, Full, Hello, Snapshot, Transition
from runstate.core.replica import Left as Gone
from runstate.testing import recording
from runstate.testing.recording import Row


class _Told(msgspec.Struct):
    reason: str = ""
    resume: str = ""
    position: str = ""


_told = msgspec.json.Decoder(_Told)


def heard(client: str, at_ms: int, data: bytes) -> recording.Event | None:
    """Return the event that records a frame; None for one that is of no matter or cannot be read."""
    frame: Any = parse_frame(data)
    common: dict[str, Any] = {"client": client, "at_ms": at_ms}
    match frame:
        case Hello(epoch=epoch):
            return recording.Greeted(**common, epoch=epoch, position=_told.decode(data).position)
        case Snapshot(position=position, more=more, changes=changes):
            reason = _told.decode(data).reason
            return recording.Snapped(
                **common, position=str(position), more=more, reason=reason, rows=tuple(_row(one) for one in changes)
            )
        case Transition(start=start, end=end, changes=changes):
            rows = tuple(_row(one) for one in changes if not isinstance(one, Gone))
            return recording.Stepped(**common, start=str(start), end=str(end), rows=rows)
        case Bye(code=code):
            return recording.Left(**common, code=code, resume=_told.decode(data).resume)
        case _:
            return None


def _row(change: Change) -> Row:
    assert not isinstance(change, Gone), "nothing is deleted yet"
    actual = digest(change.encoded) if isinstance(change, Full) else None
    return Row(*change.key, change.version, str(change.position), change.digest, actual)
