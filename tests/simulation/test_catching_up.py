"""What the simulation and its author found in the bus: a reader of every version that catches up from the journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from runstate.core.commit import Commit
from runstate.core.errors import Compacted
from runstate.core.position import Position
from runstate.core.reader import Topics
from runstate.ports import Opened
from runstate.state.bus import EventBus, Subscription, Wanted
from runstate.state.head import Head
from runstate.testing import virtual_time
from runstate.testing.commits import Author, make_pipeline, make_run
from runstate.testing.virtual_time import virtual_loop

EPOCH = "1790000000-00000000"


class Source:
    """A server that has just begun: its head is at the end of `author`, and the bus remembers nothing."""

    server_id = "s"

    def __init__(self, author: Author, fetch: Callable[[int], Coroutine[Any, Any, Sequence[Commit]]]) -> None:
        current = {document.pipeline.current_run_id for key, document in author.heads.items() if key.kind == "pipeline"}
        shown = tuple(d for key, d in author.heads.items() if key.kind == "pipeline" or key.id in current)
        self.head = Head(Opened(EPOCH, author.revision, shown, ()))
        self.commits_after = fetch

    def source_age_ms(self) -> int:
        return 0


def written() -> Author:
    """Run A begins and is over, run B begins and goes on."""
    author = Author(EPOCH)
    author.commit(make_run("A"), make_pipeline(current_run_id="A"))
    author.commit(make_run("A", "success"))
    author.commit(make_run("B"), make_pipeline(current_run_id="B"))
    for error in "xyz":
        author.commit(make_run("B", "retrying", error=error))
    return author


async def next_frame(subscription: Subscription) -> dict[str, Any]:
    return json.loads((await anext(subscription)).data)  # type: ignore[no-any-return]


def every(topics: str, resume: int, **more: Any) -> Wanted:
    return Wanted(Topics.parse(topics), Position(EPOCH, resume), mode="every", **more)


@pytest.mark.rule("F2")
def test_what_was_fetched_for_an_old_subscription_is_not_sent_on_a_new_one() -> None:
    """A `subscribe` while the journal is read: the snapshot comes next, and the chain goes on from it."""

    async def main() -> None:
        author, gate = written(), asyncio.Event()

        async def fetch(revision: int) -> Sequence[Commit]:
            await gate.wait()
            return author.commits[revision:]

        source, bus = Source(author, fetch), EventBus(virtual_loop())
        with bus.subscribe(source, every("*", 1)) as subscription:
            assert (await next_frame(subscription))["type"] == "hello"
            async with asyncio.TaskGroup() as group:
                frame = group.create_task(next_frame(subscription))
                await asyncio.sleep(0.1)
                subscription.subscribe(Wanted(mode="every", reason="subscribe"))
                gate.set()
            assert (frame.result()["type"], frame.result()["reason"]) == ("snapshot", "subscribe")
            beat = await next_frame(subscription)
            assert (beat["from"], beat["changes"]) == (frame.result()["position"], [])

    virtual_time.run(main())


@pytest.mark.rule("F3")
def test_a_long_way_without_a_concern_is_told() -> None:
    """Who looks through the journal for long gives signs of life, and can be resumed where it is."""

    async def main() -> None:
        author = written()

        async def fetch(revision: int) -> Sequence[Commit]:
            await asyncio.sleep(4.0)
            return author.commits[revision : revision + 1]

        source, bus, began_s = Source(author, fetch), EventBus(virtual_loop()), virtual_loop().time()
        with bus.subscribe(source, every("run:A", 2)) as subscription:
            frames = [await next_frame(subscription) for _ in range(5)]
        assert [frame["to"] for frame in frames[1:]] == [f"{EPOCH}.{revision}" for revision in (3, 4, 5, 6)]
        assert all(frame["changes"] == [] for frame in frames[1:])
        assert virtual_loop().time() - began_s <= 4 * 4.0

    virtual_time.run(main())


@pytest.mark.rule("F6")
def test_a_run_that_only_the_journal_has_is_in_the_snapshot_after_compaction() -> None:
    """The reader asked for it by name; it does not vanish because the log is thinned."""

    async def main() -> None:
        author = written()
        run = next(document for key, document in author.heads.items() if key.id == "A")

        async def fetch(_: int) -> Sequence[Commit]:
            raise Compacted("gone")

        source, bus = Source(author, fetch), EventBus(virtual_loop())
        with bus.subscribe(source, every("run:A", 1, kept=(run,))) as subscription:
            assert (await next_frame(subscription))["type"] == "hello"
            snapshot = await next_frame(subscription)
        assert snapshot["reason"] == "compacted"
        assert [change["run_id"] for change in snapshot["changes"]] == ["A"]

    virtual_time.run(main())
