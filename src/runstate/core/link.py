"""One client's connection: what to do next, and what to tell the person who looks (PROTOCOL F6, F10, F12, F13).

    idle ──Start──▶ connecting ──first frame──▶ open ──bye, drop, silence, BEHIND──▶ waiting ──Tick──▶ connecting …
                                                 └─ RESYNC: ask in-line (WebSocket), or anew without resume (SSE)

Law: `step` takes what happened, the time and a random number, and returns the next link and the actions for the shell.
A shell holds one socket and one timer for `wake_at`, and no rule. What a socket of an earlier generation still says is
dropped. No request is repeated without a wait (`core/backoff.py`), and there is no last try.

Which loops could spin, and what stops them: connecting (`failures`, reset only by a connection that lived for a
heartbeat) and asking for snapshots (`asks`, reset only by a step applied a heartbeat after the last ask).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from runstate.core.backoff import delay_ms
from runstate.core.replica import Bye, Frame, Hello, Outcome, Replica, Snapshot, Transition, Trouble, begin, receive

Transport = Literal["websocket", "sse"]  # "long-poll" will join as the last resort of F13
LinkState = Literal["connecting", "live", "quiet", "source-stale", "stale", "resyncing", "integrity"]
Phase = Literal["idle", "connecting", "open", "waiting", "stopped"]

PROTOCOL = 1
HEARTBEAT_MS = 5000  # until a hello names another
HELLO_WITHIN_MS = 10_000  # a proxy may swallow an upgrade and say nothing
PATIENCE = 3  # heartbeats without a useful frame until a view is stale and a connection dead (F12)


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
class Stop:
    """End for good."""


Event = Start | Received | Dropped | Tick | Stop


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
    """Close this connection and expect nothing more of it."""

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
    is_quiet: bool = False
    source_age_ms: int | None = None  #: As of the last transition.
    trouble: Trouble | None = None  #: Why the server refused us last; None once a frame came.
    state: LinkState = "connecting"
    since: int = 0  #: When `state` began.


def wake_at(link: Link) -> int | None:
    """Return when the shell must send a `Tick` if nothing else happens; None: never."""
    match link.phase:
        case "idle" | "stopped":
            return None
        case "waiting":
            own = link.connect_at
        case "connecting":
            own = link.connected_at + HELLO_WITHIN_MS
        case "open":
            own = link.heard_at + _patience(link)
    stale_at = None if link.confirmed_at is None or link.state == "stale" else link.confirmed_at + _patience(link)
    return min(at for at in (own, link.ask_at, stale_at) if at is not None)


def step(link: Link, event: Event, *, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    """Return the link after `event`, and what the shell is to do, in order.

    Args:
        random: Drawn evenly from [0, 1), anew for each step.
    """
    actions: tuple[Action, ...] = ()
    match event:
        case Start() if link.phase == "idle":
            link, actions = _connect(replace(link, transport=link.transports[0], since=now_ms), now_ms)
        case Received() if _is_current(link, event.generation):
            link, actions = _received(replace(link, retry_ms=event.retry_ms), event.frame, now_ms, random)
        case Dropped() if _is_current(link, event.generation):
            link = replace(link, trouble=event.trouble, retry_ms=max(link.retry_ms, event.retry_ms))
            link = _wait(link, now_ms, random)
        case Tick():
            link, actions = _tick(link, now_ms, random)
        case Stop() if link.phase != "stopped":
            actions = _disconnect(link)
            link = replace(link, phase="stopped", ask_at=None, connect_at=None)
        case Start() | Received() | Dropped() | Stop():
            return link, ()  # of an earlier generation, or too late
        case _:
            assert_never(event)
    state = _state(link, now_ms)
    return (link if state == link.state else replace(link, state=state, since=now_ms)), actions


def _received(link: Link, frame: Frame, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    replica, outcome = receive(link.replica, frame)
    link = replace(link, replica=replica)
    match frame:
        case Hello() if frame.protocol != PROTOCOL:
            told = Trouble("protocol", 0, f"the server speaks protocol {frame.protocol}, this client {PROTOCOL}")
            return _leave(replace(link, trouble=told), now_ms, random)
        case Bye():
            return _leave(replace(link, retry_ms=frame.retry_ms), now_ms, random)
        case Trouble():
            # Our own later `subscribe` was refused, so the snapshot will not come on this connection.
            return _leave(replace(link, trouble=frame), now_ms, random)
        case Hello():
            link = replace(link, heartbeat_ms=frame.heartbeat_ms)
        case Transition() if outcome is Outcome.APPLIED:
            link = replace(link, source_age_ms=frame.source_age_ms, is_quiet=not frame.changes)
        case Snapshot():
            link = replace(link, is_quiet=False)
    if link.phase == "connecting":
        proven = link.proven | {link.transport}
        link = replace(link, phase="open", heard_at=now_ms, trouble=None, proven=proven)
    match outcome:
        case Outcome.APPLIED:
            return _confirmed(link, now_ms), ()
        case Outcome.PART:
            return replace(link, heard_at=now_ms), ()
        case Outcome.IGNORED:
            return link, ()
        case Outcome.RESYNC:
            return _ask(link, now_ms, random)
        case Outcome.BEHIND:
            return _leave(link, now_ms, random)
        case _:
            assert_never(outcome)


def _confirmed(link: Link, now_ms: int) -> Link:
    lived = now_ms - link.connected_at >= link.heartbeat_ms
    calm = link.asked_at is None or now_ms - link.asked_at >= link.heartbeat_ms
    failures, asks = 0 if lived else link.failures, 0 if calm else link.asks
    return replace(link, heard_at=now_ms, confirmed_at=now_ms, ask_at=None, failures=failures, asks=asks)


def _ask(link: Link, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    """Ask for a snapshot: at once the first time, after a wait when that did not help."""
    if link.ask_at is not None:
        return link, ()
    wait_ms = 0 if link.asks == 0 else delay_ms(link.asks - 1, random)
    link = replace(link, asks=link.asks + 1, asked_at=now_ms + wait_ms)
    if link.transport == "sse":  # an event stream hears nothing: only a new one can ask
        return replace(link, phase="waiting", connect_at=now_ms + wait_ms, ask_at=None), _disconnect(link)
    if wait_ms == 0:
        return link, (Resync(link.generation, _delta(link)),)
    return replace(link, ask_at=now_ms + wait_ms), ()


def _tick(link: Link, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    match link.phase:
        case "waiting" if link.connect_at is not None and now_ms >= link.connect_at:
            return _connect(link, now_ms)
        case "connecting" if now_ms >= link.connected_at + HELLO_WITHIN_MS:
            return _leave(link, now_ms, random)
        case "open" if now_ms >= link.heard_at + _patience(link):
            return _leave(link, now_ms, random)
        case "open" if link.ask_at is not None and now_ms >= link.ask_at:
            return replace(link, ask_at=None), (Resync(link.generation, _delta(link)),)
        case _:
            return link, ()


def _connect(link: Link, now_ms: int) -> tuple[Link, tuple[Action, ...]]:
    resume = link.replica.resume
    replica = begin(link.replica, resume=resume is not None)
    link = replace(link, phase="connecting", generation=link.generation + 1, replica=replica)
    link = replace(link, connect_at=None, connected_at=now_ms, retry_ms=0)
    named = None if resume is None else str(resume)
    return link, (Connect(link.generation, link.transport, named, _delta(link)),)


def _leave(link: Link, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    return _wait(link, now_ms, random), _disconnect(link)


def _wait(link: Link, now_ms: int, random: float) -> Link:
    """Return the link on its way to the next try. The server's `retry_ms` is the least; the jitter comes on top."""
    return replace(
        link,
        phase="waiting",
        transport=_next_transport(link),
        failures=link.failures + 1,
        connect_at=now_ms + link.retry_ms + delay_ms(link.failures, random),
        ask_at=None,
    )


