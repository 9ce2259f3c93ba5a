"""Time, as a port: tests bring their own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time that never goes back."""

    def now_ms(self) -> int:
        """Return the time in milliseconds since some moment."""

    async def sleep_until(self, at_ms: int) -> None:
        """Return once it is `at_ms`."""


class MonotonicClock:
    """The system's monotonic clock."""

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep_until(self, at_ms: int) -> None:
        await asyncio.sleep(max(0, at_ms - self.now_ms()) / 1000)  # a little early does no harm: the link sees the time
