"""A connection over a network that does its worst, drawn from a seed, on virtual time.

Law: a wire delivers in order, late, in part or not at all, like a socket; what was under way when it was cut may still
arrive long after its successor began. A wire that `lies` stands for a broken proxy: it also garbles, doubles, drops and
swaps frames, so only views are judged behind it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Protocol

from runstate.client.frames import parse_frame
from runstate.core.commit import Document
from runstate.core.link import (
    Connect,
    Dropped,
    Received,
)
from runstate.core.position import Position
from runstate.core.reader import Mode, Topics
from runstate.core.replica import Delta, Frame, Full, Snapshot, Transition, Trouble
from runstate.state.bus import EventBus, Source, Subscription, Wanted
from runstate.testing import recording
from runstate.testing.hearing import heard
from runstate.testing.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from runstate.testing.scripted_link import Client

CAPACITY = 4  # frames that a socket's buffers hold
DRAIN_S = 15.0  # F8

Record = Callable[[recording.Event], None]


class Served(Protocol):
    """A server as a connection finds it."""

    bus: EventBus
    up: bool

    @property
    def source(self) -> Source:
        """What a subscription asks."""

    @property
    def wires(self) -> dict[Wire, None]:
        """What is cut when the server dies."""

    async def find(self, run_id: str) -> Document | None:
        """Return a run that may only stand in the journal, after the time that this takes."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a client asks, and how bad its network is."""

    topics: tuple[str, ...] = ("*",)
    mode: Mode = "latest"
    delta: bool = False
    sse: bool = False
    lies: float = 0.0  #: Chance that a frame is treated badly on the way.
    latency_s: float = 0.05  #: At most.


@dataclass(slots=True)
class World:
    """What a client has to do with."""

    loop: VirtualTimeLoop
    tasks: asyncio.TaskGroup
    route: Callable[[Random], Served | None]  #: The server that a new connection reaches.
    record: Record
    counts: Counter[str] = field(default_factory=Counter)


