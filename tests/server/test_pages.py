"""Pages of history and of lists: how many come unasked, and how many at most (H6, H7)."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from runstate import Pipeline, Runstate

PAGE = 100


@pytest.mark.rule("H6", "H7")
def test_a_page_is_a_hundred_and_a_thousand_at_most(tmp_path):
    """Unasked a hundred come, of history the oldest and of runs the newest; following them leaves nothing out."""
    work = Pipeline("work", progress_interval_s=0)

    @work.stage
    async def fetch(ctx):
        for number in range(ctx.metadata.get("steps", 0)):
            ctx.progress(number + 1)
            await asyncio.sleep(0)

    async def main() -> None:
        app = Runstate([work], tmp_path)
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            ids = []
            for number in range(PAGE + 2):
                run = await app.orchestrator.start(metadata={"steps": 300 if number == 0 else 0})
                await app.orchestrator.finished(run.key.id)
                ids.append(run.key.id)

            url = f"/api/runs/{ids[0]}/history"
            first = (await http.get(url)).json()
            assert first["head"] > PAGE, "the run has more versions than a page"
            assert [entry["version"] for entry in first["commits"]] == list(range(1, PAGE + 1))
            whole = (await http.get(url, params={"limit": 1000})).json()["commits"]
            assert [entry["version"] for entry in whole] == list(range(1, first["head"] + 1))
            second = (await http.get(url, params={"after": PAGE})).json()["commits"]
            assert first["commits"] + second == whole[: 2 * PAGE]

            page = (await http.get("/api/runs")).json()
            assert [run["run_id"] for run in page["runs"]] == ids[:1:-1]
            rest = (await http.get("/api/runs", params={"before": page["next"]})).json()
            assert [run["run_id"] for run in rest["runs"]] == ids[1::-1] and rest["next"] is None
            assert len((await http.get("/api/runs", params={"limit": 1000})).json()["runs"]) == len(ids)

            for path in (url, "/api/runs"):
                for limit in ("1001", "0", "-1", "1.5", ""):
                    answer = await http.get(path, params={"limit": limit})
                    assert (answer.status_code, answer.json()["code"]) == (400, "bad_query"), (path, limit)

    asyncio.run(main())
