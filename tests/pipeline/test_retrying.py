"""Which failures are tried again, when, and how long a run may take in all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate import Pipeline
from runstate.core.facts import Failed, Outcome
from runstate.journal.memory import MemoryJournal
from runstate.pipeline.decide import chance_of, pause_s
from runstate.pipeline.options import kind_of
from runstate.pipeline.runners.outcome import outcome_of_exception
from runstate.pipeline.stage import Stage
from runstate.testing import virtual_time
from runstate.testing.scripted_runner import ScriptedAttempt, ScriptedRunner, hang, obey
from tests.pipeline.world import EPOCH, make_pipeline, open_world


class Offline(ConnectionError):
    """An exception of a user's own."""


def stage_of(**options: Any) -> Stage:
    return make_pipeline(stages={"load": options}).stages[0]


def fail_with(failed: Outcome) -> Any:
    async def script(_: ScriptedAttempt) -> Outcome:
        return failed

    return script


@given(failures=st.integers(1, 100), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_doubles_and_is_bounded(failures: int, chance: float) -> None:
    """At least the doubled base, at most a quarter more, and never more than the bound."""
    stage = stage_of(retries=9, backoff_s=0.5, backoff_max_s=60)
    doubled = min(0.5 * 2.0 ** (failures - 1), 60)

    assert doubled <= pause_s(stage, failures, chance) <= min(doubled * 1.25, 60)


def test_chance_differs_between_attempts_and_not_between_restarts() -> None:
    chances = {chance_of(f"run/load/{attempt}") for attempt in range(100)}

    assert len(chances) == 100
    assert all(0 <= chance < 1 for chance in chances)
    assert chance_of("run/load/1") == chance_of("run/load/1")


OFFLINE = outcome_of_exception(Offline("no network"))


@pytest.mark.parametrize(
    ("retry_on", "failed", "attempts"),
    [
        (None, OFFLINE, 2),
        ([Offline], OFFLINE, 2),
        ([ConnectionError], OFFLINE, 2),
        (OSError, OFFLINE, 2),
        ([ValueError, "timeout"], OFFLINE, 1),
        (["exception"], OFFLINE, 2),
        ("exit_status", Failed("ExitStatus: 3", "exit_status"), 2),
        (["killed"], Failed("ExitStatus: 3", "exit_status"), 1),
        (["exception"], Failed("Fatal: no", "exception", final=True), 1),
    ],
)
def test_only_what_retry_on_names_is_tried_again(tmp_path: Path, retry_on: Any, failed: Outcome, attempts: int) -> None:
    """By code, by class or by a base class; what is final never is."""

    async def main() -> None:
        runner = ScriptedRunner({"load": [fail_with(failed)]})
        pipeline = make_pipeline(stages={"load": {"retries": 1, "backoff_s": 0, "retry_on": retry_on}})
        async with open_world(tmp_path, [pipeline], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert len(runner.attempts) == attempts
            assert ended.state == ("success" if attempts == 2 else "failed")

    virtual_time.run(main())


def test_a_class_of_a_script_has_one_name_in_every_process() -> None:
    """What is `__main__` in the server is `__runstate_main__` in a worker."""
    here = type("Odd", (Exception,), {"__module__": "__main__"})
    there = type("Odd", (Exception,), {"__module__": "__runstate_main__"})

    assert kind_of(here) == kind_of(there) == "__runstate_main__.Odd"


def test_a_timeout_of_a_stage_may_be_named_by_its_type(tmp_path: Path) -> None:
    async def main() -> None:
        runner = ScriptedRunner({"load": [hang]})
        stage = {"retries": 1, "backoff_s": 0, "retry_on": TimeoutError, "timeout_s": 5, "grace_s": 0}
        async with open_world(tmp_path, [make_pipeline(stages={"load": stage})], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            assert (await world.orchestrator.finished(run_id)).run.state == "success"

    virtual_time.run(main())


@pytest.mark.rule("D9")
def test_a_run_that_takes_too_long_fails_once_its_attempt_is_dead(tmp_path: Path) -> None:
    """It is not tried again, and a `retry` command gives it its whole time once more."""

    async def main() -> None:
        now_s = asyncio.get_running_loop().time
        runner = ScriptedRunner({"load": [hang, hang]})
        pipeline = make_pipeline(
            stages={"load": {"retries": 5, "timeout_s": 100, "grace_s": 2}, "save": {}}, timeout_s=60
        )
        async with open_world(tmp_path, [pipeline], runner) as world:
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, ended.error_code) == ("failed", "timeout")
            assert ended.error == ended.stages["load"].error == "TimeoutError: the run took longer than 60 s"
            assert (runner.attempts[0].killed.is_set(), len(runner.attempts)) == (True, 1)
            assert 62 <= now_s() < 63

            await world.orchestrator.retry(run_id)
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, ended.error_code, ended.stages["load"].attempt) == ("failed", "timeout", 2)
            assert 124 <= now_s() < 126

            await world.orchestrator.retry(run_id)
            assert (await world.orchestrator.finished(run_id)).run.state == "success"

    virtual_time.run(main())


def test_a_stage_that_takes_too_long_is_tried_again_within_the_run_s_time(tmp_path: Path) -> None:
    """The pause before a retry is cut short by the end of the run's time."""

    async def main() -> None:
        pipeline = make_pipeline(
            stages={"load": {"retries": 5, "timeout_s": 10, "grace_s": 0, "backoff_s": 200}}, timeout_s=60
        )
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"load": [hang]})) as world:
            run_id = (await world.orchestrator.start()).key.id
            ended = (await world.orchestrator.finished(run_id)).run
            assert world.states(run_id) == ["starting", "running_load", "retrying", "failed"]
            assert (ended.error, ended.error_code) == ("TimeoutError: the run took longer than 60 s", "timeout")
            assert 60 <= asyncio.get_running_loop().time() < 61

    virtual_time.run(main())


