"""Runs from start to end on virtual time, with attempts that do what a script says. Longer than others: one concept, many endings."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from runstate.core.canonical import FrozenJson
from runstate.core.errors import AlreadyRunning, InvalidValue, NotFound, StoreUnavailable, TransitionRejected
from runstate.core.facts import Failed, LineLogged, MetadataPatched, Outcome, ProgressMade, Skipped, Succeeded
from runstate.core.model import Progress
from runstate.journal.memory import MemoryJournal
from runstate.testing import virtual_time
from runstate.testing.scripted_runner import NeverStarts, ScriptedAttempt, ScriptedRunner, hang, obey
from tests.pipeline.world import EPOCH, make_pipeline, open_world


async def fail(_: ScriptedAttempt) -> Outcome:
    return Failed("ValueError: once", "exception")


async def fail_for_good(_: ScriptedAttempt) -> Outcome:
    return Failed("Fatal: never", "bad_input", final=True)


def simulate(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


@pytest.mark.rule("D2")
def test_a_run_goes_through_its_stages_in_order(tmp_path: Path) -> None:
    """Every move is a commit, and run and stage change in one commit."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            started = await world.orchestrator.start(metadata={"user": 7}, by="me")
            assert (started.version, started.run.state, started.old_state) == (1, "starting", "idle")
            ended = await world.orchestrator.finished(started.key.id)
            assert world.states(ended.key.id) == [
                "starting", "running_translator", "running_analyzer", "running_merger", "success",
            ]  # fmt: skip
            for state, document in world.history(ended.key.id):
                running = [n for n, s in document["stages"].items() if s["state"] == "running"]
                assert running == ([state.removeprefix("running_")] if state.startswith("running_") else [])
            status = await world.orchestrator.get_status("demo")
            assert status == ended.run.to_dict() == await world.manager.get_canonical_state_dict()
            assert status["trigger"] == {"kind": "manual", "by": "me"}

    simulate(main())


@pytest.mark.rule("D5")
def test_a_pipeline_that_never_ran_has_a_status(tmp_path: Path) -> None:
    """Its document is idle at version 0, with pending stages."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            status = await world.orchestrator.get_status()
            assert (status["run_id"], status["version"], status["state"], status["epoch"]) == (None, 0, "idle", EPOCH)
            assert {s["state"] for s in status["stages"].values()} == {"pending"}

    simulate(main())


@pytest.mark.rule("C4")
def test_a_pipeline_runs_once_at_a_time(tmp_path: Path) -> None:
    """Of many starts at once one wins, and the others name the run that did."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner({"translator": [obey]})) as world:
            answers = await asyncio.gather(*(world.orchestrator.start() for _ in range(8)), return_exceptions=True)
            won = [answer for answer in answers if not isinstance(answer, BaseException)]
            lost = [answer for answer in answers if isinstance(answer, AlreadyRunning)]
            assert (len(won), len(lost)) == (1, 7)
            assert {refusal.run_id for refusal in lost} == {won[0].key.id}

    simulate(main())


def test_a_failed_stage_is_tried_again_after_its_pause(tmp_path: Path) -> None:
    """The pause doubles with each failure, with up to a quarter by chance; attempts count on; the last failure's text is
    gone once it succeeds.
    """

    async def main() -> None:
        runner = ScriptedRunner({"translator": [fail, fail]})
        pipeline = make_pipeline(stages={"translator": {"retries": 2, "backoff_s": 10}, "merger": {}})
        async with open_world(tmp_path, [pipeline], runner) as world:
            began_s = asyncio.get_running_loop().time()
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert 30 <= asyncio.get_running_loop().time() - began_s < 38
            assert world.states(run_id) == [
                "starting", "running_translator", "retrying", "running_translator", "retrying",
                "running_translator", "running_merger", "success",
            ]  # fmt: skip
            assert (ended.retry_count, ended.stages["translator"].attempt, ended.error) == (2, 3, None)
            retrying = next(d for s, d in world.history(run_id) if s == "retrying")
            assert (retrying["error"], retrying["error_code"]) == ("ValueError: once", "exception")
            assert retrying["stages"]["translator"]["state"] == "retrying"

    simulate(main())


@pytest.mark.parametrize(("script", "code"), [(fail, "exception"), (fail_for_good, "bad_input")])
def test_a_stage_without_retries_left_fails_the_run(tmp_path: Path, script: Any, code: str) -> None:
    """The error is on the stage and on the run; a final failure is not tried again."""

    async def main() -> None:
        retries = 1 if script is fail_for_good else 0
        pipeline = make_pipeline(stages={"translator": {"retries": retries}, "merger": {}})
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"translator": [script]})) as world:
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, ended.status, ended.error_code, ended.current_stage) == ("failed", "error", code, None)
            assert ended.error == ended.stages["translator"].error
            assert ended.stages["merger"].state == "pending"
            again = await world.orchestrator.start()
            assert again.key.id != run_id

    simulate(main())


