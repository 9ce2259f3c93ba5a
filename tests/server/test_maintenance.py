"""Thinning history while the server runs: floors are announced, and every reader is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from runstate import Pipeline, Runstate
from runstate.core.position import Position
from runstate.core.reader import Topics
from runstate.state.bus import Wanted


def make_pipeline() -> Pipeline:
    pipeline = Pipeline("work", progress_interval_s=0)

    @pipeline.stage
    async def fetch(ctx):
        for done in range(200):
            ctx.progress(done, total=200)

    return pipeline


@pytest.mark.rule("H5", "H6", "F6")
def test_history_is_thinned_beside_the_traffic_and_says_where_it_begins(tmp_path: Path) -> None:
    """What went is 410, what stays is the same bytes, and a reader of every version is told by a snapshot."""

    async def main() -> None:
        app = Runstate([make_pipeline()], tmp_path / "data")
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            run = await app.orchestrator.start()
            over = await app.orchestrator.finished(run.key.id)
            base = f"/api/runs/{run.key.id}"
            late = (await client.get(f"{base}/versions/{over.version - 4}")).content
            answer = await client.post("/api/journal/compact", json={"keep_versions": 5})
            assert (answer.status_code, answer.json()["versions"] > 150) == (200, True)
            history = (await client.get(f"{base}/history")).json()
            assert (history["floor"], history["head"]) == (over.version - 4, over.version)
            assert [commit["version"] for commit in history["commits"]] == list(
                range(over.version - 4, over.version + 1)
            )
            gone = await client.get(f"{base}/versions/3")
            assert (gone.status_code, gone.json()["code"]) == (410, "compacted")
            assert (await client.get(f"{base}/versions/{over.version - 4}")).content == late
        again = Runstate([make_pipeline()], tmp_path / "data")  # what a server remembers of late commits ends with it
        async with again.lifespan():
            wanted = Wanted(Topics(), resume=Position(over.position.epoch, 2), mode="every")
            with again.manager.bus.subscribe(again.manager, wanted) as subscription:
                frames = [json.loads((await anext(subscription)).data) for _ in range(2)]
            assert [frame["type"] for frame in frames] == ["hello", "snapshot"]
            assert frames[1]["reason"] == "compacted"

    asyncio.run(main())


def test_bad_wishes_about_history_are_refused(tmp_path: Path) -> None:
    """Each is a 422."""

    async def main() -> None:
        app = Runstate([make_pipeline()], tmp_path / "data")
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for body in ({}, {"keep_versions": 0}, {"keep_days": -1}, {"keep_versions": True}, {"keep_versions": "5"}):
                answer = await client.post("/api/journal/compact", json=body)
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), body

    asyncio.run(main())
