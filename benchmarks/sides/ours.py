"""Our side: a stage that commits its progress when its server's standard input says so (`benchmarks/harness/server.py`)."""

from __future__ import annotations

import asyncio
import sys
import time

from runstate import Pipeline, StageContext

fan = Pipeline("fan", progress_interval_s=0)
idle = Pipeline("idle")


@fan.stage
async def driver(ctx: StageContext) -> None:
    """Commit on demand until the server ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        count, interval_us, size = map(int, line.split()[1:])
        begun = loop.time()
        for number in range(count):
            await asyncio.sleep(begun + number * interval_us / 1e6 - loop.time())
            ctx.progress(number, message=f"{'x' * size}stamp={time.monotonic_ns():020}")


@fan.stage
async def second(ctx: StageContext) -> None:
    """Never come here."""


@fan.stage
async def third(ctx: StageContext) -> None:
    """Never come here."""


@idle.stage
async def nothing(ctx: StageContext) -> None:
    """Do nothing."""
