"""What happened, as plain data: what the journal made durable, what each client was sent, and what it showed.

A recording is a list of events in the order in which they were seen, and one line of JSON each. It knows no code of
runstate, so a simulation and a live server are judged by the same judge (`testing/guarantees.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One version of one document, as somebody saw it."""

    kind: str
    id: str
    version: int
    position: str  #: Of the commit that made the version.
    digest: str  #: As claimed.
    actual: str | None = None  #: Digest of the bytes that were seen; None where none were (a patch).
    relative: str | None = (
        None  #: Of a run its pipeline, of a pipeline its current run; only the journal's rows need it.
    )
    verified: bool = True  #: False: shown, and shown as not verified (PROTOCOL F10).

    @property
    def key(self) -> tuple[str, str]:
        """What the document is known by."""
        return self.kind, self.id

    def __str__(self) -> str:
        return f"{self.id[-10:]} v{self.version}{'' if self.verified else '?'}"


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    def __str__(self) -> str:
        named = ((name, getattr(self, name)) for name in self.__struct_fields__)
        words = (
            f"{name}=[{', '.join(map(str, value))}]" if name == "rows" else f"{name}={value}" for name, value in named
        )
        return f"{type(self).__name__}({', '.join(words)})"


class Opened(_Event, frozen=True, kw_only=True, tag="opened"):
    """A store began, empty or as a copy; what it commits is recorded from here on."""

    epoch: str
    copy_of: str | None = None  #: The epoch of the original.
    revision: int = 0  #: Up to which it was copied.


class Committed(_Event, frozen=True, kw_only=True, tag="committed"):
    """A commit is durable."""

    position: str
    rows: tuple[Row, ...]


class _Seen(_Event, frozen=True, kw_only=True):
    client: str
    at_ms: int  #: Of one clock for the whole recording.


class Connected(_Seen, frozen=True, kw_only=True, tag="connected"):
    """A connection was asked for; what is heard from here on is of this one."""

    topics: str
    mode: str = "latest"
    delta: bool = False
    resume: str | None = None


class Asked(_Seen, frozen=True, kw_only=True, tag="asked"):
    """The client asked for a snapshot on its open connection."""


class Greeted(_Seen, frozen=True, kw_only=True, tag="hello"):
    """A `hello` arrived."""

    epoch: str
    position: str


class Snapped(_Seen, frozen=True, kw_only=True, tag="snapshot"):
    """A part of a snapshot arrived."""

    position: str
    more: bool
    reason: str
    rows: tuple[Row, ...]


class Stepped(_Seen, frozen=True, kw_only=True, tag="transition"):
    """A transition arrived."""

    start: str
    end: str
    rows: tuple[Row, ...]


class Left(_Seen, frozen=True, kw_only=True, tag="bye"):
    """A `bye` arrived."""

    code: str
    resume: str


class Shown(_Seen, frozen=True, kw_only=True, tag="shown"):
    """What the client showed to a person from here on."""

    position: str | None
    rows: tuple[Row, ...]
    state: str = "live"  #: Of the link (PROTOCOL F12).


class Read(_Seen, frozen=True, kw_only=True, tag="read"):
    """A poll, a GET of a version or a command's answer arrived."""

    row: Row


class Settled(_Event, frozen=True, kw_only=True, tag="settled"):
    """Nothing has happened for so long that each of `clients` must show the head of the store."""

    position: str
    clients: tuple[str, ...]


Event = (
    Opened | Committed | Connected | Asked | Greeted | Snapped | Stepped | Left | Shown | Read | Settled
)  # fmt: skip

_decoder = msgspec.json.Decoder(Event)


def encode(events: Iterable[Event]) -> bytes:
    """Return the events as lines of JSON."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def decode(lines: bytes) -> list[Event]:
    """Return the events that `encode` wrote."""
    return _decoder.decode_lines(lines)