def test_a_skipped_stage_lets_the_run_go_on(tmp_path: Path) -> None:
    """`Skip` marks the stage and nothing else."""

    async def skip(_: ScriptedAttempt) -> Outcome:
        return Skipped("nothing new")

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner({"analyzer": [skip]})) as world:
            ended = (await world.orchestrator.finished((await world.orchestrator.start()).key.id)).run
            assert (ended.state, ended.stages["analyzer"].state) == ("success", "skipped")

    simulate(main())


@pytest.mark.rule("D7")
def test_facts_become_commits(tmp_path: Path) -> None:
    """Progress, metadata and log lines reach the document or the log; outputs reach later stages."""

    async def work(attempt: ScriptedAttempt) -> Outcome:
        for done in range(3):
            await attempt.report(ProgressMade(Progress(done=done, total=3, unit="files")))
        await attempt.report(MetadataPatched(FrozenJson({"seen": True, "user": None})))
        await attempt.report(LineLogged("info", "hello"))
        return Succeeded(FrozenJson({"files": 3}))

    async def main() -> None:
        runner = ScriptedRunner({"translator": [work]})
        async with open_world(tmp_path, [make_pipeline()], runner) as world:
            run_id = (await world.orchestrator.start(metadata={"user": 7, "keep": 1})).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert ended.metadata == {"keep": 1, "seen": True}
            assert ended.stages["translator"].outputs == {"files": 3}
            assert runner.attempts[1].task.outputs == {"translator": b'{"files":3}'}
            seen = [d["stages"]["translator"]["progress"] for s, d in world.history(run_id)]
            assert [p["done"] for p in seen if p is not None][:3] == [0, 1, 2]
        assert b'"text":"hello"' in next((tmp_path / "logs" / run_id).iterdir()).read_bytes()

    simulate(main())


@pytest.mark.rule("C5")
def test_stop_commits_the_request_at_once_and_the_end_when_the_worker_is_dead(tmp_path: Path) -> None:
    """A worker that ignores the request is killed after its grace period; a second stop changes nothing."""

    async def main() -> None:
        runner = ScriptedRunner({"translator": [hang]})
        pipeline = make_pipeline(stages={"translator": {"grace_s": 7}, "merger": {}})
        async with open_world(tmp_path, [pipeline], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.manager.until(lambda: bool(runner.attempts) and runner.attempts[0].began.is_set())
            asked = await world.orchestrator.stop(run_id, by="me", reason="enough")
            assert asked.run.state == "running_translator"
            assert asked.run.stop_requested is not None and asked.run.stop_requested.reason == "enough"
            assert (await world.orchestrator.stop(run_id)).encoded == asked.encoded
            began_s = asyncio.get_running_loop().time()
            ended = (await world.orchestrator.finished(run_id)).run
            assert runner.attempts[0].over and asyncio.get_running_loop().time() - began_s >= 7
            assert (ended.state, ended.error_code, ended.stages["translator"].state) == (
                "stopped",
                "stopped",
                "stopped",
            )
            with pytest.raises(TransitionRejected):
                await world.orchestrator.stop(run_id)

    simulate(main())


def test_stop_works_at_once_while_a_stage_waits_for_its_retry(tmp_path: Path) -> None:
    """Nothing is alive then, so nothing has to end."""

    async def main() -> None:
        pipeline = make_pipeline(stages={"translator": {"retries": 1, "backoff_s": 100}})
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"translator": [fail]})) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.manager.until(lambda: world.manager.get_state().state == "retrying")
            await world.orchestrator.stop(run_id)
            await world.orchestrator.finished(run_id)
            assert world.states(run_id)[-2:] == ["retrying", "stopped"]
            assert asyncio.get_running_loop().time() < 1

    simulate(main())


def test_an_attempt_that_takes_too_long_is_dead_before_the_next_begins(tmp_path: Path) -> None:
    """The scripted runner refuses to prepare an attempt while another one of its run is alive."""

    async def main() -> None:
        runner = ScriptedRunner({"translator": [hang]})
        stage = {"timeout_s": 5, "grace_s": 2, "retries": 1, "backoff_s": 0}
        async with open_world(tmp_path, [make_pipeline(stages={"translator": stage})], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, len(runner.attempts), runner.attempts[0].killed.is_set()) == ("success", 2, True)
            retrying = next(d for s, d in world.history(run_id) if s == "retrying")
            assert retrying["error_code"] == "timeout"

    simulate(main())


@pytest.mark.rule("D10")
@pytest.mark.parametrize("on_interrupt", ["resume", "fail"])
def test_a_clean_end_leaves_no_run_running(tmp_path: Path, on_interrupt: str) -> None:
    """The stage is interrupted in a commit of its own and goes on at the next start, unless it asked not to."""

    async def main() -> None:
        pipeline = make_pipeline(stages={"translator": {}, "analyzer": {"on_interrupt": on_interrupt}})
        journal = MemoryJournal(epoch=EPOCH)
        runner = ScriptedRunner({"analyzer": [obey]})
        async with open_world(tmp_path, [pipeline], runner, journal) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.manager.until(lambda: world.manager.get_state().current_stage == "analyzer")
        async with open_world(tmp_path, [pipeline], ScriptedRunner(), journal) as world:
            ended = (await world.orchestrator.finished(run_id)).run
            states = world.states(run_id)
        if on_interrupt == "resume":
            assert states[-3:] == ["retrying", "running_analyzer", "success"]
            assert (ended.stages["analyzer"].attempt, ended.stages["translator"].attempt) == (2, 1)
        else:
            assert (states[-1], ended.error_code) == ("failed", "interrupted")

    simulate(main())


