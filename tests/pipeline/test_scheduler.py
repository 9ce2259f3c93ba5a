"""Runs that start by themselves, or may not, on virtual time: due, missed, overlapping, queued, blocked, over restarts.

Longer than others: one concept, many cases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runstate import Pipeline
from runstate.core.commit import Note
from runstate.core.errors import Blocked, InvalidValue, TransitionRejected
from runstate.core.facts import Failed, Outcome
from runstate.core.model import Health, PipelineDocument, Schedule
from runstate.core.times import format_time, parse_time
from runstate.journal.memory import MemoryJournal
from runstate.testing import virtual_time
from runstate.testing.scripted_runner import ScriptedAttempt, ScriptedRunner, obey
from runstate.testing.virtual_time import START_MS, VirtualTimeLoop, virtual_loop
from tests.pipeline.world import EPOCH, World, make_pipeline, open_world

MINUTE_S = 60
FIRST = format_time(START_MS - START_MS % 60_000 + 60_000)


@dataclass(slots=True)
class SetClock:
    """A wall clock that somebody sets; the loop's own time goes on."""

    loop: VirtualTimeLoop
    ahead_ms: int = 0

    def now_ms(self) -> int:
        return self.loop.now_ms() + self.ahead_ms


def every_minute(**options: Any) -> Pipeline:
    pipeline = make_pipeline()
    pipeline.schedule("* * * * *", **options)
    return pipeline


