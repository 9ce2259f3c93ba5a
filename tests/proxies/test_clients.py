"""Both clients behind proxies that mean well: they find a way by themselves, are never wrong, and come to the end."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack

import pytest

from runstate.client import connect
from runstate.client.clock import MonotonicClock
from tests.acceptance.conftest import working
from tests.client.eye import watching
from tests.client.test_typescript import PACKAGE, VITEST
from tests.proxies.hostile import hostile

PATIENCE_S = 110
SPEED = 4  # of the clients' clocks: the ten seconds in which a swallowed stream is given up are less here
CUTS = 3  # connections that a way must have cut before it is enough
VERSIONS = 30

BUSY = """
work = Pipeline("work", progress_interval_s=0)

@work.stage
async def flood(ctx):
    done = 0
    while True:
        done += 1
        ctx.progress(done, message="x" * 300)
        await asyncio.sleep(0.02)
"""


class FastClock(MonotonicClock):
    """Time at `SPEED`."""

    def now_ms(self) -> int:
        return super().now_ms() * SPEED

    async def sleep_until(self, at_ms: int) -> None:
        await MonotonicClock().sleep_until(-(-at_ms // SPEED))


@pytest.fixture
def server(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench.serve(BUSY)


@pytest.mark.rule("F2", "F6", "F7", "F13", "H2", "H3")
def test_the_python_client_finds_a_way(server):
    """WebSocket, then event stream, then plain answers; cut, cached, compressed or held back, no view is wrong."""

    async def scenario():
        async with AsyncExitStack() as stack, hostile(server.url) as proxies:
            clients = {
                proxy.way: await stack.enter_async_context(connect(proxy.url, clock=FastClock())) for proxy in proxies
            }
            eyes = {way: await stack.enter_async_context(watching(one, "*")) for way, one in clients.items()}
            first, *_, last = clients.values()
            run_id = (await first.start("work")).document.run_id
            for proxy in proxies:
                way = proxy.way
                await eyes[way].until(
                    lambda view, way=way: (
                        view.transport == way.comes_to and run_id in view.runs and view.runs[run_id].version >= VERSIONS
                    )
                )
                if way.cut_after_s:
                    stream = {"websocket": "/api/ws", "sse": "/api/stream"}[way.comes_to]
                    while proxy.asked[stream] <= CUTS:
                        await eyes[way].next()
            await last.stop(run_id, "enough")
            for eye in eyes.values():
                await eye.until(lambda view: view.run and view.run.state == "stopped")
        return run_id, eyes

    run_id, eyes = asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
    there = server.http.get(f"/api/runs/{run_id}").content
    known = {}
    for way, eye in eyes.items():
        eye.check_order()
        for version, encoded in eye.documents().items():
            assert known.setdefault(version, encoded) == encoded, way
        assert eye.views[-1].runs[run_id].encoded == there, way


@pytest.mark.rule("F13")
def test_the_typescript_client_finds_a_way(server, tmp_path):
    """The same, in Node; web/packages/client/test/hostile-proxies.ts is the other half."""
    shown = tmp_path / "shown.json"

    async def scenario():
        async with hostile(server.url) as proxies:
            ways = [{"name": p.way.name, "url": p.url, "comes_to": p.way.comes_to} for p in proxies]
            told = {"RUNSTATE_WAYS": json.dumps(ways), "RUNSTATE_SHOWN": str(shown), "RUNSTATE_SPEED": str(SPEED)}
            node = await asyncio.create_subprocess_exec(
                VITEST, "run", "--config", "vitest.real.config.ts", "hostile-proxies", cwd=PACKAGE,
                env=os.environ | told, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await node.communicate()
            return node.returncode, output.decode()

    code, output = asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))

    assert code == 0, output
    assert "1 passed" in output
    told = json.loads(shown.read_text())
    assert server.http.get(f"/api/runs/{told['run_id']}").text == told["document"]
