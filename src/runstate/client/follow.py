"""The loop around `core/link.py`: one inbox, its connections, one timer (PROTOCOL §4).

Law: nothing here decides. What happens is put into the inbox, `step` says what to do, and that is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from runstate.client.clock import Clock
from runstate.client.transports import End, Hear
from runstate.client.view import is_change
from runstate.core.link import Action, Connect, Disconnect, Dropped, Event, Link, Received, Resync, Start, Tick, wake_at
from runstate.core.link import step as decide
from runstate.core.replica import Frame

INBOX = 16  # messages; when it is full the connection is not read, and the server conflates


#: Runs one connection to its end; see `client/transports.py`.
Open = Callable[[Connect, Hear, "asyncio.Queue[str]"], Coroutine[Any, Any, End]]


async def follow(
    link: Link, open_stream: Open, show: Callable[[Link], None], *, clock: Clock, random: Callable[[], float]
) -> None:
    """Keep `link` going until cancelled, calling `show` after each step that changed what a person sees."""
    inbox: asyncio.Queue[Event] = asyncio.Queue(INBOX)
    connections: dict[int, tuple[asyncio.Task[None], asyncio.Queue[str]]] = {}  # by generation

    async def hold(action: Connect, outbox: asyncio.Queue[str]) -> None:
        async def hear(frame: Frame, retry_ms: int) -> None:
            await inbox.put(Received(action.generation, frame, retry_ms))

        end = await open_stream(action, hear, outbox)
        connections.pop(action.generation)
        await inbox.put(Dropped(action.generation, end.trouble, end.retry_ms))

    async def wake(at_ms: int) -> None:
        await clock.sleep_until(at_ms)
        await inbox.put(Tick())

    def perform(action: Action) -> None:
        match action:
            case Connect():
                outbox: asyncio.Queue[str] = asyncio.Queue()
                connections[action.generation] = tasks.create_task(hold(action, outbox)), outbox
            case Resync() if action.generation in connections:
                connections[action.generation][1].put_nowait(subscription(link.replica.topics, delta=action.delta))
            case Disconnect() if action.generation in connections:
                connections.pop(action.generation)[0].cancel()
            case Resync() | Disconnect():
                pass  # it has ended, and that it did is on its way to the link

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