class Wire:
    """One connection, from the client's request to its end."""

    def __init__(self, client: Client, action: Connect) -> None:
        self._client, self._action = client, action
        self._world, self._chance = client.world, client.chance
        self._subscription: Subscription | None = None
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._space = asyncio.Event()
        self._stalled_until = self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False  # for the client: nothing more is heard, but ghosts
        self._ended = False  # by the server: what is under way is all there will be
        self._world.counts["connect" if action.resume is None else "resume"] += 1
        habits = client.habits
        self._world.record(
            recording.Connected(
                client=client.name,
                at_ms=self._world.loop.now_ms(),
                topics=",".join(habits.topics),
                mode=habits.mode,
                delta=action.delta,
                resume=action.resume,
            )
        )
        self._task = self._world.tasks.create_task(self._serve())

    def subscribe(self, *, delta: bool) -> None:
        """Send a later `subscribe`, as a WebSocket client may."""
        self._world.counts["subscribe"] += 1
        self._record(recording.Asked(client=self._client.name, at_ms=self._world.loop.now_ms()))
        wanted = Wanted(Topics.parse(",".join(self._client.habits.topics)), None, delta, self._client.habits.mode)
        self._world.tasks.create_task(self._resubscribe(replace(wanted, reason="subscribe")))

    def stall(self, seconds: float) -> None:
        self._stalled_until = self._world.loop.time() + seconds
        self._world.counts["stall"] += 1

    def cut(self, *, told: bool = False) -> None:
        """End the connection from the client's side (`told`) or in the middle."""
        if self._over:
            return
        self._over = True
        self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        arrives = self._chance.randrange(len(self._under_way) + 1)
        for at, (_, data) in enumerate(self._under_way):
            if (told or at >= arrives) and self._chance.random() < 0.5:
                self._world.counts["ghost"] += 1
                late_s = self._chance.choice([0.0, 0.3, 2.0, 20.0])
                self._world.loop.call_later(late_s, self._client.do, self._received(data))
            elif not told and at < arrives:
                self._hear(data)
        if not told:
            self._world.counts["cut"] += 1
            self._client.do(Dropped(self._action.generation))

    async def _serve(self) -> None:
        await asyncio.sleep(self._latency())
        server = self._world.route(self._chance)
        if server is None:
            self._world.counts["refused"] += 1
            self._drop(Trouble("unavailable", 503, "the server is not there"))
            return
        habits, action = self._client.habits, self._action
        resume = None if action.resume is None else Position.parse(action.resume)
        topics = Topics.parse(",".join(habits.topics))
        kept = [await server.find(run_id) for run_id in sorted(topics.runs)]
        if not server.up:
            self._drop(None)
            return
        if None in kept:
            self._drop(Trouble("not_found", 404, "there is no such run"))
            return
        self._server = server
        server.wires[self] = None
        wanted = Wanted(topics, resume, action.delta, habits.mode, tuple(one for one in kept if one is not None))
        with server.bus.subscribe(server.source, wanted) as self._subscription:
            async for frame in self._subscription:
                if not await self._send(frame.data) or frame.close is not None:
                    break
        self._subscription = None
        self._ended = True
        if not self._under_way:
            self._drop(None)

    async def _resubscribe(self, wanted: Wanted) -> None:
        await asyncio.sleep(self._latency())
        if self._subscription is None:
            return
        found = [await self._server.find(run_id) for run_id in sorted(wanted.topics.runs)]
        kept = tuple(one for one in found if one is not None)
        subscription: Subscription | None = self._subscription  # as it is after the wait
        if subscription is not None and len(kept) == len(found):
            subscription.subscribe(replace(wanted, kept=kept))

    async def _send(self, data: bytes) -> bool:
        """Put a frame under way once there is room; return whether the reader still drains."""
        while len(self._under_way) >= CAPACITY:
            self._space.clear()
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._space.wait()
            except TimeoutError:
                self._world.counts["slow"] += 1
                return False
        for piece in self._treated(data):
            self._last = max(self._last, self._world.loop.time() + self._latency())
            self._under_way.append((self._last, piece))
        self._schedule()
        return True

    def _treated(self, data: bytes) -> list[bytes]:
        chance = self._chance
        if chance.random() >= self._client.lies:
            return [data]
        self._world.counts["lie"] += 1
        match chance.choice(["garble", "double", "drop", "swap", "bend"]):
            case "garble":
                return [data[: chance.randrange(len(data))]]
            case "double":
                return [data, data]
            case "drop" if b'"more":true' not in data:
                return []
            case "swap" if self._under_way and b'"more":' not in data + self._under_way[-1][1]:
                return [data, self._under_way.pop()[1]]
            case "bend":
                return [data.replace(b'"attempt":1', b'"attempt":7').replace(b'"done":', b'"done":9')]
            case _:
                return [data]

    def _schedule(self) -> None:
        if self._timer is None and self._under_way and not self._over:
            at = max(self._under_way[0][0], self._stalled_until)
            self._timer = self._world.loop.call_at(max(at, self._world.loop.time()), self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        if self._stalled_until > self._world.loop.time():
            self._schedule()
            return
        _, data = self._under_way.popleft()
        self._space.set()
        self._hear(data)
        self._schedule()
        if self._ended and not self._under_way and not self._over:
            self._drop(None)

    def _hear(self, data: bytes) -> None:
        self._heard(data)
        received = self._received(data)
        self._weigh(received.frame)
        self._client.do(received)

    def _received(self, data: bytes) -> Received:
        return Received(self._action.generation, parse_frame(data))

    def _drop(self, trouble: Trouble | None) -> None:
        self._over = True
        self._client.do(Dropped(self._action.generation, trouble))

    def _latency(self) -> float:
        return self._chance.randrange(1, max(2, round(self._client.habits.latency_s * 1000))) / 1000

    def _record(self, event: recording.Event) -> None:
        if not self._client.habits.lies:  # else what was sent is not what arrives
            self._world.record(event)

    def _heard(self, data: bytes) -> None:
        event = heard(self._client.name, self._world.loop.now_ms(), data)
        if isinstance(event, recording.Snapped):
            self._world.counts[f"snapshot {event.reason}"] += 1
        elif isinstance(event, recording.Left):
            self._world.counts[f"bye {event.code}"] += 1
        if event is not None:
            self._record(event)

    def _weigh(self, frame: Frame) -> None:
        """Count what the simulation is there for: patches, and transitions that stand for several commits."""
        known = self._client.link.replica.entries
        for change in frame.changes if isinstance(frame, Snapshot | Transition) else ():
            if isinstance(change, Delta):
                self._world.counts["patch"] += 1
            if isinstance(change, Delta | Full) and isinstance(frame, Transition):
                before = known.get(change.key)
                self._world.counts["conflation"] += before is not None and change.version > before.version + 1
