"""The open watches of one client: what each shows, for whoever waits until a command is among it."""

from __future__ import annotations

import asyncio

from runstate.core.link import Link
from runstate.core.position import Position


class Watches:
    """Links by whoever watches with them; the latest of each."""

    def __init__(self) -> None:
        self._links: dict[object, Link] = {}
        self._changed = asyncio.Event()

    def put(self, watcher: object, link: Link) -> None:
        """Note what `watcher` is shown now."""
        self._links[watcher] = link
        self._tell()

    def drop(self, watcher: object) -> None:
        """Forget `watcher`."""
        self._links.pop(watcher, None)
        self._tell()

    async def reach(self, position: str) -> None:
        """Return once every watch that shows anything current shows what was committed up to `position`."""
        order = Position.parse(position).order
        while any(_is_behind(link, order) for link in self._links.values()):
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _is_behind(link: Link, order: tuple[int, int]) -> bool:
    # A view that is stale says so, and nobody waits for it: that bounds the wait to three heartbeats.
    if link.state in ("connecting", "stale") or link.replica.position is None:
        return False
    return link.replica.position.order < order
