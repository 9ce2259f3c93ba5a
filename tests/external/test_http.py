"""C8 over HTTP: statuses, headers, problems and scopes; the real server's routes without its sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from runstate import Pipeline, Runstate
from runstate.server.access import Token

LOAD = {"fact": "stage_started", "stage": "load"}


def make_pipeline() -> Pipeline:
    pipeline = Pipeline("ours")

    @pipeline.stage
    async def fetch(ctx):
        return {}

    return pipeline


@asynccontextmanager
async def serving(tmp_path, **options):
    app = Runstate([make_pipeline()], data=tmp_path / "data", **options)
    transport = httpx.ASGITransport(app=app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield app, http


async def open_run(http, name="predict", headers=None, **body):
    answer = await http.post(f"/api/pipelines/{name}/runs", json={"stages": ["load"]} | body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["run_id"], {"Runstate-Token": answer.headers["runstate-token"]}, answer


@pytest.mark.rule("C1", "C8", "H1")
def test_a_run_from_opening_to_success(tmp_path):
    """201, then 200s with the stored bytes; every reader sees the same."""

    async def scenario():
        async with serving(tmp_path) as (_, http):
            run_id, token, opened = await open_run(http, metadata={"user": 7}, lease_s=5)
            assert opened.headers["etag"] == f'"{opened.headers["runstate-position"]}"'
            assert opened.content == (await http.get(f"/api/runs/{run_id}")).content
            facts = [LOAD, {"fact": "log", "text": "hello"}]
            first = await http.post(f"/api/runs/{run_id}/facts", json={"seq": 1, "facts": facts}, headers=token)
            assert (first.status_code, first.json()["state"]) == (200, "running_load")
            assert first.content == (await http.get("/api/pipelines/predict/status")).content
            done = {"seq": 2, "facts": [{"fact": "stage_succeeded", "stage": "load", "outputs": {"rows": 1.5}}]}
            last = await http.post(f"/api/runs/{run_id}/facts", json=done, headers=token)
            assert last.json()["state"] == "success"
            for body, then in (({"seq": 1, "facts": facts}, first), (done, last)):
                again = await http.post(f"/api/runs/{run_id}/facts", json=body, headers=token)
                assert (again.status_code, again.content, again.headers["etag"]) == (
                    200, then.content, then.headers["etag"],
                )  # fmt: skip
            lines = (await http.get(f"/api/runs/{run_id}/logs")).json()["lines"]
            assert [line["text"] for line in lines] in ([], ["hello"])  # written beside the commit

    asyncio.run(scenario())


@pytest.mark.rule("C8", "H11")
def test_a_reporter_cannot_name_a_file_of_the_servers(tmp_path):
    """Outputs are data: what an executor elsewhere declares is read nowhere on this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("ours")

    async def scenario():
        async with serving(tmp_path) as (_, http):
            run_id, token, _ = await open_run(http)
            work = tmp_path / "data" / "work" / run_id
            work.mkdir(parents=True)
            (work / "near.txt").write_text("ours, too")
            outputs = {"file": str(secret), "up": "../../../secret.txt", "near": "near.txt"}
            facts = [LOAD, {"fact": "stage_succeeded", "stage": "load", "outputs": outputs}]
            done = await http.post(f"/api/runs/{run_id}/facts", json={"seq": 1, "facts": facts}, headers=token)
            assert done.json()["stages"]["load"]["outputs"] == outputs
            for path in (str(secret)[1:], "..%2F..%2F..%2Fsecret.txt", "near.txt"):
                answer = await http.get(f"/api/runs/{run_id}/files/{path}")
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
                assert "elsewhere" in answer.json()["detail"]

    asyncio.run(scenario())


@pytest.mark.rule("C3", "C8")
def test_opening_again_with_the_same_key_returns_the_same_run_and_token(tmp_path):
    """Also from the next server on the same directory."""

    async def scenario():
        key = {"Idempotency-Key": "k1"}
        async with serving(tmp_path) as (_, http):
            run_id, token, first = await open_run(http, headers=key)
            again = await open_run(http, headers=key)
            assert again[:2] == (run_id, token)
            assert again[2].content == first.content
        async with serving(tmp_path) as (_, http):
            assert (await open_run(http, headers=key))[:2] == (run_id, token)
            facts = {"seq": 1, "facts": [LOAD]}
            assert (await http.post(f"/api/runs/{run_id}/facts", json=facts, headers=token)).status_code == 200

    asyncio.run(scenario())


