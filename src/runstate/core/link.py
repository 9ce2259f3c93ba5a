"""One client's connection: what to do next, and what to tell the person who looks (PROTOCOL F6, F10, F12, F13).

    idle ──Start──▶ connecting ──first frame──▶ open ──bye, drop, silence, LEAVE───▶ waiting ──Tick──▶ connecting …
                                                 ├─ RESYNC: ask in-line (WebSocket), or anew without resume (others)
                                                 └─ long-poll: now and then a stream is tried beside it (`rising`)

Law: `step` takes what happened, the time and a random number, and returns the next link and the actions for the shell.
A shell holds one socket per generation that it was told to connect (two at most) and one timer for `wake_at`, and no
rule. What a socket of an earlier generation still says is dropped. No request is repeated without a wait
(`core/backoff.py`), and there is no last try.

Which loops could spin, and what stops them: connecting (`failures`, reset only by a connection that lived for a
heartbeat) and asking for snapshots (`asks`, reset only by a step applied a heartbeat after the last ask).
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from runstate.core.backoff import delay_ms
from runstate.core.link_values import (
    Action,
    Connect,
    Disconnect,
    Dropped,
    Event,
    Link,
    LinkState,
    Phase,
    Received,
    Resync,
    Retry,
    Start,
    Stop,
    Tick,
    Transport,
)
from runstate.core.replica import Bye, Frame, Hello, Outcome, Snapshot, Transition, Trouble, Unreadable, begin, receive

__all__ = [
    "Action", "Connect", "Disconnect", "Dropped", "Event", "Link", "LinkState", "Phase", "Received", "Resync", "Retry",
    "Start", "Stop", "Tick", "Transport", "step", "wake_at",
]  # fmt: skip

PROTOCOL = 1
HELLO_WITHIN_MS = 10_000  # a proxy may swallow an upgrade and say nothing
PATIENCE = 3  # heartbeats without a useful frame until a view is stale and a connection dead (F12)
RISE_AFTER_MS = 30_000  # how long a long-poll goes on until a stream is tried again
REFUSED_MS = 30_000  # the least wait after a token was refused: only a person can change that
TRIES_OF_PROVEN = 4  # in a row, until a long-poll takes the place of a stream that has worked
UNAUTHORIZED = 401
EXPIRED = "the token that opened this stream is not valid any more"


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
    return min(at for at in (own, link.ask_at, link.rise_at, stale_at) if at is not None)


def step(link: Link, event: Event, *, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    """Return the link after `event`, and what the shell is to do, in order.

    Args:
        random: Drawn evenly from [0, 1), anew for each step.
    """
    actions: tuple[Action, ...] = ()
    match event:
        case Start() if link.phase == "idle":
            link, actions = _connect(replace(link, transport=link.transports[0], since=now_ms), now_ms)
        case Received() if _is_rising(link, event.generation):
            link, actions = _rise(link, event, now_ms, random)
        case Dropped() if _is_rising(link, event.generation):
            link = replace(link, rising=None, rise_at=now_ms + RISE_AFTER_MS)
        case Received() if _is_current(link, event.generation):
            link, actions = _received(replace(link, retry_ms=event.retry_ms), event.frame, now_ms, random)
        case Dropped() if _is_current(link, event.generation):
            link = replace(link, trouble=event.trouble, retry_ms=max(link.retry_ms, event.retry_ms))
            link, actions = _wait(link, now_ms, random), _disconnect_rising(link)
        case Tick():
            link, actions = _tick(link, now_ms, random)
        case Retry() if link.phase == "waiting":
            link, actions = _connect(replace(link, transport=link.transports[0]), now_ms)
        case Stop() if link.phase != "stopped":
            actions = _disconnect(link)
            link = replace(link, phase="stopped", ask_at=None, connect_at=None, rising=None, rise_at=None)
        case Start() | Received() | Dropped() | Retry() | Stop():
            pass  # of an earlier generation, or too late
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
            refused = Trouble("unauthorized", UNAUTHORIZED, EXPIRED) if frame.code == "auth" else None
            return _leave(replace(link, retry_ms=frame.retry_ms, trouble=refused), now_ms, random)
        case Trouble():
            # Our own later `subscribe` was refused, so the snapshot will not come on this connection.
            return _leave(replace(link, trouble=frame), now_ms, random)
        case Hello():
            link = replace(link, heartbeat_ms=frame.heartbeat_ms)
        case Transition() if outcome is Outcome.APPLIED:
            link = replace(link, source_age_ms=frame.source_age_ms, is_quiet=not frame.changes)
        case Snapshot():
            link = replace(link, is_quiet=False)
    if link.phase == "connecting" and not isinstance(frame, Unreadable):
        proven = link.proven | {link.transport}
        rise_at = now_ms + RISE_AFTER_MS if _better(link) else None
        link = replace(link, phase="open", heard_at=now_ms, trouble=None, proven=proven, rise_at=rise_at, rises=0)
    match outcome:
        case Outcome.APPLIED:
            return _confirmed(link, now_ms), ()
        case Outcome.PART:
            return replace(link, heard_at=now_ms), ()
        case Outcome.IGNORED:
            return link, ()
        case Outcome.RESYNC:
            return _ask(link, now_ms, random)
        case Outcome.LEAVE:
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
    if link.transport != "websocket":  # nobody hears us: only a new connection can ask
        waiting = replace(link, phase="waiting", connect_at=now_ms + wait_ms, ask_at=None, rising=None, rise_at=None)
        return waiting, _disconnect(link)
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
        case "open" if link.rise_at is not None and now_ms >= link.rise_at:
            return _try_to_rise(link, now_ms)
        case _:
            return link, ()


def _try_to_rise(link: Link, now_ms: int) -> tuple[Link, tuple[Action, ...]]:
    """Open a stream beside the long-poll, the better ones by turns; or give up the one that has said nothing."""
    if link.rising is not None:
        return replace(link, rising=None, rise_at=now_ms + RISE_AFTER_MS), _disconnect_rising(link)
    better = _better(link)
    generation = max(link.generation, link.latest) + 1
    # Without `resume`: by the time it answers, the long-poll will have gone on.
    rising = Connect(generation, better[link.rises % len(better)], None, _delta(link))
    rise_at = now_ms + HELLO_WITHIN_MS
    return replace(link, rising=rising, rises=link.rises + 1, latest=generation, rise_at=rise_at), (rising,)


def _rise(link: Link, event: Received, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    """Go over to the stream that has spoken."""
    assert link.rising is not None, "only a stream that is tried is gone over to"
    if isinstance(event.frame, Unreadable):
        return replace(link, rising=None, rise_at=now_ms + RISE_AFTER_MS), _disconnect_rising(link)
    left, rising = Disconnect(link.generation), link.rising
    link = replace(link, generation=rising.generation, transport=rising.transport, rising=None, rise_at=None)
    replica = begin(link.replica, resume=False)
    link = replace(link, phase="connecting", connected_at=now_ms, ask_at=None, retry_ms=event.retry_ms, replica=replica)
    link, actions = _received(link, event.frame, now_ms, random)
    return link, (left, *actions)


def _connect(link: Link, now_ms: int) -> tuple[Link, tuple[Action, ...]]:
    resume = link.replica.resume
    replica = begin(link.replica, resume=resume is not None)
    generation = max(link.generation, link.latest) + 1
    link = replace(link, phase="connecting", generation=generation, latest=generation, replica=replica)
    link = replace(link, connect_at=None, connected_at=now_ms, retry_ms=0)
    named = None if resume is None else str(resume)
    return link, (Connect(link.generation, link.transport, named, _delta(link)),)


def _leave(link: Link, now_ms: int, random: float) -> tuple[Link, tuple[Action, ...]]:
    return _wait(link, now_ms, random), _disconnect(link)


def _wait(link: Link, now_ms: int, random: float) -> Link:
    """Return the link on its way to the next try. The server's `retry_ms` is the least; the jitter comes on top."""
    least_ms = max(link.retry_ms, REFUSED_MS) if _is_refused(link) else link.retry_ms
    return replace(
        link,
        phase="waiting",
        transport=_next_transport(link),
        failures=link.failures + 1,
        connect_at=now_ms + least_ms + delay_ms(link.failures, random),
        ask_at=None,
        rising=None,
        rise_at=None,
    )


