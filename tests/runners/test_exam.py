"""All runners pass the exam of a StageRunner, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from runstate.pipeline.runners.child import ChildRunner
from runstate.pipeline.runners.task import AsyncTaskRunner
from runstate.testing.runner_exam import ASYNC, CHECKS, PLAIN, SHELL, SHELL_CHECKS, Candidate

RUNNERS = {
    "task": lambda: AsyncTaskRunner([ASYNC], heartbeat_s=0.05),
    "child": lambda: ChildRunner([PLAIN], heartbeat_s=0.05),
}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("runner", RUNNERS)
def test_exam(runner, check, loop, tmp_path):
    """A runner keeps the promise that the check names."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as loop_runner:
        loop_runner.run(check(Candidate(RUNNERS[runner], tmp_path)))


@pytest.mark.parametrize("check", SHELL_CHECKS, ids=lambda check: check.__name__)
def test_exam_of_commands(check, tmp_path):
    """A command keeps the promises that do not need Python in the stage."""
    asyncio.run(check(Candidate(lambda: ChildRunner([SHELL], heartbeat_s=0.05), tmp_path)))
