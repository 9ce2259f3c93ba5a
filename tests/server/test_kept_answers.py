"""Answers that an Idempotency-Key keeps have an end: 48 h after they were given, in memory and in the journal (C3)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from runstate import Pipeline
from runstate.engine import open_engine
from runstate.server.access import Policy
from runstate.server.app import make_api

HOUR_MS = 3600 * 1000
SCHEDULE = "/api/pipelines/work/schedule"


class SetClock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.ms = 1_795_000_000_000

    def now_ms(self) -> int:
        return self.ms


def make_pipeline() -> Pipeline:
    work = Pipeline("work")

    @work.stage
    async def fetch(ctx):
        return {}

    return work


@asynccontextmanager
async def serving(data, clock):
    """Yield a server on `data` whose keys age by `clock`, and a client of it."""
    async with open_engine([make_pipeline()], data) as engine:
        transport = httpx.ASGITransport(make_api(replace(engine, clock=clock), Policy()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield engine, client


async def put(client, key: str, cron: str) -> httpx.Response:
    return await client.put(SCHEDULE, json={"cron": cron}, headers={"Idempotency-Key": key})


@pytest.mark.rule("C3")
def test_answers_are_kept_for_48_hours_and_no_longer(tmp_path) -> None:
    """Through restarts: at 47 h the first answer comes again, at 49 h the key is free and nothing of it is left."""
    clock = SetClock()

    async def main() -> None:
        async with serving(tmp_path, clock) as (engine, client):
            first = await put(client, "first", "0 1 * * *")
            assert first.status_code == 202
            clock.ms += 24 * HOUR_MS
            for number in range(20):
                assert (await put(client, f"second {number}", "0 2 * * *")).status_code == 202
            clock.ms += 23 * HOUR_MS
            assert (await put(client, "first", "0 1 * * *")).content == first.content
            assert (await put(client, "first", "0 9 * * *")).status_code == 422
            assert len(engine.manager.answers) == 21
        async with serving(tmp_path, clock) as (engine, client):
            assert (await put(client, "first", "0 1 * * *")).headers["etag"] == first.headers["etag"]
            clock.ms += 2 * HOUR_MS
            again = await put(client, "first", "0 3 * * *")
            assert again.status_code == 202 and again.headers["etag"] != first.headers["etag"]
            assert len(engine.manager.answers) == 21
            clock.ms += 24 * HOUR_MS
            assert (await put(client, "third", "0 4 * * *")).status_code == 202
            assert len(engine.manager.answers) == 2
        async with serving(tmp_path, clock) as (engine, client):
            assert len(engine.manager.answers) == 2, "the journal keeps what memory has let go"
            assert (await put(client, "first", "0 3 * * *")).content == again.content

    asyncio.run(main())
