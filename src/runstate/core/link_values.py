"""The values of core/link.py: what happens to a link, what it asks of its shell, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from runstate.core.replica import Frame, Replica, Trouble

Transport = Literal["websocket", "sse", "long-poll"]
LinkState = Literal["connecting", "live", "quiet", "source-stale", "stale", "resyncing", "integrity"]
Phase = Literal["idle", "connecting", "open", "waiting", "stopped"]

HEARTBEAT_MS = 5000  # until a hello names another


@dataclass(frozen=True, slots=True)
class Start:
    """Begin."""


@dataclass(frozen=True, slots=True)
class Received:
    """The connection brought a message."""

    generation: int
    frame: Frame
    retry_ms: int = 0  #: The latest `retry:` of an event stream.


@dataclass(frozen=True, slots=True)
class Dropped:
    """The connection ended, or could not be made."""

    generation: int
    trouble: Trouble | None = None  #: What the server answered instead of a stream.
    retry_ms: int = 0  #: `Retry-After`.


@dataclass(frozen=True, slots=True)
class Tick:
    """`wake_at` has come."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Somebody has changed what kept us out: a wait is over now."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End for good."""


Event = Start | Received | Dropped | Tick | Retry | Stop


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection; its events carry `generation`."""

    generation: int
    transport: Transport
    resume: str | None  #: The position to name, or None for a snapshot.
    delta: bool


@dataclass(frozen=True, slots=True)
class Resync:
    """Send a `subscribe` without `resume` on the open WebSocket."""

    generation: int
    delta: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection of this generation and expect nothing more of it."""

    generation: int


Action = Connect | Resync | Disconnect


@dataclass(frozen=True, slots=True)
class Link:
    """Where the connection is; all times are `now_ms` of the client's own clock."""

    transports: tuple[Transport, ...] = ("websocket", "sse")  #: In order of preference.
    replica: Replica = field(default_factory=Replica)
    delta: bool = False  #: Ask for patches, while no digest was ever wrong.
    phase: Phase = "idle"
    generation: int = 0
    latest: int = 0  #: Generation that was last given out.
    transport: Transport = "websocket"
    proven: frozenset[Transport] = frozenset()  #: Have brought a frame at least once.
    heartbeat_ms: int = HEARTBEAT_MS
    failures: int = 0  #: Connections since one last lived for a heartbeat.
    asks: int = 0  #: Snapshots asked for since all was last well.
    asked_at: int | None = None
    ask_at: int | None = None  #: When to ask again, in the phase open.
    connect_at: int | None = None  #: When to connect, in the phase waiting.
    connected_at: int = 0  #: When this connection was begun.
    heard_at: int = 0  #: The last useful frame of this connection.
    confirmed_at: int | None = None  #: The last frame that said: what is shown is right up to now.
    retry_ms: int = 0  #: What the server said of this connection's successor.
    rising: Connect | None = None  #: A stream that is tried beside the long-poll.
    rise_at: int | None = None  #: When to try one, or to give up the one that is tried.
    rises: int = 0  #: Tried beside this long-poll so far.
    is_quiet: bool = False
    source_age_ms: int | None = None  #: As of the last transition.
    trouble: Trouble | None = None  #: Why the server refused us last; None once a frame came.
    state: LinkState = "connecting"
    since: int = 0  #: When `state` began.
