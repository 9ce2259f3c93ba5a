"""Runs executed elsewhere, on virtual time: one commit per report, tokens and answers that outlive the server, leases."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from runstate.core.commit import Key
from runstate.core.errors import (
    AlreadyRunning,
    ExecutedElsewhere,
    InvalidValue,
    NotFound,
    ReporterRefused,
    StaleAttempt,
    StoreUnavailable,
)
from runstate.pipeline.external import KEEP_MS
from runstate.testing import virtual_time
from tests.external.world import new_journal, served

LOAD = {"fact": "stage_started", "stage": "load"}
DONE = {"fact": "stage_succeeded", "stage": "load", "outputs": {"rows": 3}}
BEAT = {"fact": "heartbeat"}


def simulate(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


@pytest.mark.rule("C8", "D8")
def test_opening_a_run_makes_its_pipeline(tmp_path):
    """Both documents appear in one commit, and the pipeline's stages follow the latest run's."""

    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            document = await world.external.open("predict", stages=["load", "infer"], metadata={"user": 7}, by="ann")
            run = document.run.to_dict()
            assert (run["state"], run["version"], run["metadata"]) == ("starting", 1, {"user": 7})
            assert run["trigger"] == {"kind": "external", "by": "ann"}
            owner = world.manager.head.pipeline("predict")
            assert owner.position == document.position
            assert (owner.pipeline.current_run_id, owner.pipeline.stage_order) == (run["run_id"], ("load", "infer"))
            token = world.external.token(run["run_id"])
            assert token is not None
            await world.tell((run["run_id"], token), 1, {"fact": "stage_failed"})
            await world.external.open("predict", stages=["only"])
            assert world.manager.head.pipeline("predict").pipeline.stage_order == ("only",)
            assert world.manager.head.pipeline().key.id == "demo", "the default is what is served"

    simulate(main())


@pytest.mark.rule("C4", "C8")
def test_one_active_run_per_pipeline_whoever_executes_it(tmp_path):
    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run_id, token = await world.opened("demo", ("load",))
            assert world.manager.head.pipeline("demo").pipeline.stage_order == ("translator", "analyzer", "merger")
            with pytest.raises(AlreadyRunning) as refused:
                await world.opened("demo", ("load",))
            assert refused.value.run_id == run_id
            with pytest.raises(AlreadyRunning):
                await world.orchestrator.start("demo")
            await world.tell((run_id, token), 1, LOAD, DONE)
            await world.orchestrator.start("demo")
            with pytest.raises(AlreadyRunning):
                await world.opened("demo", ("load",))

    simulate(main())


@pytest.mark.rule("C8")
def test_a_report_is_one_commit(tmp_path):
    """Whatever it tells, the document goes one version on, and the commit's cause names every fact."""

    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run = await world.opened()
            document = await world.tell(run, 1, LOAD, {"fact": "progress", "stage": "load", "done": 1}, DONE)
            assert (document.version, document.run.state) == (2, "running_infer")
            assert world.causes(run[0])[1] == (
                '{"by":null,"event":"facts_reported","facts":["attempt_started","progress_reported","stage_succeeded"]}'
            )
            assert (await world.tell(run, 2, {"fact": "log", "text": "to the log"})).version == 2
            await asyncio.to_thread(world.logs.flush)
            (line,) = world.logs.read(run[0], after=0, limit=10).lines
            assert (line["stage"], line["text"]) == ("infer", "to the log")

    simulate(main())


@pytest.mark.rule("C8")
def test_a_report_is_all_or_none(tmp_path):
    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run = await world.opened()
            with pytest.raises(StaleAttempt):
                await world.tell(run, 1, LOAD, {"fact": "log", "text": "never"}, {**DONE, "stage": "infer"})
            assert (await world.manager.find_run(run[0])).version == 1
            await asyncio.to_thread(world.logs.flush)
            assert world.logs.read(run[0], after=0, limit=10).lines == ()
            assert (await world.tell(run, 1, LOAD)).version == 2, "its number is still free"

    simulate(main())


