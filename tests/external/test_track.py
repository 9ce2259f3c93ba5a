"""`track` on virtual time: what a block means for its run, and what it rides out."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from runstate.client import ServerUnreachable, Stopped
from runstate.client.track import track
from runstate.core.commit import Key
from runstate.core.errors import AlreadyRunning, InvalidValue, ReporterRefused
from runstate.core.machine import State, check_move, phase_of
from runstate.server.external import InProcess
from runstate.testing import virtual_time
from tests.external.world import new_journal, served

STAGES = ["load", "infer", "save"]


class Meddled:
    """A door that loses requests and answers as it is told: `?` takes nothing, `!` takes it and loses the answer."""

    def __init__(self, door, script="") -> None:
        self._door, self.script, self.seqs = door, list(script), []

    async def open_run(self, pipeline, **options):
        return await self._door.open_run(pipeline, **options)

    async def report(self, run_id, token, seq, facts):
        self.seqs.append(seq)
        what = self.script.pop(0) if self.script else "."
        if what == "?":
            raise ServerUnreachable("http://nobody")
        answer = await self._door.report(run_id, token, seq, facts)
        if what == "!":
            raise ServerUnreachable("http://nobody")
        return answer


@asynccontextmanager
async def tracking(tmp_path, script=""):
    """A world and a door to it; at the end every history is one of single legal moves."""
    async with served(tmp_path, new_journal()) as world:
        yield world, Meddled(InProcess(world.external), script)
        for document in world.manager.head.pipelines():
            run_id = document.pipeline.current_run_id
            page = run_id and world.journal.history(Key("run", run_id), after=0, limit=10_000)
            for entry in page.entries if page else ():
                if entry.old_state != entry.new_state and entry.version > 1:
                    old, new = place(entry.old_state), place(entry.new_state)
                    check_move(world.journal.version(Key("run", run_id), entry.version).run.stage_order, old, new)


def place(word):
    return State(phase_of(word), word.removeprefix("running_") if word.startswith("running_") else None)


def simulate(main):
    virtual_time.run(main)


@pytest.mark.rule("C8")
def test_a_block_is_a_run(tmp_path):
    async def main():
        async with tracking(tmp_path) as (world, door):
            async with track(door, "predict", stages=STAGES, metadata={"user": 7}) as run:
                async with run.stage("load") as stage:
                    for done in range(1000):
                        stage.progress(done, total=1000, unit="rows")
                        await asyncio.sleep(0.001)
                    stage.outputs(rows=1200)
                    stage.log("loaded")
                async with run.stage("infer") as stage:
                    await run.update_metadata({"model": "m1"})
                async with run.stage("save"):
                    assert run.document.state == "running_save"
            over = (await world.manager.find_run(run.run_id)).run.to_dict()
            assert (over["state"], over["metadata"]) == ("success", {"user": 7, "model": "m1"})
            assert over["stages"]["load"]["outputs"] == {"rows": 1200}
            assert over["stages"]["load"]["progress"]["done"] == 999, "the last value is never lost"
            assert 10 <= over["version"] <= 20, "progress is folded to ten commits in a second"
            world.logs.flush()
            (line,) = world.logs.read(run.run_id, after=0, limit=10).lines
            assert (line["stage"], line["text"]) == ("load", "loaded")

    simulate(main())


@pytest.mark.rule("C8")
def test_heartbeats_keep_quiet_work_alive(tmp_path):
    async def main():
        async with tracking(tmp_path) as (world, door):
            async with track(door, "predict", stages=["load"], lease_s=10) as run:
                async with run.stage("load"):
                    await asyncio.sleep(300)
            assert (await world.manager.find_run(run.run_id)).run.state == "success"
            assert len(door.seqs) <= 110

    simulate(main())


@pytest.mark.rule("C8", "D9")
@pytest.mark.parametrize("where", ["before", "in", "between", "after"])
def test_an_exception_fails_the_run_and_goes_on(tmp_path, where):
    async def main():
        async with tracking(tmp_path) as (world, door):
            with pytest.raises(ValueError, match=r"^no$"):
                async with track(door, "predict", stages=["load", "save"]) as run:
                    if where == "before":
                        raise ValueError("no")
                    async with run.stage("load"):
                        if where == "in":
                            raise ValueError("no")
                    if where == "between":
                        raise ValueError("no")
                    async with run.stage("save"):
                        pass
                    raise ValueError("no")
            over = (await world.manager.find_run(run.run_id)).run
            if where == "after":
                assert over.state == "success", "its last stage was done, and that is committed"
                return
            assert (over.state, over.error, over.error_code) == ("failed", "ValueError: no", "exception")
            assert over.stages["load"].state == {"before": "pending", "in": "failed", "between": "success"}[where]

    simulate(main())


@pytest.mark.rule("C8", "D9")
@pytest.mark.parametrize(("error", "code"), [(MemoryError(), "out_of_memory"), (InvalidValue("x"), "invalid")])
def test_an_exception_may_bring_its_code(tmp_path, error, code):
    async def main():
        async with tracking(tmp_path) as (world, door):
            with pytest.raises(type(error)):
                async with track(door, "predict", stages=["load"]) as run, run.stage("load"):
                    raise error
            assert (await world.manager.find_run(run.run_id)).run.error_code == code

    simulate(main())


@pytest.mark.rule("C8")
@pytest.mark.parametrize("entered", [[], ["load"], ["infer"], ["save"], ["load", "save"]])
def test_stages_that_are_passed_over_are_skipped(tmp_path, entered):
    async def main():
        async with tracking(tmp_path) as (world, door):
            async with track(door, "predict", stages=STAGES) as run:
                for name in entered:
                    async with run.stage(name):
                        pass
            over = (await world.manager.find_run(run.run_id)).run
            assert over.state == "success"
            assert [name for name, stage in over.stages.items() if stage.state == "success"] == sorted(
                entered, key=STAGES.index
            )

    simulate(main())


@pytest.mark.parametrize(("then", "words"), [("load", "has ended already"), ("nothing", "none of load, infer, save")])
def test_there_is_no_way_back(tmp_path, then, words):
    async def main():
        async with tracking(tmp_path) as (world, door):
            with pytest.raises(InvalidValue, match=words):
                async with track(door, "predict", stages=STAGES) as run:
                    async with run.stage("infer"):
                        pass
                    async with run.stage(then):
                        pass
            assert (await world.manager.find_run(run.run_id)).run.state == "failed"

    simulate(main())


@pytest.mark.rule("C5", "C8")
@pytest.mark.parametrize("listens", [True, False])
def test_a_stop_cancels_the_block_and_is_raised(tmp_path, listens):
    """Work that swallows the cancellation ends when it ends; the run is stopped then, whatever it had made."""

    async def main():
        async with tracking(tmp_path) as (world, door):
            cleaned = []
            with pytest.raises(Stopped, match="enough"):
                async with track(door, "predict", stages=STAGES, lease_s=9) as run:
                    async with run.stage("load"):
                        await world.orchestrator.stop(run.run_id, reason="enough")
                        try:
                            await asyncio.sleep(600)
                        except asyncio.CancelledError:
                            cleaned.append(run.stopping)
                            if listens:
                                raise
            assert cleaned == [True]
            over = (await world.manager.find_run(run.run_id)).run
            assert (over.state, over.error) == ("stopped", "Stopped: enough")
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0

    simulate(main())


@pytest.mark.rule("C8")
def test_being_cancelled_from_outside_is_a_failure_that_goes_on(tmp_path):
    async def main():
        async with tracking(tmp_path) as (world, door):
            began = asyncio.Event()

            async def request():
                async with track(door, "predict", stages=["load"]) as run, run.stage("load"):
                    began.set()
                    await asyncio.sleep(600)

            async with asyncio.TaskGroup() as group:
                task = group.create_task(request())
                await began.wait()
                task.cancel()
            assert task.cancelled()
            over = world.manager.get_state("predict")
            assert (over.state, over.error_code) == ("failed", "exception")

    simulate(main())


@pytest.mark.rule("C8")
@pytest.mark.parametrize("script", ["?", "!", "!?!", "..!", "..??!?", "!!!!!!!!!!"])
def test_lost_requests_and_answers_are_ridden_out(tmp_path, script):
    """Each report is taken once, however often it is sent: its number stays until it is answered."""

    async def main():
        async with tracking(tmp_path, script) as (world, door):
            async with track(door, "predict", stages=STAGES) as run:
                for name in STAGES:
                    async with run.stage(name) as stage:
                        stage.progress(1)
                        stage.log("a line")
            over = (await world.manager.find_run(run.run_id)).run
            assert (over.state, over.retry_count) == ("success", 0)
            assert door.seqs == sorted(door.seqs)
            assert set(door.seqs) == set(range(1, max(door.seqs) + 1))
            world.logs.flush()
            assert len(world.logs.read(run.run_id, after=0, limit=100).lines) == 3

    simulate(main())


@pytest.mark.rule("C8")
def test_who_cannot_be_reached_for_too_long_is_told_of(tmp_path):
    """A stage's end waits as long as patience lasts; meanwhile the lease runs out, and the run is lost."""

    async def main():
        async with tracking(tmp_path, "." + "?" * 1000) as (world, door):
            with pytest.raises(ServerUnreachable):
                async with track(door, "predict", stages=["load"], lease_s=5, patience_s=20) as run:
                    async with run.stage("load"):
                        pass
            assert (await world.orchestrator.finished(run.run_id)).run.error_code == "lost"

    simulate(main())