@pytest.mark.rule("D9")
def test_a_run_whose_pipeline_is_gone_fails(tmp_path: Path) -> None:
    """It does not stay running that nobody can run."""

    async def main() -> None:
        journal = MemoryJournal(epoch=EPOCH)
        async with open_world(
            tmp_path, [make_pipeline("old")], ScriptedRunner({"translator": [obey]}), journal
        ) as world:
            run_id = (await world.orchestrator.start()).key.id
        async with open_world(tmp_path, [make_pipeline("new")], ScriptedRunner(), journal) as world:
            ended = (await world.manager.find_run(run_id)).run
            assert (ended.state, ended.error_code) == ("failed", "not_startable")
            with pytest.raises(NotFound, match="not served here"):
                await world.orchestrator.start("old")

    simulate(main())


def test_a_stage_that_cannot_be_started_fails_without_retries(tmp_path: Path) -> None:
    """Trying again would not help."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline(stages={"translator": {"retries": 3}})], NeverStarts()) as world:
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, ended.error_code, ended.stages["translator"].attempt) == ("failed", "not_startable", 1)

    simulate(main())


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"stages": ["nope"]}, "no stage nope"),
        ({"stages": []}, "empty"),
        ({"stages": ["merger", "merger"]}, "twice"),
        ({"stages": [1]}, "names of stages"),
        ({"metadata": []}, "metadata is of type list; a JSON object"),
        ({"metadata": {"x": float("nan")}}, r"metadata\.x is nan"),
        ({"metadata": {"x": 2**53}}, r"metadata\.x is an integer beyond"),
        ({"metadata": {"x": "y" * 300_000}}, "bytes, more than"),
    ],
)
def test_a_bad_start_is_one_sentence_and_changes_nothing(
    tmp_path: Path, wanted: dict[str, Any], complaint: str
) -> None:
    """The text names the member."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            before = world.manager.head.position
            with pytest.raises(InvalidValue, match=complaint):
                await world.orchestrator.start(**wanted)
            assert world.manager.head.position == before

    simulate(main())


def test_a_run_of_some_stages_has_only_these(tmp_path: Path) -> None:
    """They run in the pipeline's order, whatever order was asked."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            run_id = (await world.orchestrator.start(stages=["merger", "translator"])).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.stage_order, list(ended.stages)) == (("translator", "merger"), ["translator", "merger"])
            assert world.states(run_id) == ["starting", "running_translator", "running_merger", "success"]

    simulate(main())


@pytest.mark.rule("H10")
@pytest.mark.parametrize("keeps", [False, True])
def test_while_the_journal_refuses_workers_go_on_and_nothing_unwritten_is_shown(tmp_path: Path, keeps: bool) -> None:
    """A stage's result waits; the last progress is not lost; a commit that was durable after all is not repeated."""
    hold: list[asyncio.Event] = []

    async def work(attempt: ScriptedAttempt) -> Outcome:
        hold.append(asyncio.Event())
        await hold[0].wait()
        await attempt.report(ProgressMade(Progress(done=9)))
        return Succeeded(FrozenJson({"rows": 1}))

    async def main() -> None:
        runner = ScriptedRunner({"translator": [work]})
        async with open_world(tmp_path, [make_pipeline(stages={"translator": {}})], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.manager.until(lambda: bool(hold))
            world.journal.begin_outage("disk full", keeps=keeps)
            hold[0].set()
            await world.manager.until(lambda: world.manager.trouble is not None)
            with pytest.raises(StoreUnavailable, match="disk full"):
                await world.orchestrator.stop(run_id)
            shown = world.manager.get_state()
            await asyncio.sleep(60)
            assert world.manager.get_state() == shown and shown.state == "running_translator"
            assert world.manager.source_age_ms() >= 55_000
            world.journal.end_outage()
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, ended.stages["translator"].outputs) == ("success", {"rows": 1})
            progress = ended.stages["translator"].progress
            assert progress is not None and progress.done == 9

    simulate(main())


@pytest.mark.parametrize("keeps", [False, True])
def test_a_start_that_was_refused_but_durable_is_driven_after_the_outage(tmp_path: Path, keeps: bool) -> None:
    """No run is left that nobody runs."""

    async def main() -> None:
        async with open_world(tmp_path, [make_pipeline()], ScriptedRunner()) as world:
            world.journal.begin_outage("disk full", keeps=keeps)
            with pytest.raises(StoreUnavailable):
                await world.orchestrator.start()
            world.journal.end_outage()
            await world.manager.until(lambda: world.manager.trouble is None)
            if keeps:
                await world.manager.until(lambda: world.manager.get_state().state == "success")
            assert (await world.orchestrator.start()).version == 1

    simulate(main())
