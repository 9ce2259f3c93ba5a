"""The open watches of one client: what each shows, and who waits until a command is among it.

Law: only a stream writes what is shown (PROTOCOL F11). Commands and reads look at it, and have no way to change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial

import httpx

from runstate.client.clock import Clock
from runstate.client.errors import Problem
from runstate.client.follow import follow, query
from runstate.client.transports import End, Hear, run_event_stream, run_long_poll, run_websocket
from runstate.client.view import View, view_of
from runstate.core.link import Connect, Link, Transport
from runstate.core.position import Position
from runstate.core.replica import Replica

#: Refusals that another try cannot change: the request itself is wrong.
FINAL = frozenset({400, 404})
#: Likewise where nothing was shown yet; a token that expires later may be renewed, so that view is stale and says why.
FINAL_AT_FIRST = FINAL | {401, 403}


class Watches:
    """Links by whoever watches with them; the latest of each."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        followers: asyncio.TaskGroup,
        *,
        transports: tuple[Transport, ...],
        delta: bool,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._client, self._transports, self._delta = client, transports, delta
        self._clock, self._random = clock, random
        self._followers = followers
        self._open_watches: dict[asyncio.Queue[Link | None], asyncio.Task[None]] = {}
        self._links: dict[object, Link] = {}
        self._changed = asyncio.Event()

    async def watch(self, topics: tuple[str, ...]) -> AsyncGenerator[View]:
        """Yield what is so now, and again after each change, until `end`; whoever is slower is given the latest.

        Raises:
            Problem: The server refuses this subscription, or the token it begins with.
        """
        latest: asyncio.Queue[Link | None] = asyncio.Queue(1)

        def show(link: Link) -> None:
            self._links[latest] = link
            self._tell()
            if link.confirmed_at is None and link.failures == 0:
                return
            _put(latest, link)

        link = Link(transports=self._transports, replica=Replica(topics=topics), delta=self._delta)
        loop = follow(link, partial(self._open, topics), show, clock=self._clock, random=self._random)
        following = self._open_watches[latest] = self._followers.create_task(loop)
        try:
            while (shown := await latest.get()) is not None:
                final = FINAL_AT_FIRST if shown.confirmed_at is None else FINAL
                if shown.trouble is not None and shown.trouble.status in final:
                    raise Problem(shown.trouble.code, shown.trouble.status, shown.trouble.detail)
                yield view_of(shown, self._clock.now_ms())
        finally:
            following.cancel()
            self._open_watches.pop(latest, None)
            self._links.pop(latest, None)
            self._tell()

    async def reach(self, position: str) -> None:
        """Return once every watch that shows anything current shows what was committed up to `position`."""
        order = Position.parse(position).order
        while any(_is_behind(link, order) for link in self._links.values()):
            await self._changed.wait()

    def end(self) -> None:
        """End every watch: whoever iterates leaves the loop, and whoever waits for a command waits no more."""
        for latest, following in self._open_watches.items():
            following.cancel()
            _put(latest, None)
        self._links.clear()
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _open(self, topics: tuple[str, ...], action: Connect, hear: Hear, outbox: asyncio.Queue[str]) -> End:
        asked = query(topics, resume=action.resume, delta=action.delta)
        match action.transport:
            case "websocket":
                headers = {name: value for name, value in self._client.headers.items() if name == "authorization"}
                end = await run_websocket(self._client.base_url, headers, asked, hear, outbox)
                # A proxy that knows no upgrades passes on a plain GET, and the server has nothing at this address: where
                # there is another way, that one is asked whether what is watched exists.
                is_final = end.trouble is not None and end.trouble.status in FINAL
                return replace(end, trouble=None) if is_final and len(self._transports) > 1 else end
            case "sse":
                return await run_event_stream(self._client, asked, hear)
            case "long-poll":
                return await run_long_poll(self._client, topics, hear, self._clock)


def _put(latest: asyncio.Queue[Link | None], link: Link | None) -> None:
    if latest.full():
        latest.get_nowait()
    latest.put_nowait(link)


def _is_behind(link: Link, order: tuple[int, int]) -> bool:
    # A view that is stale says so, and nobody waits for it: that bounds the wait to three heartbeats.
    if link.state in ("connecting", "stale") or link.replica.position is None:
        return False
    return link.replica.position.order < order
