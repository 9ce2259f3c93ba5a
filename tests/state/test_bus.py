"""Readers: whatever their pace, they are never wrong, only behind, and they know up to where."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from runstate.client.frames import parse_frame
from runstate.core.canonical import FrozenJson
from runstate.core.commit import Key
from runstate.core.facts import Failed, Outcome, ProgressMade, Succeeded
from runstate.core.frames import HEARTBEAT_MS
from runstate.core.model import Progress
from runstate.core.reader import Topics
from runstate.core.replica import Outcome as Outcomes
from runstate.core.replica import Replica, receive
from runstate.state.bus import Subscription, Wanted
from runstate.testing import virtual_time
from runstate.testing.scripted_runner import ScriptedAttempt, ScriptedRunner
from tests.pipeline.world import World, make_pipeline, open_world


def simulate(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


async def next_frame(subscription: Subscription) -> dict[str, Any]:
    return json.loads((await anext(subscription)).data)  # type: ignore[no-any-return]


async def progress_a_lot(attempt: ScriptedAttempt) -> Outcome:
    for done in range(100):
        await attempt.report(ProgressMade(Progress(done=done)))
    return Succeeded(FrozenJson({}))


async def run_once(world: World, pipeline: str | None = None) -> str:
    run_id = (await world.orchestrator.start(pipeline)).key.id
    await world.orchestrator.finished(run_id)
    return run_id


@pytest.mark.rule("F1")
@pytest.mark.rule("F2")
@pytest.mark.rule("F5")
def test_a_fast_reader_sees_every_commit_in_a_chain(tmp_path: Path) -> None:
    """Hello, snapshot, then transitions whose ends meet; a start touches run and pipeline in one."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            with world.manager.bus.subscribe(world.manager) as subscription:
                hello, snapshot = await next_frame(subscription), await next_frame(subscription)
                assert (hello["type"], hello["position"], hello["heartbeat_ms"]) == (
                    "hello",
                    snapshot["position"],
                    5000,
                )
                assert (snapshot["reason"], snapshot["more"]) == ("initial", False)
                await world.orchestrator.start()
                at, seen = snapshot["position"], []
                while not seen or seen[-1]["data"].get("new_state") != "success":
                    frame = await next_frame(subscription)
                    assert (frame["type"], frame["from"]) == ("transition", at)
                    at = frame["to"]
                    seen += frame["changes"]
                first = {change["event"] for change in seen if change["position"] == seen[0]["position"]}
                assert first == {"state_change", "pipeline_change"}
                versions = [change["version"] for change in seen if change["kind"] == "run"]
                assert versions == list(range(1, versions[-1] + 1))

    simulate(main())


@pytest.mark.rule("F4")
@pytest.mark.rule("F8")
def test_a_slow_reader_gets_the_latest_in_one_transition(tmp_path: Path) -> None:
    """It skips versions, never the end, and the bytes are the poll's."""

    async def main() -> None:
        runner = ScriptedRunner({"translator": [progress_a_lot]})
        async with open_world(tmp_path, [make_pipeline()], runner) as world:
            with world.manager.bus.subscribe(world.manager) as subscription:
                await next_frame(subscription), await next_frame(subscription)
                run_id = await run_once(world)
                raw = (await anext(subscription)).data
                changes = json.loads(raw)["changes"]
                assert [change["kind"] for change in changes] == ["pipeline", "run"]
                head = await world.manager.find_run(run_id)
                assert (changes[1]["version"], changes[1]["digest"]) == (head.version, head.digest)
                assert changes[1]["digest"] == "sha-256:" + hashlib.sha256(head.encoded).hexdigest()
                assert head.encoded in raw

    simulate(main())