@pytest.mark.rule("C8")
def test_work_whose_run_was_lost_is_cancelled(tmp_path):
    """After a long partition the server has given the run up; whoever works on is told as soon as it is heard again."""

    async def main():
        async with tracking(tmp_path, "." + "?" * 12) as (world, door):
            with pytest.raises(ReporterRefused, match="is over"):
                async with track(door, "predict", stages=["load"], lease_s=5) as run:
                    async with run.stage("load"):
                        await asyncio.sleep(600)
            assert (await world.manager.find_run(run.run_id)).run.error_code == "lost"
            assert virtual_time.virtual_loop().time() < 60

    simulate(main())


@pytest.mark.rule("C4", "C8")
def test_one_block_per_pipeline_at_a_time(tmp_path):
    async def main():
        async with tracking(tmp_path) as (_, door):
            async with track(door, "predict", stages=["load"]):
                with pytest.raises(AlreadyRunning):
                    async with track(door, "predict", stages=["load"]):
                        raise AssertionError("never entered")

    simulate(main())


@pytest.mark.rule("C8")
def test_outputs_that_are_too_large_fail_the_stage(tmp_path):
    async def main():
        async with tracking(tmp_path) as (world, door):
            with pytest.raises(InvalidValue, match="outputs of stage load"):
                async with track(door, "predict", stages=["load"]) as run, run.stage("load") as stage:
                    stage.outputs(blob="x" * 70_000)
            over = (await world.manager.find_run(run.run_id)).run
            assert (over.state, over.stages["load"].state) == ("failed", "failed")

    simulate(main())