def simulate(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


def owner_of(world: World) -> PipelineDocument:
    return world.manager.head.pipeline("demo").pipeline


def schedule_of(world: World) -> Schedule:
    schedule = owner_of(world).schedule
    assert schedule is not None
    return schedule


def runs(world: World) -> int:
    return len({document.key.id for commit in world.journal.commits_after(0, None) for document in
                (change.document for change in commit.changes) if document.key.kind == "run"})  # fmt: skip


@pytest.mark.rule("D8")
@pytest.mark.rule("D2")
def test_a_due_run_and_its_pipeline_change_in_one_commit(tmp_path: Path) -> None:
    """Version 1 is `scheduled`; the schedule names the run and the next time."""

    async def main() -> None:
        async with open_world(tmp_path, [every_minute()], ScriptedRunner()) as world:
            assert schedule_of(world) == Schedule(cron="* * * * *", next_run_at=FIRST)
            await asyncio.sleep(MINUTE_S)
            run_id = str(owner_of(world).current_run_id)
            assert world.states(run_id) == [
                "scheduled", "starting", "running_translator", "running_analyzer", "running_merger", "success",
            ]  # fmt: skip
            first = next(
                c for c in world.journal.commits_after(0, None) if any(d.document.key.id == run_id for d in c.changes)
            )
            values = {change.document.key.kind: change.document.value.to_dict() for change in first.changes}
            assert values["run"]["trigger"] == {"kind": "schedule", "by": None}
            assert (values["run"]["state"], values["run"]["started_at"]) == ("scheduled", None)
            assert (values["pipeline"]["current_run_id"], values["pipeline"]["schedule"]["last_run_id"]) == (
                run_id,
                run_id,
            )
            assert parse_time(values["pipeline"]["schedule"]["next_run_at"]) == parse_time(FIRST) + 60_000
            assert world.history(run_id)[1][1]["started_at"] is not None

    simulate(main())


def test_every_time_has_one_run(tmp_path: Path) -> None:
    """An hour has sixty minutes, and nobody looks at the clock more often than every few seconds."""

    async def main() -> None:
        async with open_world(tmp_path, [every_minute()], ScriptedRunner()) as world:
            await asyncio.sleep(3600)
            assert runs(world) == 60

    simulate(main())


@pytest.mark.rule("C4")
def test_a_time_at_which_a_run_is_active_is_skipped_or_queued(tmp_path: Path) -> None:
    """One is queued, however many were due; it starts when the active run is over."""

    async def main(overlap: Any) -> None:
        runner = ScriptedRunner({"translator": [obey]})
        async with open_world(tmp_path, [every_minute(overlap=overlap)], runner) as world:
            active = await world.orchestrator.start()
            await asyncio.sleep(3 * MINUTE_S)
            shown = schedule_of(world)
            assert runs(world) == 1
            assert shown.last_skip_reason == "overlap"
            assert shown.queued_at == (FIRST if overlap == "queue" else None)
            await world.orchestrator.stop(active.key.id)
            await world.orchestrator.finished(active.key.id)
            await asyncio.sleep(1)
            assert runs(world) == (2 if overlap == "queue" else 1)
            assert schedule_of(world).queued_at is None

    simulate(main("skip"))
    simulate(main("queue"))


@pytest.mark.parametrize(("missed", "after"), [("skip", 0), ("run_once", 1)])
def test_times_at_which_no_server_was_there_are_missed(tmp_path: Path, missed: Any, after: int) -> None:
    """All of them together are skipped, or give one run."""

    async def main() -> None:
        journal, clock = MemoryJournal(epoch=EPOCH), SetClock(virtual_loop())
        async with open_world(tmp_path, [every_minute(missed=missed)], ScriptedRunner(), journal, clock) as world:
            assert runs(world) == 0
        await asyncio.sleep(10 * MINUTE_S)
        async with open_world(tmp_path, [every_minute(missed=missed)], ScriptedRunner(), journal, clock) as world:
            await asyncio.sleep(1)
            assert runs(world) == after
            assert schedule_of(world).last_skip_reason == ("missed" if missed == "skip" else None)
            assert 0 < parse_time(str(schedule_of(world).next_run_at)) - clock.now_ms() <= 60_000

    simulate(main())


def test_a_queued_run_outlives_the_server(tmp_path: Path) -> None:
    """The interrupted run goes on first; the queued one begins when that is over."""

    async def main() -> None:
        journal, clock = MemoryJournal(epoch=EPOCH), SetClock(virtual_loop())
        runner = ScriptedRunner({"translator": [obey]})
        async with open_world(tmp_path, [every_minute(overlap="queue")], runner, journal, clock) as world:
            active = (await world.orchestrator.start()).key.id
            await asyncio.sleep(MINUTE_S)
            assert schedule_of(world).queued_at == FIRST
        async with open_world(tmp_path, [every_minute(overlap="queue")], ScriptedRunner(), journal, clock) as world:
            assert (await world.orchestrator.finished(active)).run.state == "success"
            await asyncio.sleep(1)
            assert (runs(world), schedule_of(world).queued_at) == (2, None)
            assert owner_of(world).current_run_id == schedule_of(world).last_run_id != active

    simulate(main())


def test_a_clock_that_is_set_back_fires_nothing_twice(tmp_path: Path) -> None:
    """The minutes that come again have had their runs."""

    async def main() -> None:
        clock = SetClock(virtual_loop())
        async with open_world(tmp_path, [every_minute()], ScriptedRunner(), clock=clock) as world:
            await asyncio.sleep(30 * MINUTE_S)
            assert runs(world) == 30
            clock.ahead_ms -= 20 * 60_000
            await asyncio.sleep(20 * MINUTE_S)
            assert runs(world) == 30
            await asyncio.sleep(5 * MINUTE_S)
            assert runs(world) == 35

    simulate(main())


def test_a_clock_that_was_far_ahead_silences_nothing(tmp_path: Path) -> None:
    """A year ahead and back again: the next minute has its run."""

    async def main() -> None:
        clock = SetClock(virtual_loop())
        async with open_world(tmp_path, [every_minute()], ScriptedRunner(), clock=clock) as world:
            clock.ahead_ms += 365 * 24 * 3600 * 1000
            await asyncio.sleep(MINUTE_S)
            assert schedule_of(world).last_skip_reason == "missed"
            before = runs(world)
            clock.ahead_ms = 0
            await asyncio.sleep(2 * MINUTE_S)
            assert runs(world) >= before + 1

    simulate(main())


@pytest.mark.parametrize(("missed", "after"), [("skip", 0), ("run_once", 1)])
def test_a_clock_that_jumps_ahead_obeys_the_policy(tmp_path: Path, missed: Any, after: int) -> None:
    """Also what a machine slept through: an hour of minutes is one decision."""

    async def main() -> None:
        clock = SetClock(virtual_loop())
        async with open_world(tmp_path, [every_minute(missed=missed)], ScriptedRunner(), clock=clock) as world:
            clock.ahead_ms += 3600 * 1000
            await asyncio.sleep(6)
            assert runs(world) == after

    simulate(main())


@pytest.mark.rule("C5")
def test_stopping_a_run_that_waits_to_start_cancels_it_at_once(tmp_path: Path) -> None:
    """It never ran, so it is idle; nothing is active then, and the cancelled run stays as it is."""

    async def main() -> None:
        async with open_world(tmp_path, [every_minute()], ScriptedRunner()) as world:
            shown: list[str] = []

            def is_scheduled() -> bool:
                document = world.manager.head.status("demo")
                shown.append(document.run.state)
                return document.run.state == "scheduled"

            world.orchestrator.close()  # nothing is driven any more, so what is due waits
            await world.manager.until(is_scheduled)
            run_id = str(owner_of(world).current_run_id)
            cancelled = await world.orchestrator.stop(run_id, by="me")
            assert (cancelled.run.state, cancelled.run.status, cancelled.run.error) == ("idle", "idle", None)
            assert cancelled.run.ended_at is not None and cancelled.run.stop_requested is not None
            assert cancelled.version == 2 and world.manager.head.active_runs() == []
            with pytest.raises(TransitionRejected):
                await world.orchestrator.stop(run_id)

    simulate(main())


@pytest.mark.rule("D10")
def test_a_run_that_waits_to_start_outlives_the_server(tmp_path: Path) -> None:
    """The next server takes it on; where its pipeline is not served any more, it ends."""

    async def main() -> None:
        for served in (True, False):
            journal, clock = MemoryJournal(epoch=EPOCH), SetClock(virtual_loop())
            async with open_world(tmp_path, [every_minute()], ScriptedRunner(), journal, clock) as world:
                world.orchestrator.close()
                await world.manager.until(lambda world=world: world.manager.get_state("demo").state == "scheduled")
                run_id = str(owner_of(world).current_run_id)
            pipelines = [every_minute() if served else make_pipeline("other")]
            async with open_world(tmp_path, pipelines, ScriptedRunner(), journal, clock) as world:
                ended = (await world.orchestrator.finished(run_id)).run
                assert (ended.state, ended.error_code) == (("success", None) if served else ("failed", "not_startable"))

    simulate(main())


@pytest.mark.rule("D8")
def test_what_a_person_set_wins_until_the_definition_changes(tmp_path: Path) -> None:
    """Through restarts; a definition that says something else takes over again."""

    async def main() -> None:
        journal, clock = MemoryJournal(epoch=EPOCH), SetClock(virtual_loop())
        async with open_world(tmp_path, [every_minute()], ScriptedRunner(), journal, clock) as world:
            document = await world.orchestrator.settings.set_schedule(
                "demo", {"cron": "30 5 * * *", "tz": "Asia/Tokyo"}
            )
            assert document.pipeline.schedule is not None
            assert str(document.pipeline.schedule.next_run_at).endswith("T20:30:00.000Z")
        async with open_world(tmp_path, [every_minute()], ScriptedRunner(), journal, clock) as world:
            assert (schedule_of(world).cron, schedule_of(world).tz) == ("30 5 * * *", "Asia/Tokyo")
        async with open_world(tmp_path, [every_minute(overlap="queue")], ScriptedRunner(), journal, clock) as world:
            assert (schedule_of(world).cron, schedule_of(world).overlap) == ("* * * * *", "queue")
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal, clock) as world:
            assert owner_of(world).schedule is None
            with pytest.raises(InvalidValue, match="cron is needed"):
                await world.orchestrator.settings.set_schedule("demo", {"enabled": True})

    simulate(main())


