"""The loop around `core/link.py`: one inbox, one connection, one timer (PROTOCOL §4).

Law: nothing here decides. What happens is put into the inbox, `step` says what to do, and that is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from runstate.client.frames import parse_frame
from runstate.client.transports import End, Hear
from runstate.client.view import is_change
from runstate.core.link import Action, Connect, Disconnect, Dropped, Event, Link, Received, Resync, Start, Tick, wake_at
from runstate.core.link import step as decide

INBOX = 16  # messages; when it is full the connection is not read, and the server conflates


class Clock(Protocol):
    """Time that never goes back."""

    def now_ms(self) -> int:
        """Return the time in milliseconds since some moment."""

    async def sleep_until(self, at_ms: int) -> None:
        """Return once it is `at_ms`."""


class MonotonicClock:
    """The system's monotonic clock."""

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep_until(self, at_ms: int) -> None:
        await asyncio.sleep(max(0, at_ms - self.now_ms()) / 1000)  # a little early does no harm: the link sees the time


#: Runs one connection to its end; see `client/transports.py`.
Open = Callable[[Connect, Hear, "asyncio.Queue[str]"], Coroutine[Any, Any, End]]


async def follow(
    link: Link, open_stream: Open, show: Callable[[Link], None], *, clock: Clock, random: Callable[[], float]
) -> None:
    """Keep `link` going until cancelled, calling `show` after each step that changed what a person sees."""
    inbox: asyncio.Queue[Event] = asyncio.Queue(INBOX)
    connection: asyncio.Task[None] | None = None
    outbox: asyncio.Queue[str] = asyncio.Queue()

    async def hold(action: Connect, sent: asyncio.Queue[str]) -> None:
        async def hear(message: str | bytes, retry_ms: int) -> None:
            await inbox.put(Received(action.generation, parse_frame(message), retry_ms))

        end = await open_stream(action, hear, sent)
        await inbox.put(Dropped(action.generation, end.trouble, end.retry_ms))

    async def wake(at_ms: int) -> None:
        await clock.sleep_until(at_ms)
        await inbox.put(Tick())

    def perform(action: Action) -> None:
        nonlocal connection, outbox
        match action:
            case Connect():
                outbox = asyncio.Queue()
                connection = tasks.create_task(hold(action, outbox))
            case Resync():
                outbox.put_nowait(subscription(link.replica.topics, delta=action.delta))
            case Disconnect():
                assert connection is not None, "only a connection that was made is ended"
                connection.cancel()

    async with asyncio.TaskGroup() as tasks:
        event: Event = Start()
        while True:
            before = link
            link, actions = decide(link, event, now_ms=clock.now_ms(), random=random())
            for action in actions:
                perform(action)
            if is_change(before, link):
                show(link)
            wake_ms = wake_at(link)
            timer = None if wake_ms is None else tasks.create_task(wake(wake_ms))
            event = await inbox.get()
            if timer is not None:
                timer.cancel()


def query(topics: tuple[str, ...], *, resume: str | None = None, delta: bool = False) -> dict[str, str]:
    """Return the query that asks for a stream."""
    asked = {"topics": ",".join(topics)}
    if resume is not None:
        asked["resume"] = resume
    if delta:
        asked["delta"] = "1"
    return asked


def subscription(topics: tuple[str, ...], *, delta: bool) -> str:
    """Return the message that asks for a snapshot on an open WebSocket."""
    return msgspec.json.encode({"type": "subscribe", **query(topics, delta=delta)}).decode()
