"""A run that only the journal has: while it is looked for it may be retried and left again, and the old version is no answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Document, Key
from runstate.core.errors import NotFound
from runstate.core.events import RunStopped
from runstate.core.model import Trigger
from runstate.core.reader import Topics
from runstate.core.run import new_run
from runstate.engine import SystemClock
from runstate.journal.memory import MemoryJournal
from runstate.server.stream import as_now
from runstate.state.bus import EventBus, Wanted
from runstate.state.manager import PipelineStateManager

PATIENCE_S = 20.0


class SlowJournal(MemoryJournal):
    """Its next read of a head says when it has read, and returns when it is told to."""

    held: tuple[threading.Event, threading.Event] | None = None

    def head(self, key: Key) -> Document | None:
        found = super().head(key)
        if self.held is not None:
            (has_read, may_return), self.held = self.held, None
            has_read.set()
            assert may_return.wait(PATIENCE_S)
        return found

    def hold(self) -> tuple[threading.Event, threading.Event]:
        self.held = threading.Event(), threading.Event()
        return self.held


@asynccontextmanager
async def managed(journal: MemoryJournal) -> AsyncIterator[PipelineStateManager]:
    clock = SystemClock()
    manager = PipelineStateManager(journal, journal.reopen(), clock=clock, bus=EventBus(clock))
    async with manager.running():
        ticket = manager.serve({"work": ["fetch"]})
        assert ticket is not None
        await ticket
        yield manager


async def started(manager: PipelineStateManager, run_id: str) -> None:
    run = new_run(
        pipeline="work", run_id=run_id, plan=("fetch",), metadata=FrozenJson({}),
        trigger=Trigger(kind="manual"), now_ms=SystemClock().now_ms(),
    )  # fmt: skip
    await manager.create_run(run, by=None)


async def start_and_stop(manager: PipelineStateManager, run_id: str) -> Document:
    await started(manager, run_id)
    return await stop(manager, run_id)


async def stop(manager: PipelineStateManager, run_id: str) -> Document:
    ticket = manager.apply(run_id, RunStopped())
    assert ticket is not None and ticket.commit is not None
    await ticket
    return ticket.commit.changes[0].document


@pytest.mark.rule("F1", "V3")
def test_what_is_found_is_the_run_as_it_is_then() -> None:
    """Read from the journal, then retried, stopped and left before the read returns: the last version is found."""

    async def main() -> None:
        journal = SlowJournal(epoch="1790000000-00000000")
        async with managed(journal) as manager:
            first = await start_and_stop(manager, "A")
            await start_and_stop(manager, "B")
            has_read, may_return = journal.hold()
            finding = asyncio.create_task(manager.find_run("A"))
            assert await asyncio.to_thread(has_read.wait, PATIENCE_S)
            await manager.retry_run(first, by=None)
            last = await stop(manager, "A")
            await start_and_stop(manager, "C")
            may_return.set()
            assert (await finding).version == last.version > first.version

    asyncio.run(main())


@pytest.mark.rule("F1")
def test_a_subscription_to_a_left_run_shows_it_as_it_is() -> None:
    """It was judged when it was asked for; what was retried and left since then is looked up again."""

    async def main() -> None:
        async with managed(MemoryJournal(epoch="1790000000-00000000")) as manager:
            first = await start_and_stop(manager, "A")
            await start_and_stop(manager, "B")
            judged = Wanted(Topics.parse("run:A"), kept=(first,))
            await manager.retry_run(first, by=None)
            last = await stop(manager, "A")
            await start_and_stop(manager, "C")
            assert [d.version for d in (await as_now(manager, judged)).kept] == [last.version]

    asyncio.run(main())


def test_what_is_nowhere_is_not_found() -> None:
    async def main() -> None:
        async with managed(MemoryJournal(epoch="1790000000-00000000")) as manager:
            with pytest.raises(NotFound):
                await manager.find_run("A")

    asyncio.run(main())