@pytest.mark.rule("C4", "C7", "C8", "H9")
def test_what_is_refused_says_why_and_changes_nothing(tmp_path):
    async def scenario():
        async with serving(tmp_path) as (_, http):
            run_id, token, opened = await open_run(http)
            second = await http.post("/api/pipelines/predict/runs", json={"stages": ["load"]})
            assert (second.status_code, second.json()["code"]) == (409, "already_running")
            assert second.json()["document"]["run_id"] == run_id
            facts = f"/api/runs/{run_id}/facts"
            good = {"seq": 1, "facts": [LOAD]}
            for path, body, headers, status, code in (
                ("/api/pipelines/new/runs", {}, None, 422, "invalid"),
                ("/api/pipelines/new/runs", {"stages": "load"}, None, 422, "invalid"),
                ("/api/pipelines/new/runs", {"stages": ["load"], "lease": 3}, None, 422, "invalid"),
                ("/api/pipelines/new/runs", {"stages": ["load"], "lease_s": -1}, None, 422, "invalid"),
                ("/api/pipelines/new/runs", {"stages": ["load"], "override": 1}, None, 422, "invalid"),
                ("/api/pipelines/Bad/runs", {"stages": ["load"]}, None, 422, "invalid"),
                ("/api/pipelines/new/runs", {"stages": ["load"]}, {"If-Match": '"1-00000000.1"'}, 412, "conflict"),
                (facts, good, None, 409, "not_allowed"),
                (facts, good, {"Runstate-Token": "guess"}, 409, "not_allowed"),
                (facts, {"seq": 2, "facts": [LOAD]}, token, 409, "not_allowed"),
                (facts, {"seq": 1, "facts": [LOAD, LOAD, {"fact": "progress", "stage": "x", "done": 1}]}, token, 422, "invalid"),
                (facts, {"seq": 1, "facts": [{"fact": "stage_succeeded", "stage": "load"}]}, token, 409, "not_allowed"),
                (facts, {"seq": 1, "facts": []}, token, 422, "invalid"),
                (facts, {"seq": True, "facts": [LOAD]}, token, 422, "invalid"),
                (facts, {"seq": -1, "facts": [LOAD]}, token, 422, "invalid"),
                (facts, {"facts": [LOAD]}, token, 422, "invalid"),
                (facts, {"seq": 1}, token, 422, "invalid"),
                ("/api/runs/nobody/facts", good, token, 404, "not_found"),
                (f"/api/runs/{run_id}/retry", {}, None, 409, "not_allowed"),
            ):  # fmt: skip
                answer = await http.post(path, json=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (status, code), (path, body, answer.text)
            names = [p["pipeline"] for p in (await http.get("/api/pipelines")).json()["pipelines"]]
            assert sorted(names) == ["ours", "predict"]
            assert (await http.get(f"/api/runs/{run_id}")).content == opened.content

    asyncio.run(scenario())


@pytest.mark.rule("C8")
def test_who_may_only_read_can_neither_open_nor_report(tmp_path):
    tokens = [Token("reader", "r" * 16, "read"), Token("worker", "w" * 16)]

    async def scenario():
        async with serving(tmp_path, tokens=tokens) as (_, http):
            read, control = ({"Authorization": f"Bearer {letter * 16}"} for letter in "rw")
            body = {"stages": ["load"]}
            assert (await http.post("/api/pipelines/predict/runs", json=body)).status_code == 401
            assert (await http.post("/api/pipelines/predict/runs", json=body, headers=read)).status_code == 403
            run_id, token, opened = await open_run(http, headers=control)
            assert opened.json()["trigger"] == {"kind": "external", "by": "worker"}
            facts = {"seq": 1, "facts": [LOAD]}
            path = f"/api/runs/{run_id}/facts"
            assert (await http.post(path, json=facts, headers=token | read)).status_code == 403
            assert (await http.post(path, json=facts, headers=token | control)).status_code == 200

    asyncio.run(scenario())
