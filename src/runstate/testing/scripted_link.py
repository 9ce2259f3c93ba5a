"""A client of the real core (`core/link.py`, `core/replica.py`) in the hands of a simulation.

Law: it does what `step` says, at the time that `wake_at` says, and records what a person would see after each step.
"""

from __future__ import annotations

import asyncio
from random import Random

from runstate.client.frames import parse_frame
from runstate.core.canonical import digest
from runstate.core.commit import Key
from runstate.core.link import (
    Action,
    Connect,
    Disconnect,
    Event,
    Link,
    Received,
    Resync,
    Start,
    Stop,
    Tick,
    wake_at,
)
from runstate.core.link import step as decide
from runstate.core.replica import Entry, Replica
from runstate.testing import recording
from runstate.testing.recording import Row
from runstate.testing.scripted_wire import Habits, Wire, World

SLEEP_S = 30.0  # a longer stall stops the client's clock, too
MOST_TICKS = 20  # at one moment of time; more is a loop that spins


class Client:
    """One client; `cut`, `stall` and `close` are what happens to it from outside."""

    def __init__(self, world: World, name: str, habits: Habits, chance: Random) -> None:
        """Make one; `start` begins."""
        self.name, self.habits, self.world = name, habits, world
        self.chance, self.lies = chance, habits.lies
        transports = ("sse",) if habits.sse else ("websocket", "sse")
        self.link = Link(transports=transports, replica=Replica(habits.topics), delta=habits.delta)  # type: ignore[arg-type]
        self._wire: Wire | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asleep_until_ms = 0
        self._ticks: tuple[int, int] = 0, 0
        self._rows: dict[Key, tuple[Entry, Row]] = {}

    def start(self) -> None:
        """Begin."""
        self.do(Start())

    def close(self) -> None:
        """End for good."""
        self.do(Stop())

    def cut(self) -> None:
        """Cut the connection; what is under way is lost from some frame on, or comes much later."""
        if self._wire is not None:
            self._wire.cut()

    def stall(self, seconds: float) -> None:
        """Take nothing from the connection for so long; a long one is a laptop asleep, its clients' timers with it."""
        if self._wire is not None:
            self._wire.stall(seconds)
        if seconds > SLEEP_S:
            self._asleep_until_ms = self.world.loop.now_ms() + round(seconds * 1000)

    def garble(self) -> None:
        """Hear something that nobody sent and nobody can read."""
        self.do(Received(self.link.generation, parse_frame(b"{")))

    def do(self, event: Event) -> None:
        """Take one step and do what it says."""
        now_ms = self.world.loop.now_ms()
        if isinstance(event, Tick) and now_ms < self._asleep_until_ms:
            asleep_s = (self._asleep_until_ms - now_ms) / 1000
            self._timer = self.world.loop.call_later(asleep_s, self.do, event)
            return
        before = self.link
        if isinstance(event, Received) and event.generation == self.link.generation and self.link.phase != "waiting":
            self.world.counts[f"frame {type(event.frame).__name__}"] += 1
        self.link, actions = decide(before, event, now_ms=now_ms, random=self.chance.random())
        self._count(before)
        self.show()
        for action in actions:
            self._perform(action)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_ms = wake_at(self.link)
        if wake_ms is not None:
            at_ms, ticks = self._ticks
            self._ticks = now_ms, ticks + 1 if at_ms == now_ms and isinstance(event, Tick) else 0
            assert self._ticks[1] < MOST_TICKS, f"the link of {self.name} spins: {self.link}"
            self._timer = self.world.loop.call_later(max(0, wake_ms - now_ms) / 1000, self.do, Tick())

    def show(self) -> None:
        """Record what a person sees now, if anybody looks."""
        if self.world.loop.now_ms() < self._asleep_until_ms:
            return
        replica = self.link.replica
        rows = []
        for key, entry in replica.entries.items():
            known = self._rows.get(key)
            if known is None or known[0] is not entry:
                actual = digest(entry.encoded)
                row = Row(*key, entry.version, str(entry.position), entry.digest, actual, verified=entry.verified)
                known = self._rows[key] = entry, row
            rows.append(known[1])
        position = None if replica.position is None else str(replica.position)
        at_ms, state = self.world.loop.now_ms(), self.link.state
        self.world.record(
            recording.Shown(client=self.name, at_ms=at_ms, position=position, rows=tuple(rows), state=state)
        )

    def _count(self, before: Link) -> None:
        counts = self.world.counts
        if self.link.state != before.state:
            counts[f"link {self.link.state}"] += 1
        if before.replica.following and not self.link.replica.following and self.link.phase == "open":
            counts["resync"] += 1
        if self.link.replica.faults > before.replica.faults:
            counts["fault"] += 1

    def _perform(self, action: Action) -> None:
        match action:
            case Connect():
                self._wire = Wire(self, action)
            case Resync():
                assert self._wire is not None
                self._wire.subscribe(delta=action.delta)
            case Disconnect():
                assert self._wire is not None
                self._wire.cut(told=True)