def test_the_run_s_time_goes_on_over_stages_and_restarts(tmp_path: Path) -> None:
    """Also when it was retried before: the time counts from there."""

    async def main() -> None:
        now_s = asyncio.get_running_loop().time
        journal = MemoryJournal(epoch=EPOCH)
        pipeline = make_pipeline(stages={"load": {}, "save": {}}, timeout_s=60)
        runner = ScriptedRunner({"load": [fail_with(OFFLINE)], "save": [obey]})
        async with open_world(tmp_path, [pipeline], runner, journal) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.orchestrator.finished(run_id)
            await asyncio.sleep(1000)
            await world.orchestrator.retry(run_id)
            await world.manager.until(lambda: world.manager.get_state().current_stage == "save")
        await asyncio.sleep(40)
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"save": [obey]}), journal) as world:
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.state, ended.error_code, ended.stages["load"].state) == ("failed", "timeout", "success")
            assert 1060 <= now_s() < 1062

    virtual_time.run(main())


def test_a_run_whose_time_is_over_at_the_start_does_not_begin_a_stage(tmp_path: Path) -> None:
    async def main() -> None:
        journal = MemoryJournal(epoch=EPOCH)
        pipeline = make_pipeline(stages={"load": {}}, timeout_s=60)
        async with open_world(tmp_path, [pipeline], ScriptedRunner({"load": [obey]}), journal) as world:
            run_id = (await world.orchestrator.start()).key.id
            await world.manager.until(lambda: world.manager.get_state().current_stage == "load")
        await asyncio.sleep(100)
        runner = ScriptedRunner()
        async with open_world(tmp_path, [pipeline], runner, journal) as world:
            ended = (await world.orchestrator.finished(run_id)).run
            assert (ended.error_code, runner.attempts) == ("timeout", [])

    virtual_time.run(main())


def test_a_pipeline_has_a_time_limit_or_none() -> None:
    assert Pipeline("demo").timeout_s is None
    assert Pipeline("demo", timeout_s=60).timeout_s == 60
