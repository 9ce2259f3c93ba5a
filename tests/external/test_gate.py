"""What a pipeline that is served here means for its runs that are executed elsewhere: its run policy and its schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from runstate.client.track import track
from runstate.core.errors import Blocked
from runstate.core.times import format_time
from runstate.server.external import InProcess
from runstate.testing import virtual_time
from tests.external.world import new_journal, served
from tests.pipeline.world import make_pipeline


def simulate(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


@pytest.mark.rule("C8", "H9")
def test_the_run_policy_holds_for_runs_executed_elsewhere(tmp_path):
    """As for a person's start: an override opens one while degraded, nothing but an acknowledgement while blocked."""

    async def main() -> None:
        async with served(tmp_path, new_journal(), make_pipeline(run_policy="gated")) as world:

            async def fail(code: str, **options: Any) -> None:
                run = await world.opened("demo", ("load",), **options)
                failed = {"fact": "stage_failed", "stage": "load", "error_code": code}
                await world.tell(run, 1, {"fact": "stage_started", "stage": "load"}, failed)

            await fail("exception")
            await fail("exception")
            before = world.manager.head.pipeline("demo").version
            with pytest.raises(Blocked, match="is degraded; start it with override"):
                await world.opened("demo", ("load",), by="ann")
            owner = world.manager.head.pipeline("demo")
            assert owner.version == before + 1, "that it was refused is committed"
            refused = owner.pipeline.health.reasons[-1]
            assert refused.startswith("refused: a start while degraded") and "by ann" in refused
            await fail("out_of_memory", override=True)
            with pytest.raises(Blocked, match="is blocked"):
                async with track(InProcess(world.external), "demo", stages=["load"], override=True):
                    raise AssertionError("never entered")
            await world.orchestrator.settings.acknowledge("demo", "more memory")
            await fail("exception")
            await world.opened("not_served_here", ("load",))

    simulate(main())


def test_a_queued_run_begins_when_the_run_executed_elsewhere_is_over(tmp_path):
    """At once, and not when somebody looks at the clock again."""

    async def main() -> None:
        pipeline = make_pipeline()
        pipeline.schedule("* * * * *", overlap="queue")
        async with served(tmp_path, new_journal(), pipeline) as world:
            run = await world.opened("demo", ("load",), lease_s=100)
            await asyncio.sleep(62)
            schedule = world.manager.head.pipeline("demo").pipeline.schedule
            assert schedule is not None and schedule.queued_at is not None
            over = await world.tell(run, 1, {"fact": "stage_failed"})
            await world.manager.until(lambda: world.manager.get_state("demo").run_id != run[0])
            version_1 = world.journal.commits_after(over.position.revision, None)[0]
            assert version_1.at_ms - over.at_ms < 100, f"{format_time(over.at_ms)} {format_time(version_1.at_ms)}"

    simulate(main())
