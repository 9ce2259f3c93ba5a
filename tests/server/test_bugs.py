"""A bug of runstate's own is a 500 in the form of every refusal, tells no secrets, and leaves the server at work."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from runstate import Pipeline
from runstate.engine import open_engine
from runstate.journal.memory import MemoryJournal
from runstate.server.access import Policy
from runstate.server.app import make_api


class Broken(MemoryJournal):
    """A journal with a bug where histories are read."""

    def history(self, key, *, after, limit):
        raise ZeroDivisionError("the secret of the journal")


@pytest.mark.rule("H9")
def test_a_bug_is_a_problem_like_any_other(tmp_path) -> None:
    """`internal`, with the kind of the mistake and not its words."""
    work = Pipeline("work")

    @work.stage
    async def fetch(ctx):
        return {}

    def open_journal(data, *, clock):
        return Broken.open(epoch="1-00000000")

    async def main() -> None:
        async with open_engine([work], tmp_path, open_journal=open_journal) as engine:
            run = await engine.orchestrator.start()
            transport = httpx.ASGITransport(make_api(engine, Policy()), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                answer = await client.get(f"/api/runs/{run.key.id}/history")
                assert answer.status_code == 500
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["cache-control"] == "no-store"
                assert answer.json()["code"] == "internal"
                assert "ZeroDivisionError" in answer.json()["detail"] and "secret" not in answer.text
                assert (await client.get(f"/api/runs/{run.key.id}")).status_code == 200

    asyncio.run(main())