@pytest.mark.rule("C8")
def test_a_number_that_was_taken_returns_the_first_answer(tmp_path):
    """Byte for byte, whatever has happened since, also after the run's end and a restart."""
    journal = new_journal()

    async def main() -> None:
        async with served(tmp_path, journal) as world:
            run = await world.opened()
            async with asyncio.TaskGroup() as twins:
                both = [twins.create_task(world.tell(run, 1, LOAD)) for _ in range(2)]
            first = both[0].result()
            assert both[1].result() == first
            second = await world.tell(run, 2, DONE)
            assert (await world.tell(run, 1, LOAD)).encoded == first.encoded
            assert (await world.tell(run, 2, BEAT)) == second, "whatever the second try says"
            with pytest.raises(ReporterRefused, match="a gap; 3 comes next"):
                await world.tell(run, 4, BEAT)
        async with served(tmp_path, journal) as world:
            assert (await world.tell(run, 1, LOAD)).encoded == first.encoded
            end = await world.tell(run, 3, {"fact": "stage_skipped", "stage": "infer"})
            assert end.run.state == "success"
        async with served(tmp_path, journal) as world:
            assert (await world.tell(run, 3, BEAT)).encoded == end.encoded
            with pytest.raises(ReporterRefused, match="is over"):
                await world.tell(run, 4, BEAT)

    simulate(main())


@pytest.mark.rule("C5", "C8")
def test_only_who_opened_a_run_reports_it(tmp_path):
    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run_id, _ = await world.opened()
            other = await world.opened("other")
            for token in (other[1], "", "\ud800"):
                with pytest.raises(ReporterRefused, match="not the token"):
                    await world.tell((run_id, token), 1, LOAD)
            with pytest.raises(NotFound):
                await world.tell(("nobody", other[1]), 1, LOAD)
            ours = await world.orchestrator.start("demo")
            with pytest.raises(ReporterRefused, match="executed by this server"):
                await world.tell((ours.key.id, other[1]), 1, LOAD)
            assert (await world.manager.find_run(run_id)).version == 1

    simulate(main())


@pytest.mark.rule("C8", "D9")
@pytest.mark.parametrize("facts", [(), (LOAD,)], ids=["starting", "running"])
def test_a_lease_that_runs_out_ends_the_run_as_lost(tmp_path, facts):
    """Each report begins it anew; the document says when the reporter was last heard."""

    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run = await world.opened(lease_s=10)
            if facts:
                await world.tell(run, 1, *facts)
            for seq in range(1 + len(facts), 5):
                await asyncio.sleep(9)
                await world.tell(run, seq, BEAT)
            heard = virtual_time.virtual_loop().time()
            over = await world.orchestrator.finished(run[0])
            assert virtual_time.virtual_loop().time() == pytest.approx(heard + 10, abs=0.1)
            assert (over.run.state, over.run.error_code) == ("failed", "lost")
            assert over.run.error is not None
            assert over.run.error.startswith("Lost: nothing was heard of its reporter for 10 s; last heard 2026-")
            with pytest.raises(ReporterRefused, match="is over"):
                await world.tell(run, 5, BEAT)
            await world.opened()

    simulate(main())


@pytest.mark.rule("C8")
def test_a_restart_begins_the_lease_anew(tmp_path):
    """A server that was away for an hour ends no live work, and a dead reporter is still seen afterwards."""
    journal = new_journal()

    async def main() -> None:
        async with served(tmp_path, journal) as world:
            run = await world.opened(lease_s=10)
            await world.tell(run, 1, LOAD)
        await asyncio.sleep(3600)
        async with served(tmp_path, journal) as world:
            assert (await world.manager.find_run(run[0])).run.state == "running_load", "the server's own end is no loss"
            await asyncio.sleep(9)
            await world.tell(run, 2, BEAT)
        async with served(tmp_path, journal) as world:
            over = await world.orchestrator.finished(run[0])
            assert over.run.error_code == "lost"
            assert over.run.error is not None
            assert over.run.stages["load"].heartbeat_at in over.run.error

    simulate(main())


