"""asyncio on virtual time: an hour of timeouts runs in milliseconds, in the same order on every machine.

When nothing is ready the clock jumps to the next timer. For worlds in memory only: a thread or a real socket under way
looks like idleness here (what `asyncio.to_thread` is given is done at once, and takes no time), and waiting for nothing at
all is reported as the deadlock that it is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_MS = 1_790_000_000_000  # wall time at which every virtual world begins


class Deadlock(AssertionError):
    """Every task waits, and no timer is set."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("every task waits and no timer is set")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps; it is also the `Clock` port."""

    def __init__(self) -> None:
        self._selector_of_time = _JumpingSelector()
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        """Return virtual seconds since the loop began."""
        return self._selector_of_time.now_s

    def run_in_executor(self, _: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Call `func` here and now: a thread would look like idleness, and the clock would jump past it."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as exc:
            done.set_exception(exc)
        return done

    def now_ms(self) -> int:
        """Return virtual wall time in milliseconds since the Unix epoch."""
        return START_MS + round(self.time() * 1000)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on virtual time to its end and return what it returns.

    Raises:
        Deadlock: It would wait for ever.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def virtual_loop() -> VirtualTimeLoop:
    """Return the running loop of a coroutine under `run`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "this runs under testing.virtual_time.run only"
    return loop
