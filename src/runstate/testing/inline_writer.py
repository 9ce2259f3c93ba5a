"""A writer for the manager without a thread: it appends in the loop, after a virtual delay that stands for the fsync."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from runstate.core.errors import StoreError
from runstate.ports import Journal
from runstate.state.writer import Append, Failed, Reopen, Result, Work, perform


class InlineWriter:
    """A `runstate.state.writer.Writer` that batches what comes while an append is under way, like the thread."""

    def __init__(self, journal: Journal, tell: Callable[[Result], None], *, delay_s: float = 0.001) -> None:
        """Make one; pass the class itself to the manager."""
        self._journal, self._tell, self._delay_s = journal, tell, delay_s
        self._queue: deque[Work] = deque()
        self._broken: StoreError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """See the protocol."""

    def put(self, work: Work) -> None:
        """See the protocol."""
        self._queue.append(work)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._next)

    async def close(self) -> None:
        """See the protocol."""
        if self._timer is not None:
            self._timer.cancel()
        while self._queue:
            self._one()

    def _next(self) -> None:
        self._one()
        self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._next)

    def _one(self) -> None:
        batch = [self._queue.popleft()]
        while isinstance(batch[0], Append) and self._queue and isinstance(self._queue[0], Append):
            batch.append(self._queue.popleft())
        if self._broken is not None and not isinstance(batch[0], Reopen):
            self._tell(Failed(self._broken))
            return
        try:
            result = perform(self._journal, batch)
            self._broken = None
        except StoreError as error:
            self._broken = error
            result = Failed(error)
        self._tell(result)
