"""What the tests of processes share: an attempt of a stage of `stages.py`, and a FIFO that shows who is alive."""

from __future__ import annotations

import asyncio
import os
import re
import select
from contextlib import asynccontextmanager
from pathlib import Path

from runstate.core import canonical
from runstate.core.facts import ProgressMade
from runstate.pipeline.runners.child import ChildRunner
from runstate.ports import StageTask
from runstate.testing.runner_exam import Heard
from tests.runners.stages import misfits

LIMIT_S = 20.0


def task(
    workdir: Path, stage: str, *, interval_s: float = 0.0, pipeline: str = "misfits", **metadata: object
) -> StageTask:
    """Return the first attempt of a stage."""
    return StageTask("r1", pipeline, stage, 1, canonical.encode(metadata), {}, workdir, interval_s)


async def run(runner, task: StageTask):
    """Run a stage to its end; return its outcome and what was heard."""
    heard = Heard()
    attempt = await runner.prepare(task, heard.report)
    attempt.go()
    return await attempt.wait(), heard


def run_once(task: StageTask):
    """Run a stage of `misfits` in a runner of its own."""

    async def once():
        async with asyncio.timeout(LIMIT_S), ChildRunner([misfits]) as runner:
            return await run(runner, task)

    return asyncio.run(once())


@asynccontextmanager
async def begun(runner, task: StageTask):
    """Give an attempt whose stage has said that it is under way."""
    heard = Heard()
    attempt = await runner.prepare(task, heard.report)
    attempt.go()
    await heard.until(lambda fact: isinstance(fact, ProgressMade))
    yield attempt


class Alive:
    """The reading end of the FIFO that stages hold open."""

    def __init__(self, workdir: Path) -> None:
        os.mkfifo(workdir / "alive")
        self._fd = os.open(workdir / "alive", os.O_RDONLY | os.O_NONBLOCK)

    def is_anybody(self) -> bool:
        """Return whether a process that opened it lives now; only once one has."""
        return not select.select([self._fd], [], [], 0)[0]

    def wait_until_dead(self, limit_s: float = LIMIT_S) -> bool:
        """Return True as soon as all who opened it are dead."""
        return bool(select.select([self._fd], [], [], limit_s)[0]) and os.read(self._fd, 1) == b""


def peak_kib(pid):
    """Return the most memory that a living process has held at once: getrusage tells only of whichever child had most."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0