def test_a_schedule_is_disabled_and_enabled(tmp_path: Path) -> None:
    """While it is off it says so, and nothing is due; the times in between are not made up for."""

    async def main() -> None:
        async with open_world(tmp_path, [every_minute(missed="run_once")], ScriptedRunner()) as world:
            settings = world.orchestrator.settings
            await settings.set_schedule("demo", {"enabled": False})
            assert (schedule_of(world).next_run_at, schedule_of(world).last_skip_reason) == (None, "disabled")
            await asyncio.sleep(10 * MINUTE_S)
            assert runs(world) == 0
            await settings.set_schedule("demo", {"enabled": True})
            assert schedule_of(world).last_skip_reason is None
            await asyncio.sleep(MINUTE_S)
            assert runs(world) == 1

    simulate(main())


def test_schedules_wait_while_the_journal_refuses(tmp_path: Path) -> None:
    """What was due meanwhile is missed, and says so; then it goes on."""

    async def main() -> None:
        journal = MemoryJournal(epoch=EPOCH)
        async with open_world(tmp_path, [every_minute()], ScriptedRunner(), journal) as world:
            journal.begin_outage("disk full")
            await asyncio.sleep(10 * MINUTE_S)
            assert runs(world) == 0
            journal.end_outage()
            await asyncio.sleep(2 * MINUTE_S)
            assert schedule_of(world).last_skip_reason == "missed"
            assert runs(world) in (1, 2)

    simulate(main())


