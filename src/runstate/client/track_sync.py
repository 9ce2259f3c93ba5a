"""`track_sync`: a run that plain code executes, in threads, in a task of Celery, in a script. The one sync face of the client.

    with track_sync("http://127.0.0.1:8642", "predict", stages=["load", "infer"]) as run:
        with run.stage("load") as stage:
            stage.progress(3, total=10)

Thin over the same facts: a thread of its own speaks with the server, so heartbeats go on while the code computes. Nobody
can interrupt a thread from outside: when somebody wants the run to stop, the next call that says something raises
`Stopped`, and `stopping` can be polled. In a process that embeds a `Runstate`, that is the first argument instead of a URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from runstate.client.api import connect
from runstate.client.reporting import LEASE_S, PATIENCE_S, PROGRESS_INTERVAL_S, Door, Reporting
from runstate.client.track import ReportedRun, TrackedStage
from runstate.core.errors import RunstateError

T = TypeVar("T")


class Embedded(Protocol):
    """A `Runstate` that runs in this process."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def door(self) -> Door: ...


class SyncStage:
    """A stage that is under way; every call may come from any thread."""

    def __init__(self, stage: TrackedStage, reporting: Reporting) -> None:
        self.name = stage.name
        self._stage, self._reporting = stage, reporting

    @property
    def stopping(self) -> bool:
        """Whether somebody wants the run to stop."""
        return self._stage.stopping

    def progress(
        self, done: int | float, total: int | float | None = None, unit: str | None = None, message: str | None = None
    ) -> None:
        """Say how far the stage is; cheap, folded, and the last value is never lost.

        Raises:
            Stopped: Somebody asked the run to stop.
        """
        self._reporting.check()
        self._stage.progress(done, total, unit, message)

    def outputs(self, **outputs: Any) -> None:
        """Declare what the stage made; each name may be said again."""
        self._stage.outputs(**outputs)

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the run's log.

        Raises:
            Stopped: Somebody asked the run to stop.
        """
        self._reporting.check()
        self._stage.log(text, level)


class SyncRun(ReportedRun):
    """A run that this program executes."""

    def __init__(self, reporting: Reporting, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reporting)
        self._loop = loop

    @contextmanager
    def stage(self, name: str) -> Generator[SyncStage]:
        """Execute a stage: leaving the block succeeds it, an exception fails it and the run."""
        _call(self._loop, self._reporting.begin(name))
        stage = TrackedStage(name, self._reporting)
        try:
            yield SyncStage(stage, self._reporting)
        except BaseException as exc:
            _call(self._loop, self._reporting.fail(name, exc))
            raise
        _call(self._loop, self._reporting.succeed(name, stage.declared))

    def update_metadata(self, patch: Mapping[str, Any]) -> None:
        """Change the run's metadata by a merge patch (RFC 7396): None removes a member."""
        _call(self._loop, self._reporting.update_metadata(patch))


@contextmanager
def track_sync(
    server: str | Embedded,
    pipeline: str,
    *,
    stages: Sequence[str],
    metadata: Mapping[str, Any] | None = None,
    token: str | None = None,
    lease_s: float = LEASE_S,
    override: bool = False,
    progress_interval_s: float = PROGRESS_INTERVAL_S,
    patience_s: float = PATIENCE_S,
) -> Generator[SyncRun]:
    """Open a run, report it while the block lasts, and end it with the block.

    Args:
        server: Its URL; or a `Runstate` that runs in another thread of this process.
        token: For a server that asks for one.

    The others are those of `runstate.client.track.track`, and so is what it raises.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(server, str):
            loop, door = stack.enter_context(_connected(server, token))
        else:
            loop, door = server.loop, server.door
        if _running_loop() is loop:
            raise RuntimeError(
                "track_sync would block the event loop that it needs; use `async with rs.track(…)` there"
            )

        async def begin() -> Reporting:
            opened = await door.open_run(
                pipeline, stages=stages, metadata=metadata or {}, lease_s=lease_s, override=override
            )
            return Reporting(door, *opened, lease_s=lease_s, interval_s=progress_interval_s, patience_s=patience_s)

        reporting = _call(loop, begin())
        keeper = asyncio.run_coroutine_threadsafe(reporting.keep(), loop)
        stack.callback(keeper.cancel)
        try:
            yield SyncRun(reporting, loop)
        except BaseException as exc:
            _call(loop, reporting.fail(None, exc))
            raise
        try:
            _call(loop, reporting.finish())
        except RunstateError as refusal:
            _call(loop, reporting.fail(None, refusal))
            raise


def _call(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@contextmanager
def _connected(url: str, token: str | None) -> Generator[tuple[asyncio.AbstractEventLoop, Door]]:
    """Give a loop in a thread of its own, and a client there."""
    ready: Future[tuple[asyncio.AbstractEventLoop, Door]] = Future()
    over = asyncio.Event()

    async def live() -> None:
        async with connect(url, token) as client:
            ready.set_result((asyncio.get_running_loop(), client))
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as exc:  # noqa: BLE001 - it is raised in the thread that waits
            if not ready.done():
                ready.set_exception(exc)

    thread = threading.Thread(target=run, name="runstate-track", daemon=True)
    thread.start()
    loop, client = ready.result()
    try:
        yield loop, client
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
