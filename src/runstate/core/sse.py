"""Server-sent events as runstate speaks them (PROTOCOL F7): bytes out of an event, events out of bytes.

Law: a line ends at LF and nowhere else. JSON may hold U+2028, U+2029 and U+0085 raw, so nothing here may call
`splitlines`. The decoder is a value: feeding it gives the events and the decoder for the next bytes, wherever the
network cut them. Field rules are those of the WHATWG standard (`id` and `retry` stay until they are set again).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One dispatched event."""

    data: str  #: Its `data` lines joined by LF.
    id: str | None  #: The last event id so far, None before the first.


@dataclass(frozen=True, slots=True)
class SseDecoder:
    """Where a stream of bytes is; begin with `SseDecoder()`."""

    last_id: str | None = None  #: What `Last-Event-ID` would be.
    retry_ms: int | None = None  #: The last `retry` the server sent.
    begun: bool = False  #: The first line is behind us, so a byte order mark would be text.
    rest: bytes = b""  #: The line that has not ended yet.
    data: tuple[str, ...] | None = None  #: `data` lines of the event that has not ended yet.
    pending_id: str | None = None  #: Its `id`; counts once the event ends.

    def feed(self, received: bytes) -> tuple[SseDecoder, tuple[SseEvent, ...]]:
        """Return the decoder after `received`, and the events that ended in it."""
        *lines, rest = (self.rest + received).split(b"\n")
        decoder = replace(self, rest=rest)
        events: list[SseEvent] = []
        for raw_line in lines:
            line = raw_line if decoder.begun else raw_line.removeprefix(_BOM)
            if line:
                decoder = replace(_field(decoder, line), begun=True)
                continue
            if decoder.data is not None:
                events.append(SseEvent("\n".join(decoder.data), decoder.pending_id))
            decoder = replace(decoder, begun=True, data=None, last_id=decoder.pending_id)
        return decoder, tuple(events)


def encode(
    data: bytes,
    *,
    id: str | None = None,  # noqa: A002 - the field's own name
    retry_ms: int | None = None,
) -> bytes:
    """Return one event as bytes.

    Args:
        data: UTF-8 without CR, which other decoders would take for the end of a line; LF makes several `data` lines.
        id: The position a reader may resume from.
        retry_ms: How long it should wait before it connects again.
    """
    assert b"\r" not in data, "JSON of ours holds no raw CR"
    lines = [f"id: {id}\n".encode()] if id is not None else []
    if retry_ms is not None:
        lines.append(f"retry: {retry_ms}\n".encode())
    lines.append(b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n")
    return b"".join(lines)


def _field(decoder: SseDecoder, line: bytes) -> SseDecoder:
    raw_name, _, raw_value = line.partition(b":")
    name = raw_name.decode("utf-8", "replace")
    value = raw_value.decode("utf-8", "replace").removeprefix(" ")
    match name:
        case "data":
            return replace(decoder, data=(*(decoder.data or ()), value))
        case "id" if "\0" not in value:
            return replace(decoder, pending_id=value)
        case "retry" if value.isascii() and value.isdigit() and len(value) <= 15:
            return replace(decoder, retry_ms=int(value))
        case _:  # a comment (empty name) or a field that nobody defined
            return decoder
