"""What is particular about stages in the server's loop."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from runstate import Pipeline
from runstate.core.errors import InvalidValue
from runstate.core.facts import Failed, HeartbeatHeard, ProgressMade, Succeeded
from runstate.pipeline.runners.task import AsyncTaskRunner
from runstate.testing.runner_exam import Heard
from runstate.testing.virtual_time import run as run_in_virtual_time
from tests.runners.running import LIMIT_S, begun, run, task

tasks = Pipeline("tasks")


@tasks.stage
async def hurries(ctx):
    began = time.perf_counter()
    for done in range(200_000):
        ctx.progress(done, total=200_000, unit="rows", message="going on")
    return {"calls_per_s": 200_000 / (time.perf_counter() - began)}


@tasks.stage
async def ticks(ctx):
    """Say something every 10 ms for a second."""
    for done in range(100):
        ctx.progress(done)
        await asyncio.sleep(0.01)


@tasks.stage
async def is_silent(ctx):
    await asyncio.sleep(35)


@tasks.stage
async def cancels_itself(ctx):
    raise asyncio.CancelledError


@tasks.stage
async def logs(ctx):
    logging.getLogger("somebody").error("first")
    async with asyncio.TaskGroup() as group:
        group.create_task(log_later())


async def log_later():
    logging.getLogger("somebody").error("from a task of its own")


@tasks.stage
async def returns_too_many(ctx):
    return {"rows": [[1] * 1000] * 100_000}


@tasks.stage
async def hangs(ctx):
    ctx.progress(1)
    await asyncio.Event().wait()


def play(workdir, stage, **options):
    async def once():
        async with asyncio.timeout(LIMIT_S * 10), AsyncTaskRunner([tasks]) as runner:
            return await run(runner, task(workdir, stage, pipeline="tasks", **options))

    return once()


def test_progress_is_cheap(tmp_path):
    """100 000 calls a second, of which the last is reported."""
    outcome, heard = asyncio.run(play(tmp_path, "hurries", interval_s=0.1))

    assert outcome.outputs["calls_per_s"] > 100_000
    assert heard.counts()[-1] == 199_999


def test_progress_is_folded_by_the_interval(tmp_path):
    """A second of progress every 10 ms with interval 0.1: some ten facts, the first at once, the last before the end."""
    _, heard = run_in_virtual_time(play(tmp_path, "ticks", interval_s=0.1))

    assert 9 <= len(heard.counts()) <= 12
    assert heard.counts()[0] == 0
    assert heard.counts()[-1] == 99


def test_a_silent_stage_is_heard_every_ten_seconds(tmp_path):
    _, heard = run_in_virtual_time(play(tmp_path, "is_silent"))

    assert heard.facts == [HeartbeatHeard()] * 3


def test_a_stage_that_cancels_itself_has_failed(tmp_path):
    """Nobody asked it to stop."""
    outcome, _ = asyncio.run(play(tmp_path, "cancels_itself"))

    assert outcome == Failed("CancelledError: ", code="exception")


def test_a_huge_value_does_not_hold_up_the_loop(tmp_path):
    """It is refused after a look at no more than a document holds."""
    began = time.perf_counter()
    outcome, _ = asyncio.run(play(tmp_path, "returns_too_many"))

    assert outcome.code == "bad_output"
    assert time.perf_counter() - began < 1


def test_logging_of_a_stage_and_its_tasks_is_the_runs(tmp_path, capsys):
    """Records of nobody's stage are left to the server."""
    outcome, heard = asyncio.run(play(tmp_path, "logs"))

    assert isinstance(outcome, Succeeded)
    assert heard.lines() == [("error", "first"), ("error", "from a task of its own")]


def test_the_loggers_are_as_they_were(tmp_path):
    before = list(logging.root.handlers)
    asyncio.run(play(tmp_path, "logs"))

    assert logging.root.handlers == before


def test_waiting_may_be_given_up(tmp_path):
    """Cancelling `wait` leaves the stage alone."""

    async def give_up():
        async with asyncio.timeout(LIMIT_S), AsyncTaskRunner([tasks]) as runner:
            async with begun(runner, task(tmp_path, "hangs", pipeline="tasks")) as attempt:
                waiting = asyncio.ensure_future(attempt.wait())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                attempt.stop()
                return await attempt.wait()

    assert asyncio.run(give_up()).code == "stopped"


def test_a_refused_fact_does_not_disturb_other_attempts(tmp_path):
    async def play_two():
        async def refuse(_):
            raise InvalidValue("no")

        async with asyncio.timeout(LIMIT_S), AsyncTaskRunner([tasks]) as runner:
            refused = await runner.prepare(task(tmp_path, "hangs", pipeline="tasks"), refuse)
            heard = Heard()
            other = await runner.prepare(task(tmp_path, "ticks", pipeline="tasks"), heard.report)
            refused.go()
            other.go()
            with pytest.raises(InvalidValue):
                await refused.wait()
            return await other.wait(), heard

    outcome, heard = asyncio.run(play_two())

    assert isinstance(outcome, Succeeded)
    assert sum(isinstance(fact, ProgressMade) for fact in heard.facts) == 100