@pytest.mark.rule("F3")
def test_silence_is_told_from_death_by_heartbeats(tmp_path: Path) -> None:
    """An idle stream says at least every `heartbeat_ms` up to where all has been delivered."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline("a"), make_pipeline("b")], ScriptedRunner()) as world:
            with world.manager.bus.subscribe(world.manager, Wanted(Topics.parse("pipeline:a"))) as subscription:
                await next_frame(subscription), await next_frame(subscription)
                await run_once(world, "b")
                began_s = asyncio.get_running_loop().time()
                beat = await next_frame(subscription)
                assert (beat["changes"], beat["to"]) == ([], str(world.manager.head.position))
                assert asyncio.get_running_loop().time() - began_s <= HEARTBEAT_MS / 1000
                assert beat["source_age_ms"] < 3 * HEARTBEAT_MS

    simulate(main())


def test_a_pipelines_topic_follows_to_the_next_run(tmp_path: Path) -> None:
    """The run that is left gets no `gone`; a run's own topic stays with it."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            first = await run_once(world)
            with (
                world.manager.bus.subscribe(world.manager, Wanted(Topics.parse("pipeline:demo"))) as follows,
                world.manager.bus.subscribe(world.manager, Wanted(Topics.parse(f"run:{first}"))) as stays,
            ):
                for subscription in (follows, stays):
                    await next_frame(subscription), await next_frame(subscription)
                second = await run_once(world)
                changes = (await next_frame(follows))["changes"]
                assert {change.get("run_id") for change in changes} == {None, second}
                assert (await next_frame(stays))["changes"] == []

    simulate(main())


def test_a_new_subscription_begins_with_its_own_snapshot(tmp_path: Path) -> None:
    """What was owed before is in it."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline("a"), make_pipeline("b")], ScriptedRunner()) as world:
            with world.manager.bus.subscribe(world.manager) as subscription:
                await next_frame(subscription), await next_frame(subscription)
                await run_once(world, "a")
                subscription.subscribe(Wanted(Topics.parse("pipeline:a"), reason="subscribe"))
                frame = await next_frame(subscription)
                assert (frame["reason"], len(frame["changes"])) == ("subscribe", 2)
                run = frame["changes"][1]["data"]
                assert (run["old_state"], run["new_state"]) == ("success", "success")
                assert (await next_frame(subscription))["changes"] == []

    simulate(main())


def test_a_drain_ends_every_stream_after_what_is_owed(tmp_path: Path) -> None:
    """`bye` says where to resume, and whoever comes later hears it too."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            with world.manager.bus.subscribe(world.manager) as subscription:
                await next_frame(subscription), await next_frame(subscription)
                await run_once(world)
                world.manager.bus.drain()
                owed = await next_frame(subscription)
                bye = await anext(subscription)
                assert json.loads(bye.data) == {
                    "type": "bye", "code": "drain", "retry_ms": 1000, "resume": owed["to"]
                }  # fmt: skip
                assert bye.close == 1012
            with world.manager.bus.subscribe(world.manager) as late:
                assert [(await next_frame(late))["type"] for _ in range(3)] == ["hello", "snapshot", "bye"]
            assert len(world.manager.bus) == 0

    simulate(main())


def test_what_a_reader_is_owed_is_bounded(tmp_path: Path) -> None:
    """Thousands of runs that it did not take do not stand in memory."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            with world.manager.bus.subscribe(world.manager) as subscription:
                for _ in range(100):
                    last = await run_once(world)
                owed = list(subscription.reader.dirty.values())
                assert len(owed) <= 66
                assert owed[-1].key.id == last

    simulate(main())


@pytest.mark.rule("F9")
def test_a_run_that_a_reader_has_let_go_of_comes_in_full(tmp_path: Path) -> None:
    """Run A fails, B is run, A is retried: who takes patches dropped A with B's first commit, and has no base of it."""

    async def fail(_: ScriptedAttempt) -> Outcome:
        return Failed("RuntimeError: no", "exception")

    async def main() -> None:
        runner = ScriptedRunner({"translator": [fail]})
        async with open_world(tmp_path, [make_pipeline()], runner) as world:
            wanted = Wanted(delta=True)
            with world.manager.bus.subscribe(world.manager, wanted) as subscription:
                replica = Replica()
                first = await run_once(world)
                replica = await catch_up(world, subscription, replica)
                await run_once(world)
                replica = await catch_up(world, subscription, replica)
                assert Key("run", first) not in replica.entries
                await world.orchestrator.retry(first)
                await world.orchestrator.finished(first)
                replica = await catch_up(world, subscription, replica)
                assert replica.entries[Key("run", first)].document["state"] == "success"

    simulate(main())


async def catch_up(world: World, subscription: Subscription, replica: Replica) -> Replica:
    """Return the replica at the head; it never has to ask."""
    while replica.position != world.manager.head.position:
        replica, outcome = receive(replica, parse_frame((await anext(subscription)).data))
        assert outcome in (Outcomes.APPLIED, Outcomes.IGNORED)
    return replica
