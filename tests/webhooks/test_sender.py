"""Receivers on virtual time: each event at least once, in its own time, and never at the cost of a run."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runstate.core.canonical import digest, encode
from runstate.core.errors import Blocked
from runstate.core.facts import Failed, Outcome
from runstate.journal.memory import MemoryJournal
from runstate.ports import Retention
from runstate.testing import virtual_time
from runstate.testing.scripted_runner import ScriptedAttempt, ScriptedRunner
from runstate.testing.virtual_time import virtual_loop
from runstate.webhooks import Webhook, WebhookConfig
from runstate.webhooks.outbox import MOST_TRIES, MOST_WAITING
from runstate.webhooks.post import Answer
from runstate.webhooks.sender import NOTE, Sender, Webhooks, hook_id, outboxes
from tests.pipeline.world import EPOCH, World, make_pipeline, open_world

OPS = Webhook("https://ops.example/hook", ["failed", "stopped", "success"])


@dataclass
class Receiver:
    """What is posted, and what is answered: each answer in turn, the last for ever."""

    answers: list[Answer] = field(default_factory=lambda: [Answer(None)])
    got: list[tuple[float, dict, dict]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    hangs: bool = False

    async def __call__(self, url: str, body: bytes, headers) -> Answer:
        self.got.append((virtual_loop().time(), json.loads(body), dict(headers)))
        self.came.set()
        if self.hangs:
            await asyncio.Event().wait()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def until(self, count: int) -> list[dict]:
        while len(self.got) < count:
            self.came.clear()
            await self.came.wait()
        return [event for _, event, _ in self.got]


@asynccontextmanager
async def telling(world: World, *receivers: tuple[WebhookConfig, Receiver]) -> AsyncIterator[list[Sender]]:
    notes = world.journal.reopen().notes
    told = outboxes(notes)
    senders = [
        Sender(
            hook,
            told.get(hook_id(hook)),
            key=b"k",
            manager=world.manager,
            clock=virtual_loop(),
            post=receiver,
            random=lambda: 0.5,
        )
        for hook, receiver in receivers
    ]
    async with Webhooks(senders, world.manager).running(notes):
        yield senders


async def fail(_: ScriptedAttempt) -> Outcome:
    return Failed("ValueError: once", "exception")


async def one_run(world: World, metadata: dict | None = None) -> str:
    document = await world.orchestrator.start(metadata=metadata)
    await world.orchestrator.finished(document.key.id)
    return document.key.id


def kept(journal: MemoryJournal, hook: WebhookConfig = OPS):
    return outboxes(journal.reopen().notes)[hook_id(hook)]


def test_each_chosen_end_is_told_with_its_document(tmp_path: Path) -> None:
    async def main() -> None:
        receiver, blocked = Receiver(), Receiver()
        runner = ScriptedRunner({"translator": [fail]})
        async with open_world(tmp_path, [make_pipeline()], runner) as world:
            only_failed = Webhook("https://other.example", ["failed"])
            async with telling(world, (OPS, receiver), (only_failed, blocked)) as (sender, _):
                failed = await one_run(world)
                done = await one_run(world, {"day": "2024-03-01"})
                events = await receiver.until(2)
                assert [(e["type"], e["subject"]) for e in events] == [
                    ("dev.runstate.run.failed", failed),
                    ("dev.runstate.run.success", done),
                ]
                for event, (_, _, headers) in zip(events, receiver.got, strict=True):
                    assert event["specversion"] == "1.0" and event["source"] == "/pipelines/demo"
                    assert event["data"]["digest"] == digest(encode(event["data"]["document"]))
                    assert event["data"]["document"]["run_id"] == event["subject"]
                    revision = event["data"]["position"].rpartition(".")[2]
                    assert event["id"] == headers["webhook-id"] == f"{EPOCH}-{revision}-run-{event['subject']}"
                    assert event["time"] == event["data"]["document"]["updated_at"]
                assert [e["subject"] for e in await blocked.until(1)] == [failed]
            assert sender.outbox.waiting == () and kept(world.journal).after == world.manager.head.revision

    virtual_time.run(main())


def test_a_blocked_pipeline_is_told_once(tmp_path: Path) -> None:
    async def out_of_memory(_: ScriptedAttempt) -> Outcome:
        return Failed("MemoryError: no", "out_of_memory")

    async def main() -> None:
        receiver = Receiver()
        runner = ScriptedRunner({"translator": [out_of_memory, out_of_memory]})
        async with open_world(tmp_path, [make_pipeline()], runner) as world:
            hook = Webhook("https://ops.example", ["blocked", "success"])
            async with telling(world, (hook, receiver)):
                await one_run(world)
                await one_run(world)
                await one_run(world)
                events = await receiver.until(2)
                assert [event["type"] for event in events] == [
                    "dev.runstate.pipeline.blocked",
                    "dev.runstate.run.success",
                ]
                assert events[0]["subject"] == "demo"
                assert events[0]["data"]["document"]["health"]["state"] == "blocked"

    virtual_time.run(main())


def test_a_refused_start_is_told(tmp_path: Path) -> None:
    """A person's, and a time of a schedule at which no run could start."""

    async def main() -> None:
        receiver = Receiver()
        pipeline = make_pipeline(run_policy="gated")
        pipeline.schedule("* * * * *")
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"translator": [fail, fail]})) as world:
            async with telling(world, (Webhook("https://ops.example", ["refused"]), receiver)):
                await one_run(world)
                await one_run(world)
                with pytest.raises(Blocked):
                    await world.orchestrator.start(by="ann")
                (event,) = await receiver.until(1)
                assert (event["type"], event["subject"]) == ("dev.runstate.pipeline.refused", "demo")
                assert "by ann" in event["data"]["document"]["health"]["reasons"][-1]
                _, event = await receiver.until(2)
                assert event["type"] == "dev.runstate.pipeline.refused"
                assert event["data"]["document"]["schedule"]["last_skip_reason"] == "blocked"

    virtual_time.run(main())


