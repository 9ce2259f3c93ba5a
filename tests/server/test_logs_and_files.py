"""What a run logged and what it made, over HTTP: by offsets, live, and only what was declared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from runstate import Pipeline, Runstate
from runstate.core.sse import SseDecoder

gates: dict[str, asyncio.Event] = {}


def make_pipeline() -> Pipeline:
    pipeline = Pipeline("work", progress_interval_s=0)

    @pipeline.stage
    async def fetch(ctx):
        ctx.log("one")
        ctx.log("two\u2028still two", level="warning")
        await gates[ctx.run_id].wait()
        ctx.log("three")
        (ctx.workdir / "report.html").write_text("<script>alert(1)</script>")
        (ctx.workdir / "secret.txt").write_text("not declared")
        outside = ctx.workdir.parent / "outside.txt"
        outside.write_text("declared by its absolute path")
        return {"report": "report.html", "more": [{"path": str(outside)}], "gone": "gone.txt"}

    return pipeline


@asynccontextmanager
async def serving(tmp_path) -> AsyncIterator[tuple[Runstate, httpx.AsyncClient]]:
    app = Runstate([make_pipeline()], tmp_path / "data")
    transport = httpx.ASGITransport(app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield app, client


async def start(client: httpx.AsyncClient) -> str:
    run_id = (await client.post("/api/pipeline/start")).json()["run_id"]
    gates[run_id] = asyncio.Event()
    return run_id


def events_of(body: bytes) -> list[tuple[str | None, dict]]:
    _, events = SseDecoder().feed(body)
    return [(event.id, json.loads(event.data)) for event in events]


@pytest.mark.rule("H8")
def test_a_log_is_read_by_offsets_and_followed_to_the_end_of_the_run(tmp_path):
    """Pages meet without a gap, whatever their size; following gives the same lines."""

    async def main() -> None:
        async with serving(tmp_path) as (app, client), asyncio.TaskGroup() as group:
            run_id = await start(client)
            follow = group.create_task(client.get(f"/api/runs/{run_id}/logs?follow=1"))
            gates[run_id].set()
            await app.orchestrator.finished(run_id)
            followed = events_of((await follow).content)

            whole = (await client.get(f"/api/runs/{run_id}/logs")).json()
            assert [line["text"] for line in whole["lines"]] == ["one", "two\u2028still two", "three"]
            assert [line["level"] for line in whole["lines"]] == ["info", "warning", "info"]
            assert {(line["stage"], line["attempt"]) for line in whole["lines"]} == {("fetch", 1)}
            assert [value for _, value in followed if "offset" in value] == whole["lines"]

            after, pieces = 0, []
            while True:
                page = (await client.get(f"/api/runs/{run_id}/logs?after={after}&limit=1")).json()
                pieces += page["lines"]
                if not page["lines"]:
                    break
                assert page["next"] == page["lines"][-1]["offset"] > after
                after = page["next"]
            assert pieces == whole["lines"] and after == whole["next"]

    asyncio.run(main())


@pytest.mark.rule("H8")
def test_a_flood_stays_in_its_bounds_and_a_late_follower_sees_what_is_missing(tmp_path):
    """Page by page and followed, the same gap stands before the same lines; the last lines are had at once."""
    flood = Pipeline("flood")

    @flood.stage
    async def quiet(ctx):
        ctx.log("once")

    @flood.stage
    async def loud(ctx):
        for number in range(5000):
            ctx.log(f"{number} " + "x" * 100)
            await asyncio.sleep(0)

    async def main() -> None:
        app = Runstate([flood], tmp_path / "data", max_log_bytes=256 * 1024)
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            run_id = (await client.post("/api/pipeline/start")).json()["run_id"]
            await app.orchestrator.finished(run_id)
            url = f"/api/runs/{run_id}/logs"
            events = events_of((await client.get(f"{url}?follow=1&stage=loud")).content)
            assert events.pop()[1] == {"lines": [], "over": True}
            gap, *followed = [line for _, line in events]
            assert gap["gap"] == {"first": 1, "last": followed[0]["offset"] - 1}
            assert followed[-1]["text"].startswith("4999 ") and 500 < len(followed) < 2500
            assert [name for name, _ in events] == [str(line["offset"]) for line in (gap, *followed)]

            page = (await client.get(f"{url}?limit=10000")).json()
            assert page["first"] == followed[0]["offset"] and page["lines"][1:] == followed
            assert (await client.get(f"{url}?tail=3&stage=loud")).json()["lines"] == followed[-3:]
            assert [line["gap"]["first"] for line in (await client.get(f"{url}?stage=quiet")).json()["lines"]] == [1]
            again = {"Last-Event-ID": str(followed[-2]["offset"])}
            (late, _) = events_of((await client.get(f"{url}?follow=1", headers=again)).content)
            assert late[1] == followed[-1]
            assert len(events_of((await client.get(f"{url}?follow=1&limit=5")).content)) == 5

    asyncio.run(main())


@pytest.mark.rule("H8")
def test_bad_questions_about_a_log(tmp_path):
    """Each is a clear 4xx."""

    async def main() -> None:
        async with serving(tmp_path) as (_, client):
            run_id = await start(client)
            gates[run_id].set()
            for query in (
                "after=-1",
                "after=x",
                "limit=0",
                "limit=10001",
                "follow=2",
                "color=red",
                "stage=nope",
                "tail=0",
                "tail=5&after=1",
            ):
                answer = await client.get(f"/api/runs/{run_id}/logs?{query}")
                assert (answer.status_code, answer.json()["code"]) == (400, "bad_query"), query
            assert (await client.get("/api/runs/none/logs")).status_code == 404

    asyncio.run(main())


@pytest.mark.rule("H11")
def test_only_files_that_a_finished_stage_declared_can_be_read(tmp_path):
    """They come sandboxed and without sniffing; everything else is 404."""

    async def main() -> None:
        async with serving(tmp_path) as (app, client):
            run_id = await start(client)
            base = f"/api/runs/{run_id}/files"
            assert (await client.get(f"{base}/report.html")).status_code == 404
            gates[run_id].set()
            over = await app.orchestrator.finished(run_id)
            report = await client.get(f"{base}/report.html")
            assert (report.status_code, report.text) == (200, "<script>alert(1)</script>")
            assert report.headers["x-content-type-options"] == "nosniff"
            assert report.headers["content-security-policy"] == "sandbox"
            outside = over.run.to_dict()["stages"]["fetch"]["outputs"]["more"][0]["path"]
            assert (await client.get(base + outside)).text == "declared by its absolute path"
            for path in ("secret.txt", "gone.txt", "../outside.txt", "%2e%2e/outside.txt", ""):
                assert (await client.get(f"{base}/{path}")).status_code in (404, 405), path

    asyncio.run(main())
