"""A server for the tests to kill: runs the stage that the arguments name and prints a line when it is under way."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from runstate.pipeline.runners.child import ChildRunner
from tests.runners.running import begun, task
from tests.runners.stages import misfits


async def host(stage: str, workdir: Path) -> None:
    async with ChildRunner([misfits]) as runner, begun(runner, task(workdir, stage)) as attempt:
        told = {"worker": attempt.worker, "fork_server": runner.fork_server_pid}
        print(msgspec.json.encode(told).decode(), flush=True)
        await attempt.wait()


if __name__ == "__main__":
    asyncio.run(host(sys.argv[1], Path(sys.argv[2])))
