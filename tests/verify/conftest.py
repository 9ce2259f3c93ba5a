"""A real server with something going on all the time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from runstate.client import connect
from tests.cli.terminal import PATIENCE_S, Server

PIPELINES = """
import asyncio
from runstate import Pipeline

busy = Pipeline("busy", progress_interval_s=0)

@busy.stage
async def fetch(ctx):
    for done in range(12):
        ctx.progress(done, total=12, unit="files", message=f"f{done}.csv")
        await asyncio.sleep(0.02)
    return {"files": 12}

@busy.stage
async def count(ctx):
    for done in range(12):
        ctx.progress(done, total=12, unit="rows")
        await asyncio.sleep(0.02)

calm = Pipeline("calm")

@calm.stage
async def rest(ctx):
    pass
"""


class Starter(threading.Thread):
    """Starts a run of `busy` whenever the last one is over."""

    def __init__(self, url: str, token: str | None = None) -> None:
        super().__init__(daemon=True)
        self._url, self._token = url, token
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._begun = threading.Event()

    async def _work(self) -> None:
        async with connect(self._url, self._token) as client:
            while True:
                run_id = str((await client.start("busy")).document.run_id)
                self._begun.set()
                async for view in client.watch(f"run:{run_id}"):
                    if view.run is not None and view.run.state in ("success", "failed", "stopped"):
                        break

    def run(self) -> None:
        self._task = self._loop.create_task(self._work())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    def __enter__(self) -> Starter:
        self.start()
        assert self._begun.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(PATIENCE_S)


def served(folder, *options):
    """Return a server of these pipelines."""
    (folder / "pipelines.py").write_text(PIPELINES)
    return Server("pipelines.py", *options, cwd=folder)


@pytest.fixture(scope="module")
def calm_server(tmp_path_factory):
    """A server on which nothing goes on."""
    with served(tmp_path_factory.mktemp("calm")) as server:
        yield server


@pytest.fixture(scope="module")
def busy_server(tmp_path_factory):
    """A server with a run under way at all times."""
    with served(tmp_path_factory.mktemp("busy")) as server, Starter(server.url):
        yield server