def test_a_receiver_that_is_down_is_tried_again_and_given_up_and_runs_do_not_wait(tmp_path: Path) -> None:
    async def main() -> None:
        down, slow, well = Receiver([Answer("the receiver answered 500")]), Receiver(hangs=True), Receiver()
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            hooks = [Webhook(f"https://{name}.example", ["success"]) for name in ("down", "slow", "well")]
            async with telling(world, *zip(hooks, (down, slow, well), strict=True)) as (sender, _, _):
                began = virtual_loop().time()
                first, second = await one_run(world), await one_run(world)
                assert virtual_loop().time() - began < 1, "a run waits for no receiver"
                assert [event["subject"] for event in await well.until(2)] == [first, second]
                assert virtual_loop().time() - began < 1, "nor does a receiver for another"

                await down.until(2 * MOST_TRIES)
                await world.manager.until(lambda: len(sender.outbox.dead) == 2)
                times = [at for at, event, _ in down.got if event["subject"] == first]
                pauses = [after - before for before, after in itertools.pairwise(times)]
                assert all(later >= before for before, later in itertools.pairwise(pauses))
                assert 3 < pauses[0] < 6 and 5000 < times[-1] - times[0] < 12_000
                ids = {headers["webhook-id"] for _, event, headers in down.got if event["subject"] == first}
                assert len(ids) == 1, "a receiver can tell that it is the same event"
                assert [(dead.ref.id, dead.tries, dead.error) for dead in sender.outbox.dead] == [
                    (run, MOST_TRIES, "the receiver answered 500") for run in (first, second)
                ]
                assert slow.got[0][1]["subject"] == first and len(slow.got) == 1

                down.answers[:] = [Answer(None)]
                assert await sender.revive() == 2
                await down.until(2 * MOST_TRIES + 2)
            assert kept(world.journal, hooks[0]).dead == ()

    virtual_time.run(main())


def test_what_was_not_told_is_told_after_a_restart(tmp_path: Path) -> None:
    """Also what happened while nobody told, and when the last word of the server before did not reach the journal."""

    async def main() -> None:
        journal = MemoryJournal(epoch=EPOCH)
        hung = Receiver(hangs=True)
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal) as world:
            await one_run(world)  # before anybody is to be told
            async with telling(world, (OPS, hung)):
                first = await one_run(world)
                await hung.until(1)
                journal.begin_outage("the machine goes down")
        journal.end_outage()
        journal.reopen()
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal) as world:
            second = await one_run(world)  # `runstate run` has no webhooks
        again = Receiver()
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal) as world:
            async with telling(world, (OPS, again)):
                third = await one_run(world)
                events = await again.until(3)
                assert [event["subject"] for event in events] == [first, second, third]
                assert hung.got[0][1] == events[0], "the same event, byte for byte"
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal) as world:
            async with telling(world, (OPS, Receiver([Answer("told twice")]))) as (sender,):
                await asyncio.sleep(3600)
                assert sender.outbox.waiting == ()
            async with telling(world):
                pass
            assert [note for note in journal.reopen().notes if note.kind == NOTE] == [], "nobody is to be told any more"

    virtual_time.run(main())


def test_more_than_an_outbox_holds_waits_in_the_journal(tmp_path: Path) -> None:
    async def main() -> None:
        count = MOST_WAITING + 20
        down = Receiver([Answer("no")] * (MOST_WAITING + 5) + [Answer(None)])
        async with open_world(tmp_path, [make_pipeline(stages={"only": {}})], ScriptedRunner()) as world:
            async with telling(world, (OPS, down)) as (sender,):
                runs = [await one_run(world) for _ in range(count)]
                told: set[str] = set()
                while len(told) < count:
                    await down.until(len(down.got) + 1)
                    assert len(sender.outbox.waiting) <= MOST_WAITING
                    told = {event["subject"] for _, event, _ in down.got[MOST_WAITING + 5 :]}
                assert told == set(runs)

    virtual_time.run(main())


def test_history_that_was_thinned_before_it_was_told_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        journal = MemoryJournal(epoch=EPOCH)
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal) as world:
            async with telling(world, (OPS, Receiver())):
                pass
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal) as world:
            for _ in range(3):
                await one_run(world)
            await world.manager.compact_turn(Retention(keep_versions=1), 0)
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal))
            receiver = Receiver()
            (sender,) = await stack.enter_async_context(telling(world, (OPS, receiver)))
            last = await one_run(world)
            assert (await _subjects(receiver))[-1:] == [last]
            assert [dead.ref for dead in sender.outbox.dead] == [None]
            assert "history was thinned" in sender.outbox.dead[0].error

    virtual_time.run(main())


async def _subjects(receiver: Receiver) -> Sequence[str]:
    return [event["subject"] for event in await receiver.until(1)]
