"""Real worker processes that are killed, stand still or hold the interpreter: each is seen, and said to be dead when it is."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from runstate.core.times import parse_time
from runstate.engine import open_engine
from runstate.pipeline.runners.process import identify, is_alive
from tests.external.hanging import LEASE_S, hanging


async def begun(engine, stage):
    """Start a run of one stage; return its id and the worker's pid, once the stage is under way."""
    document = await engine.orchestrator.start("hanging", stages=[stage])
    run_id = document.key.id

    def progress():
        return engine.manager.head.run(run_id).run.stages[stage].progress

    await engine.manager.until(lambda: progress() is not None)
    return run_id, progress().done


@pytest.mark.rule("D9")
@pytest.mark.parametrize("stage", ["stands_still", "holds_the_gil", "command_stands_still", "program_stands_still"])
def test_a_worker_that_hangs_is_lost_within_its_lease(tmp_path, stage):
    async def main():
        async with asyncio.timeout(60), open_engine([hanging], tmp_path) as engine:
            run_id, pid = await begun(engine, stage)
            worker = identify(pid)
            over = await engine.orchestrator.finished(run_id)
            record = over.run.stages[stage]
            assert (over.run.state, over.run.error_code, record.error_code) == ("failed", "lost", "lost")
            assert f"within its lease of {LEASE_S:g} s; last heard 20" in over.run.error
            assert not is_alive(worker)

    asyncio.run(main())


@pytest.mark.rule("D9")
@pytest.mark.parametrize("stage", ["is_quiet", "command_is_quiet"])
def test_a_worker_that_is_only_quiet_is_not_lost(tmp_path, stage):
    """Its heartbeats say so, also in the document."""

    async def main():
        async with asyncio.timeout(60), open_engine([hanging], tmp_path) as engine:
            run_id, _ = await begun(engine, stage)
            over = await engine.orchestrator.finished(run_id)
            assert over.run.state == "success"
            assert over.version > 4, "there were heartbeats"

    asyncio.run(main())


@pytest.mark.rule("D9")
def test_a_worker_that_is_killed_is_seen_within_a_second(tmp_path):
    """The best of three, since the machine may be busy with something else; no lease is needed for it."""

    async def main():
        took_ms = []
        async with asyncio.timeout(60), open_engine([hanging], tmp_path) as engine:
            for _ in range(3):
                run_id, pid = await begun(engine, "sleeps")
                at_ms = engine.clock.now_ms()
                os.kill(pid, signal.SIGKILL)
                over = await engine.orchestrator.finished(run_id)
                assert (over.run.state, over.run.error_code) == ("failed", "killed")
                took_ms.append(parse_time(over.run.ended_at) - at_ms)
        assert min(took_ms) < 1000

    asyncio.run(main())