@pytest.mark.rule("C5")
def test_a_stop_ends_the_wait_for_a_retry_and_lets_the_queued_run_begin(tmp_path: Path) -> None:
    """Nothing is alive in `retrying`, so it is over at once; the queued run follows in the same second."""

    async def fail(_: ScriptedAttempt) -> Outcome:
        return Failed("ValueError: once", "exception")

    async def main() -> None:
        pipeline = make_pipeline(stages={"translator": {"retries": 1, "backoff_s": 250}})
        pipeline.schedule("* * * * *", overlap="queue")
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"translator": [fail]})) as world:
            waiting = (await world.orchestrator.start()).key.id
            await world.manager.until(lambda: schedule_of(world).queued_at is not None)
            assert world.manager.get_state("demo").state == "retrying"
            stopped_ms = virtual_loop().now_ms()
            await world.orchestrator.stop(waiting)
            assert (await world.orchestrator.finished(waiting)).run.state == "stopped"
            await world.manager.until(lambda: owner_of(world).current_run_id != waiting)
            assert virtual_loop().now_ms() - stopped_ms < 1000

    simulate(main())


async def run_out_of_memory(_: ScriptedAttempt) -> Outcome:
    return Failed("OutOfMemory: killed", "out_of_memory", final=True)


@pytest.mark.rule("D8")
def test_health_changes_in_the_commit_that_ends_the_run(tmp_path: Path) -> None:
    """So no start can slip in between; the gate refuses scheduled and manual starts, and says so in the document."""

    async def main() -> None:
        pipeline = make_pipeline(run_policy="gated")
        pipeline.schedule("* * * * *")
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"translator": [run_out_of_memory]})) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.orchestrator.finished(run_id)
            last = world.journal.commits_after(0, None)[-1]
            assert [change.document.key.kind for change in last.changes] == ["run", "pipeline"]
            assert owner_of(world).health.state == "blocked"
            for command in (
                world.orchestrator.start(override=True, by="ann"),
                world.orchestrator.retry(run_id, by="ann"),
            ):
                before = owner_of(world).version
                with pytest.raises(Blocked, match="until somebody acknowledges it"):
                    await command
                assert owner_of(world).version == before + 1
                assert owner_of(world).health.reasons[-1].startswith("refused: a start while blocked")
                assert "by ann" in owner_of(world).health.reasons[-1]
            await asyncio.sleep(MINUTE_S)
            assert (runs(world), schedule_of(world).last_skip_reason) == (1, "blocked")
            cleared = await world.orchestrator.settings.acknowledge("demo", "more memory", by="ann")
            assert cleared.pipeline.health.state == "healthy"
            assert (
                "more memory" in cleared.pipeline.health.reasons[0] and "by ann" in cleared.pipeline.health.reasons[0]
            )
            with pytest.raises(InvalidValue, match="reason is empty"):
                await world.orchestrator.settings.acknowledge("demo", "  ")
            await asyncio.sleep(MINUTE_S)
            assert runs(world) == 2 and owner_of(world).health == Health()

    simulate(main())


def test_a_gate_holds_over_a_restart_and_opens_by_override(tmp_path: Path) -> None:
    """Degraded: a person may say that it shall run all the same; a schedule may not."""

    async def fail(_: ScriptedAttempt) -> Outcome:
        return Failed("ValueError: no", "exception")

    async def main() -> None:
        journal, clock = MemoryJournal(epoch=EPOCH), SetClock(virtual_loop())
        gated = make_pipeline(run_policy="gated")
        async with open_world(tmp_path, [gated], ScriptedRunner({"translator": [fail, fail]}), journal, clock) as world:
            for _ in range(2):
                await world.orchestrator.finished((await world.orchestrator.start()).key.id)
            assert owner_of(world).health.state == "degraded"
        async with open_world(tmp_path, [gated], ScriptedRunner(), journal, clock) as world:
            with pytest.raises(Blocked, match="start it with override"):
                await world.orchestrator.start()
            begun = await world.orchestrator.start(override=True)
            assert (await world.orchestrator.finished(begun.key.id)).run.state == "success"
            assert owner_of(world).health == Health()

    simulate(main())


def test_runs_from_before_memories_were_kept_are_recollected(tmp_path: Path) -> None:
    """Health is that of the committed runs, not of whoever looks first."""

    async def main() -> None:
        journal, clock = MemoryJournal(epoch=EPOCH), SetClock(virtual_loop())
        runner = ScriptedRunner({"translator": [run_out_of_memory]})
        async with open_world(tmp_path, [make_pipeline()], runner, journal, clock) as world:
            await world.orchestrator.finished((await world.orchestrator.start()).key.id)
        journal.append([], [Note("memory", "demo", None)])
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner(), journal, clock) as world:
            assert owner_of(world).health.state == "blocked"
        journal.append([], [Note("memory", "demo", b"garbage")])
        async with open_world(tmp_path, [make_pipeline(run_policy="gated")], ScriptedRunner(), journal, clock) as world:
            with pytest.raises(Blocked):
                await world.orchestrator.start(override=True)

    simulate(main())
