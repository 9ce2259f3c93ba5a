"""Runstate inside somebody else's application: mounted below a path, with and without the host's lifespan."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from runstate import Pipeline, Runstate
from runstate.core.errors import DefinitionError, NotFound, RunstateError


def make_pipeline(name: str = "market") -> Pipeline:
    pipeline = Pipeline(name, progress_interval_s=0)

    @pipeline.stage
    async def fetch(ctx):
        ctx.progress(1, total=2)
        return {"n": 1}

    return pipeline


@asynccontextmanager
async def client_of(app):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


@asynccontextmanager
async def hosted(tmp_path, *pipelines):
    """A host application that passes our lifespan on, as API.md shows."""
    app = Runstate(pipelines or [make_pipeline()], data=tmp_path / "data")
    host = Starlette(routes=[Mount("/runstate", app)], lifespan=app.lifespan)
    async with host.router.lifespan_context(host), client_of(host) as http:
        yield app, http


def test_a_mounted_app_serves_below_its_path(tmp_path):
    """Below a host's path everything works: reads, commands, problems, and the dashboard without absolute links."""

    async def scenario():
        async with hosted(tmp_path) as (app, http):
            started = await http.post("/runstate/api/pipeline/start", json={})
            assert started.status_code == 202
            over = await app.orchestrator.finished(started.json()["run_id"])
            answer = await http.get("/runstate/api/pipeline/status")
            assert answer.content == over.encoded
            missing = await http.get("/runstate/api/nothing")
            assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
            assert (await http.get("/runstate/ready")).status_code == 200
            page = await http.get("/runstate/")
            assert page.status_code == 200
            assert not [word for word in ('="/', "='/", "url(/") if word in page.text], (
                "an absolute path in the dashboard"
            )

    asyncio.run(scenario())


def test_state_is_a_plain_call_and_frozen(tmp_path):
    """`app.manager.get_state` is the same document as the poll's, and nobody can change it."""

    async def scenario():
        async with hosted(tmp_path, make_pipeline("market"), make_pipeline("other")) as (app, http):
            idle = app.manager.get_state("market")
            assert (idle.state, idle.run_id, idle.version) == ("idle", None, 0)
            assert idle.to_dict() == (await http.get("/runstate/api/pipeline/status")).json()
            document = await app.orchestrator.start("market", metadata={"a": [1, {"b": None}]})
            await app.orchestrator.finished(document.key.id)
            state = app.manager.get_state()
            fresh = state.to_dict()
            fresh["state"] = fresh["metadata"]["a"][1]["b"] = "spoilt"
            for spoil in (
                lambda: setattr(state, "state", "idle"),
                lambda: state.metadata.update(x=1),
                lambda: state.metadata["a"].append(2),
                lambda: state.metadata["a"][1].update(b=2),
                lambda: state.stages.update(fetch=None),
                lambda: setattr(state.stages["fetch"], "attempt", 9),
            ):
                with pytest.raises((AttributeError, TypeError)):
                    spoil()
            answer = await http.get("/runstate/api/pipelines/market/status")
            assert state.to_dict() == answer.json() == await app.orchestrator.get_status("market")
            assert await app.manager.get_canonical_state_dict("market") == answer.json()
            assert json.loads(answer.content)["state"] == "success"
            with pytest.raises(NotFound):
                app.manager.get_state("nobody")
            assert (await app.orchestrator.get_status("other"))["run_id"] is None

    asyncio.run(scenario())


def test_without_the_hosts_lifespan_the_first_requests_start_it(tmp_path):
    """Ten first requests at once open the directory once, and all are answered."""

    async def scenario():
        app = Runstate([make_pipeline()], data=tmp_path / "data")
        async with client_of(Starlette(routes=[Mount("/runstate", app)])) as http, asyncio.TaskGroup() as group:
            asked = [group.create_task(http.get("/runstate/api/pipeline/status")) for _ in range(10)]
        try:
            assert [task.result().status_code for task in asked] == [200] * 10
        finally:
            await app._stack.aclose()

    asyncio.run(scenario())


def test_outside_its_lifespan_it_says_so(tmp_path):
    """Asking for the manager before the start, or after the end, is one clear sentence; it can be entered again."""

    async def scenario():
        app = Runstate([make_pipeline()], data=tmp_path / "data")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="lifespan"):
                assert app.manager
            async with app.lifespan():
                assert app.manager.get_state().state == "idle"

    asyncio.run(scenario())


def test_two_apps_on_one_directory_are_refused(tmp_path):
    """A second app of the same process on the same directory is refused like a second process."""

    async def scenario():
        first, second = (Runstate([make_pipeline()], data=tmp_path / "data") for _ in range(2))
        async with first.lifespan():
            with pytest.raises(RunstateError, match="in use"):
                async with second.lifespan():
                    pass
            assert first.manager.get_state().state == "idle"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "served", [[Pipeline("empty")], [make_pipeline(), make_pipeline()]], ids=["no stage", "one name twice"]
)
def test_mistakes_in_what_is_served_are_told(tmp_path, served):
    """A pipeline without a stage, and two pipelines of one name, are refused before anything is served."""

    async def scenario():
        async with Runstate(served, data=tmp_path / "data").lifespan():
            pass

    with pytest.raises(DefinitionError):
        asyncio.run(scenario())


@pytest.mark.rule("H1", "H2", "C1")
def test_starts_inside_and_outside_are_one(tmp_path):
    """What the host starts by a call, HTTP shows; a stage's failure never leaves the stage."""
    pipeline = Pipeline("market")

    @pipeline.stage
    async def fail(ctx):
        raise RuntimeError("only the stage's")

    async def scenario():
        async with hosted(tmp_path, pipeline) as (app, http):
            document = await app.orchestrator.start(by="host")
            over = await app.orchestrator.finished(document.key.id)
            answer = await http.get(f"/runstate/api/runs/{document.key.id}")
            assert answer.content == over.encoded and answer.headers["etag"] == f'"{over.position}"'
            assert (over.run.state, over.run.error, over.run.trigger.by) == (
                "failed",
                "RuntimeError: only the stage's",
                "host",
            )
            with pytest.raises(RunstateError):
                await app.orchestrator.stop(document.key.id)
            with pytest.raises(RunstateError):
                await app.orchestrator.start(metadata={"n": float("nan")})
            with pytest.raises(RunstateError):
                await app.orchestrator.start(stages=["nobody"])

    asyncio.run(scenario())