def _next_transport(link: Link) -> Transport:
    """F13: from a try that brought no frame on to the next; from a good connection back to the best if it is proven."""
    first = link.transports[0]
    if _is_refused(link):
        return link.transport  # it gets through, and can tell: a browser's WebSocket cannot
    if link.phase == "open":
        return first if first in link.proven else link.transport
    following = link.transports[(link.transports.index(link.transport) + 1) % len(link.transports)]
    # A stream that has worked is not blocked: its server is away, and would be found by whoever asks first.
    is_too_soon = following == "long-poll" and link.failures + 1 < TRIES_OF_PROVEN and bool(link.proven - {following})
    return first if is_too_soon else following


def _better(link: Link) -> tuple[Transport, ...]:
    """Return the streams that are preferred to the long-poll that is used; none while a stream is used."""
    return link.transports[: link.transports.index(link.transport)] if link.transport == "long-poll" else ()


def _is_refused(link: Link) -> bool:
    return link.trouble is not None and link.trouble.status == UNAUTHORIZED


def _disconnect(link: Link) -> tuple[Action, ...]:
    is_connected = link.phase in ("connecting", "open")
    return (*((Disconnect(link.generation),) if is_connected else ()), *_disconnect_rising(link))


def _disconnect_rising(link: Link) -> tuple[Action, ...]:
    return () if link.rising is None else (Disconnect(link.rising.generation),)


def _is_rising(link: Link, generation: int) -> bool:
    return link.rising is not None and generation == link.rising.generation


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
