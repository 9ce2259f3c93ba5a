"""Somebody who watches a real server through the client, and remembers every view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from runstate.client import Client, View
from runstate.core.commit import Key
from runstate.core.replica import Entry

WITHIN_S = 60  # bounds how long a broken client can hold a test, never a pace


class Eye:
    """The views of one watch so far."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.failure: Exception | None = None
        self._changed = asyncio.Condition()

    async def look(self, client: Client, *topics: str) -> None:
        """Watch until cancelled."""
        try:
            async for view in client.watch(*topics):
                async with self._changed:
                    self.views.append(view)
                    self._changed.notify_all()
        except Exception as exc:
            async with self._changed:
                self.failure = exc
                self._changed.notify_all()

    async def until(self, wanted: Callable[[View], object], since: int = 0) -> View:
        """Return the first view from the `since`th on for which `wanted` holds."""

        def found() -> View | None:
            return next((view for view in self.views[since:] if wanted(view)), None)

        async with asyncio.timeout(WITHIN_S), self._changed:
            await self._changed.wait_for(lambda: found() or self.failure)
        view = found()
        assert view is not None, self.failure
        return view

    async def next(self) -> View:
        """Return the view after the latest."""
        return await self.until(lambda _: True, len(self.views))

    def documents(self) -> dict[tuple[Key, int], bytes]:
        """Return every version that was shown, with its bytes; nothing unverified, and no version with two faces."""
        seen: dict[tuple[Key, int], bytes] = {}
        for view in self.views:
            for key, entry in entries(view).items():
                assert entry.verified
                assert seen.setdefault((key, entry.version), entry.encoded) == entry.encoded
        return seen

    def check_order(self) -> None:
        """Check that nothing went back."""
        for before, after in zip(self.views, self.views[1:], strict=False):
            if before.position is not None:
                assert after.position is not None
                assert after.position.order >= before.position.order
            for key, entry in entries(before).items():
                later = entries(after).get(key)
                assert later is None or later.version >= entry.version


def entries(view: View) -> dict[Key, Entry]:
    """Return what a view shows, by key."""
    runs = {Key("run", name): entry for name, entry in view.runs.items()}
    return {Key("pipeline", name): entry for name, entry in view.pipelines.items()} | runs


@asynccontextmanager
async def watching(client: Client, *topics: str) -> AsyncGenerator[Eye]:
    """Give an eye that has seen the first documents."""
    eye = Eye()
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(eye.look(client, *topics))
        try:
            await eye.until(lambda view: view.position is not None)
            yield eye
        finally:
            looking.cancel()
