"""The examples of embedding do what they say, from the host's routes and from ours below its mount."""

from __future__ import annotations

import asyncio
import importlib
import json

import httpx
import pytest


@pytest.mark.parametrize(
    ("module", "host_name", "app_name"),
    [("examples.embed_starlette", "app", "runstate"), ("examples.embed_fastapi", "host", "app")],
)
def test_a_host_application_and_its_runstate_show_one_state(tmp_path, monkeypatch, module, host_name, app_name):
    """A run that the host starts is read below the mount, byte for byte as the host's own plain call says."""
    monkeypatch.chdir(tmp_path)  # the examples keep their data in the folder they are started in
    example = importlib.reload(importlib.import_module(module))
    host, runstate = getattr(example, host_name), getattr(example, app_name)

    async def main() -> None:
        transport = httpx.ASGITransport(host)
        async with runstate.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            run_id = (await client.post("/start")).json()["run_id"]
            over = await runstate.orchestrator.finished(run_id)
            answer = await client.get("/runstate/api/pipeline/status")
            assert answer.content == over.encoded == runstate.manager.get_state("nightly").encoded()
            assert json.loads(answer.content)["state"] == "success"
            assert (await client.get("/runstate/api/pipelines/nightly/status")).content == answer.content
            assert (await client.get("/runstate/api/nothing")).json()["code"] == "not_found"
            assert (await client.get("/runstate/health")).status_code == 200
            assert "success" in (await client.get("/")).text

    asyncio.run(main())
