"""The examples of embedding under a real uvicorn: every transport below the mount, the client library, and a clean end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from runstate import Pipeline, Runstate
from runstate.client import connect
from runstate.server.access import Token
from tests.acceptance.harness import Lines
from tests.acceptance.judge import judge_answer
from tests.acceptance.watching import SseWatch, WsWatch

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


class Uvicorn:
    """One uvicorn process of a host application, as its users start it."""

    def __init__(self, target: str, folder: Path) -> None:
        command = [sys.executable, "-m", "uvicorn", target, "--port", "0", "--timeout-graceful-shutdown", "1"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.err = Lines(self.process.stderr)
        ready = self.err.wait_for("running on")
        assert ready is not None, self.err.lines
        found = re.search(r"http://[0-9.:]+", ready)
        assert found is not None, ready
        self.url = found[0]

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)


async def run_by_client(url: str) -> dict:
    """Start a run with the client library, wait for its end, and return its document."""
    async with connect(url) as client:
        receipt = await client.start("nightly", metadata={"from": "afar"})
        async for view in client.watch("pipeline:nightly"):
            if view.has_reached(receipt.position) and view.run is not None and view.run.state == "success":
                return view.run.to_dict()
    raise AssertionError("the watch ended")


@pytest.mark.rule("H1", "F1", "F4", "D10")
@pytest.mark.parametrize("target", ["examples.embed_starlette:app", "examples.embed_fastapi:host"])
def test_everything_works_below_a_mount(tmp_path, target) -> None:
    """Poll, SSE, WebSocket and the client show one state; the host ends at SIGTERM although readers are attached."""
    with Uvicorn(target, tmp_path) as server:
        below = server.url + "/runstate"
        sse = SseWatch(below + "/api/stream")
        ws = WsWatch(below.replace("http", "ws") + "/api/ws?delta=1")
        for watch in (sse, ws):
            watch.wait_type("snapshot")
        run = asyncio.run(run_by_client(below))
        assert run["metadata"] == {"from": "afar"}
        with httpx.Client(base_url=below, timeout=PATIENCE_S, trust_env=False) as http:
            answer = http.get("/api/pipeline/status")
            assert judge_answer(answer) == run
            assert http.get("/api/nothing").json()["code"] == "not_found"
            assert http.post("/api/pipeline/start", headers={"Origin": "https://evil.example"}).status_code == 403
        assert sse.wait_document(lambda document: document.get("state") == "success") == run
        ws.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) is not None
        for watch in (sse, ws):
            watch.wait_end()
            watch.close()
        server.err.wait_for("an end that never comes")
        assert any("Application shutdown complete" in line for line in server.err.lines), server.err.lines
    with Uvicorn(target, tmp_path) as server:
        again = httpx.get(server.url + "/runstate/api/pipeline/status", timeout=PATIENCE_S, trust_env=False)
        assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])


def test_tokens_guard_what_is_mounted(tmp_path) -> None:
    """The guard knows its routes below any mount, also below one that is called as the API is."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    work = Pipeline("work")

    @work.stage
    async def fetch(ctx):
        return {}

    async def main(mount: str) -> None:
        tokens = [Token("reader", "secret-of-reader", "read")]
        app = Runstate([work], data=tmp_path / mount.strip("/").replace("/", "_"), tokens=tokens)
        host = Starlette(routes=[Mount(mount, app)], lifespan=app.lifespan)
        transport = httpx.ASGITransport(host)
        async with (
            host.router.lifespan_context(host),
            httpx.AsyncClient(transport=transport, base_url=f"http://localhost{mount}") as http,
        ):
            bearer = {"Authorization": "Bearer secret-of-reader"}
            for path in ("/api/pipelines", "/api/pipeline/status", "/api/stream", "/api/openapi.json", "/api/nothing"):
                assert (await http.get(path)).status_code == 401, path
            assert (await http.get("/api/pipelines", headers=bearer)).status_code == 200
            refused = await http.post("/api/pipeline/start", headers=bearer)
            assert (refused.status_code, json.loads(refused.content)["code"]) == (403, "forbidden")
            assert (await http.get("/health")).status_code == 200

    for mount in ("/runstate", "/api", "/a/b"):
        asyncio.run(main(mount))


@pytest.mark.rule("H3", "F8", "D10")
def test_a_host_that_ends_tells_its_readers(tmp_path) -> None:
    """`engine.begin_to_end()`: `bye drain` on streams, 503 to waiting polls, commands refused, and the stage is interrupted."""
    work = Pipeline("work")

    @work.stage
    async def fetch(ctx):
        await asyncio.Event().wait()

    async def main() -> None:
        app = Runstate([work], data=tmp_path)
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=PATIENCE_S)
        async with app.lifespan(), http:
            run_id = (await http.post("/api/pipeline/start")).json()["run_id"]
            await app.manager.until(lambda: app.manager.get_state().state == "running_fetch")
            tag = (await http.get("/api/pipelines/work")).headers["etag"]
            with app.manager.bus.subscribe(app.manager) as subscription:
                parked = asyncio.create_task(http.get("/api/pipelines/work?wait=60", headers={"If-None-Match": tag}))
                await asyncio.sleep(0)  # whether it is parked by then or not, it is sent away
                app.engine.begin_to_end()
                frames = [json.loads(frame.data) async for frame in until_closed(subscription)]
            assert frames[-1]["type"] == "bye" and frames[-1]["code"] == "drain"
            assert (await parked).status_code == 503
            assert (await http.post("/api/pipeline/start")).status_code == 503
        again = Runstate([work], data=tmp_path)
        async with again.lifespan():
            causes = again.manager.journal.history(again.manager.head.run(run_id).key, after=0, limit=99)
            assert "retrying" in [entry.new_state for entry in causes.entries], "a clean end is committed (D10)"

    asyncio.run(main())


async def until_closed(subscription):
    async for frame in subscription:
        yield frame
        if frame.close is not None:
            return
