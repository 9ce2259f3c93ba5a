"""Commands on a run that is over and that only the journal has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from runstate import Pipeline, Runstate


@pytest.mark.rule("C2", "C6")
def test_a_stale_position_is_told_before_that_the_run_is_over(tmp_path: Path) -> None:
    """Stopping a run that is over is 409; with a stale If-Match it is 412 with the run."""
    work = Pipeline("work")

    @work.stage
    async def fetch(ctx):
        pass

    async def main() -> None:
        app = Runstate([work], tmp_path / "data")
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            runs = [(await app.orchestrator.start()).key.id]
            left = await app.orchestrator.finished(runs[0])
            await app.orchestrator.finished((await app.orchestrator.start()).key.id)
            assert app.manager.head.run(runs[0]) is None

            stale = {"If-Match": f'"{left.position.epoch}.1"'}
            moved = await client.post(f"/api/runs/{runs[0]}/stop", json={}, headers=stale)
            over = await client.post(f"/api/runs/{runs[0]}/stop", json={}, headers={"If-Match": f'"{left.position}"'})

            assert (moved.status_code, moved.json()["code"]) == (412, "conflict")
            assert moved.json()["document"] == left.run.to_dict()
            assert (over.status_code, over.json()["code"]) == (409, "not_allowed")

    asyncio.run(main())
