"""What the Python peers share: a message on demand (`benchmarks/harness/server.py` has the protocol)."""

import asyncio
import sys
import time


async def demanded():
    """Yield each message when it is due, as text of the size that was asked for."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        count, interval_us, size = map(int, line.split()[1:])
        begun = loop.time()
        for number in range(count):
            await asyncio.sleep(begun + number * interval_us / 1e6 - loop.time())
            yield "x" * (size - 30) + f"stamp={time.monotonic_ns():020}"