def _next_transport(link: Link) -> Transport:
    """F13: from a try that brought no frame on to the next; from a good connection back to the best if it is proven."""
    if link.phase == "open":
        return link.transports[0] if link.transports[0] in link.proven else link.transport
    return link.transports[(link.transports.index(link.transport) + 1) % len(link.transports)]


def _disconnect(link: Link) -> tuple[Action, ...]:
    return (Disconnect(link.generation),) if link.phase in ("connecting", "open") else ()


def _is_current(link: Link, generation: int) -> bool:
    return generation == link.generation and link.phase in ("connecting", "open")


def _delta(link: Link) -> bool:
    return link.delta and link.replica.faults == 0  # F10: after a wrong digest only whole documents


def _patience(link: Link) -> int:
    return PATIENCE * link.heartbeat_ms


def _state(link: Link, now_ms: int) -> LinkState:
    """F12, the gravest first."""
    replica = link.replica
    if link.confirmed_at is None:
        return "stale" if link.phase == "stopped" else "connecting"
    if link.phase == "stopped" or now_ms >= link.confirmed_at + _patience(link):
        return "stale"
    if replica.doubtful:
        return "integrity"
    if link.phase != "open" or not replica.following or replica.expecting:
        return "resyncing"
    if link.source_age_ms is not None and link.source_age_ms > _patience(link):
        return "source-stale"
    return "quiet" if link.is_quiet else "live"