@pytest.mark.rule("C5", "C8")
@pytest.mark.parametrize("says_so", [True, False])
def test_a_stop_ends_with_the_reporter(tmp_path, says_so):
    """It is told in the next answer; the run is stopped when it says that it has ended, or its lease runs out."""

    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run = await world.opened(lease_s=10)
            await world.tell(run, 1, LOAD)
            await world.orchestrator.stop(run[0], reason="enough")
            answer = await world.tell(run, 2, BEAT)
            assert (answer.run.state, answer.run.stop_requested is not None) == ("running_load", True)
            if says_so:
                answer = await world.tell(run, 3, {"fact": "stage_failed", "stage": "load"})
            over = await world.orchestrator.finished(run[0])
            assert over.run.to_dict()["state"] == "stopped"
            assert over.run.error == "Stopped: enough"
            assert not says_so or answer == over

    simulate(main())


@pytest.mark.rule("C8")
def test_a_run_executed_elsewhere_cannot_be_retried_here(tmp_path):
    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run = await world.opened("demo", ("load",))
            await world.tell(run, 1, {"fact": "stage_failed"})
            with pytest.raises(ExecutedElsewhere, match="opens a new run"):
                await world.orchestrator.retry(run[0])

    simulate(main())


@pytest.mark.rule("C8", "H10")
def test_silence_while_the_journal_refuses_is_not_the_reporters(tmp_path):
    """Nobody can be heard then; the same report is taken once the journal works again."""

    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            run = await world.opened(lease_s=10)
            world.journal.begin_outage("disk full")
            with pytest.raises(StoreUnavailable):
                await world.tell(run, 1, LOAD)
            await asyncio.sleep(60)
            with pytest.raises(StoreUnavailable):
                await world.tell(run, 1, LOAD)
            world.journal.end_outage()
            await world.manager.until(lambda: world.manager.trouble is None)
            assert (await world.tell(run, 1, LOAD)).run.state == "running_load"

    simulate(main())


@pytest.mark.rule("C7", "C8")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pipeline": "Predict"}, "pipeline name 'Predict'"),
        ({"stages": []}, "1 to 256"),
        ({"stages": ["a", "a"]}, "different"),
        ({"stages": ["a b"]}, "stage name 'a b'"),
        ({"stages": [7]}, "stage name 7"),
        ({"lease_s": 0}, "lease_s is 0"),
        ({"lease_s": True}, "lease_s is True"),
        ({"lease_s": 1e9}, "lease_s"),
        ({"metadata": {"a": float("nan")}}, "metadata.a"),
    ],
)
def test_what_cannot_be_opened_changes_nothing(tmp_path, arguments, words):
    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            with pytest.raises(InvalidValue, match=words):
                await world.external.open(**({"pipeline": "predict", "stages": ["load"]} | arguments))
            assert [document.key.id for document in world.manager.head.pipelines()] == ["demo"]

    simulate(main())


def test_reporters_of_runs_long_over_are_forgotten(tmp_path):
    async def main() -> None:
        async with served(tmp_path, new_journal()) as world:
            old = await world.opened("old")
            await world.tell(old, 1, {"fact": "stage_failed"})
            still = await world.opened("still", lease_s=7 * 24 * 3600)
            await asyncio.sleep(KEEP_MS / 1000 + 1)
            await world.opened("fresh")
            assert set(world.manager.reporters) == {still[0], world.manager.get_state("fresh").run_id}
            with pytest.raises(ReporterRefused, match="long over"):
                await world.tell(old, 2, BEAT)
            assert world.journal.head(Key("run", old[0])) is not None

    simulate(main())
