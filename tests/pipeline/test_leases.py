"""A worker that has a heartbeat and falls silent is lost within its lease; one that speaks, or cannot be heard, is not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runstate.core.canonical import FrozenJson
from runstate.core.facts import HeartbeatHeard, Outcome, ProgressMade, Succeeded
from runstate.core.model import Progress
from runstate.core.times import parse_time
from runstate.pipeline.stage import LEASE_S
from runstate.testing import virtual_time
from runstate.testing.scripted_runner import ScriptedAttempt, ScriptedRunner, hang, succeed
from tests.pipeline.world import make_pipeline, open_world

DONE = Succeeded(FrozenJson({}))


async def beat_then_hang(attempt: ScriptedAttempt) -> Outcome:
    for _ in range(20):
        await asyncio.sleep(LEASE_S / 3)
        await attempt.report(HeartbeatHeard())
    return await hang(attempt)


async def be_quiet_but_alive(attempt: ScriptedAttempt) -> Outcome:
    for _ in range(20):
        await asyncio.sleep(LEASE_S / 3)
        await attempt.report(HeartbeatHeard())
    return DONE


@pytest.mark.rule("D9")
def test_silence_ends_an_attempt_within_its_lease(tmp_path: Path) -> None:
    """It is killed without being asked, the document says when it was last heard, and its retries are granted."""
    loads = {"load": {"retries": 1, "backoff_s": 0}}
    runner = ScriptedRunner({"load": [beat_then_hang, hang]}, has_heartbeat=True)

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline(stages=loads)], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            over = await world.orchestrator.finished(run_id)
            assert (over.run.state, over.run.error_code, over.run.retry_count) == ("failed", "lost", 1)
            lost = next(document for state, document in world.history(run_id) if state == "retrying")
            record = lost["stages"]["load"]
            assert (record["error_code"], lost["error_code"]) == ("lost", "lost")
            assert record["error"].endswith(f"last heard {record['heartbeat_at']}")
            silent_ms = parse_time(record["ended_at"]) - parse_time(record["heartbeat_at"])
            assert 0.6 * LEASE_S * 1000 < silent_ms <= LEASE_S * 1000
            assert not any(attempt.stopping.is_set() for attempt in runner.attempts)

    virtual_time.run(main())


@pytest.mark.rule("D9")
@pytest.mark.parametrize(
    ("script", "has_heartbeat"), [(be_quiet_but_alive, True), (hang, False)], ids=["heard", "has none"]
)
def test_who_is_heard_or_has_no_heartbeat_is_not_lost(tmp_path: Path, script, has_heartbeat) -> None:
    runner = ScriptedRunner({"load": [script]}, has_heartbeat=has_heartbeat)

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline(stages={"load": {"grace_s": 0}})], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            await asyncio.sleep(10 * LEASE_S)
            assert (await world.manager.find_run(run_id)).run.state in ("running_load", "success")
            if script is hang:
                await world.orchestrator.stop(run_id)
            assert (await world.orchestrator.finished(run_id)).run.error_code in (None, "stopped")

    virtual_time.run(main())


@pytest.mark.rule("D9", "H10")
def test_a_worker_that_waits_for_the_journal_is_not_lost(tmp_path: Path) -> None:
    """What it says waits for the journal, and it with it: the silence is ours."""
    said = asyncio.Event()

    async def tell(attempt: ScriptedAttempt) -> Outcome:
        await said.wait()
        await attempt.report(ProgressMade(Progress(done=1)))
        return await succeed(attempt)

    runner = ScriptedRunner({"load": [tell]}, has_heartbeat=True)

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline(stages={"load": {}})], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            await asyncio.sleep(1)
            world.journal.begin_outage("disk full")
            await world.manager.until(lambda: world.manager.trouble is not None)
            said.set()
            await asyncio.sleep(10 * LEASE_S)
            world.journal.end_outage()
            over = await world.orchestrator.finished(run_id)
            assert (over.run.state, over.run.stages["load"].attempt) == ("success", 1)

    virtual_time.run(main())
