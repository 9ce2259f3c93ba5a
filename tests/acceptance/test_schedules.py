"""Schedules, health and the run policy of a real server: fired, changed over HTTP, kept through kill -9."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import working
from tests.acceptance.judge import get

PIPELINES = """
from runstate import Fatal, Pipeline
work = Pipeline("work", run_policy="gated")
@work.stage
async def fetch(ctx):
    if "code" in ctx.metadata:
        raise Fatal("as asked", code=ctx.metadata["code"])
work.schedule("* * * * * *", tz="America/Chicago", missed="run_once", enabled=False)
"""


@pytest.fixture
def bench(tmp_path, request):
    with working(tmp_path, request) as bench:
        yield bench


def wait_pipeline(http, condition):
    """Follow the pipeline document by long-poll until it fits; return it."""
    answer = get(http, "/api/pipelines/work")
    while not condition(answer.json()):
        headers = {"If-None-Match": answer.headers["etag"], "Prefer": "wait=10"}
        following = http.get("/api/pipelines/work", headers=headers)
        answer = answer if following.status_code == 304 else following
    return answer.json()


def ran(http, run_id):
    answer = get(http, f"/api/runs/{run_id}")
    while answer.json()["ended_at"] is None:
        headers = {"If-None-Match": answer.headers["etag"], "Prefer": "wait=10"}
        answer = http.get(f"/api/runs/{run_id}", headers=headers)
    return answer.json()


@pytest.mark.rule("D8", "C1", "C2", "C3", "C7")
def test_a_schedule_is_set_fires_and_outlives_its_server(bench):
    """PUT answers with the pipeline document; what is refused changes nothing; what was missed is made up for once."""
    server = bench.serve(PIPELINES)
    put = "/api/pipelines/work/schedule"
    before = get(server.http, "/api/pipelines/work")
    for body in (
        {"cron": "61 * * * *"}, {"tz": "Mars/Olympus"}, {"missed": "twice"}, {"overlap": 1}, {"enabled": "yes"}, {"at": "noon"},
        {"cron": None}, {"cron": "0 0 30 2 *"},
    ):  # fmt: skip
        refused = server.http.put(put, json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), body
    assert get(server.http, "/api/pipelines/work").content == before.content
    conditions = {"If-Match": before.headers["etag"], "Idempotency-Key": "on"}
    set_on = server.http.put(put, json={"enabled": True}, headers=conditions)
    assert set_on.status_code == 202 and set_on.json()["schedule"]["next_run_at"] is not None
    assert set_on.json()["schedule"]["tz"] == "America/Chicago"
    wait_pipeline(server.http, lambda owner: owner["schedule"]["last_run_id"] is not None)
    again = server.http.put(put, json={"enabled": True}, headers=conditions)
    assert (again.content, again.headers["etag"]) == (set_on.content, set_on.headers["etag"])
    stale = server.http.put(put, json={"enabled": False}, headers={"If-Match": before.headers["etag"]})
    assert stale.status_code == 412 and stale.json()["document"]["pipeline"] == "work"

    server.kill()
    server.start()
    kept = get(server.http, "/api/pipelines/work").json()["schedule"]
    assert kept["enabled"], "what a person set wins over the definition"
    owner = wait_pipeline(server.http, lambda owner: owner["schedule"]["last_run_id"] != kept["last_run_id"])
    run = ran(server.http, owner["schedule"]["last_run_id"])
    assert (run["trigger"], run["state"]) == ({"kind": "schedule", "by": None}, "success")
    first = server.http.get(f"/api/runs/{run['run_id']}/versions/1").json()
    assert (first["state"], first["status"], first["started_at"]) == ("scheduled", "running", None)


@pytest.mark.rule("C1", "C7", "H9")
def test_a_blocked_pipeline_starts_again_once_it_is_acknowledged(bench):
    """409 `blocked` with the pipeline document that shows the refusal; the reason of the acknowledgement is needed and kept."""
    server = bench.serve(PIPELINES)
    start, acknowledge = "/api/pipelines/work/start", "/api/pipelines/work/acknowledge"
    begun = server.http.post(start, json={"metadata": {"code": "out_of_memory"}}).json()
    assert ran(server.http, begun["run_id"])["error_code"] == "out_of_memory"
    refused = server.http.post(start, json={"override": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "blocked")
    shown = get(server.http, "/api/pipelines/work").json()
    assert refused.json()["document"] == shown
    assert shown["health"]["state"] == "blocked" and len(shown["health"]["reasons"]) == 2
    for body in ({}, {"reason": ""}, {"reason": 7}, {"reason": "x", "by": "me"}):
        assert server.http.post(acknowledge, json=body).status_code == 422
    cleared = server.http.post(acknowledge, json={"reason": "more memory"})
    assert (cleared.status_code, cleared.json()["health"]["state"]) == (202, "healthy")
    assert "more memory" in cleared.json()["health"]["reasons"][0]
    assert server.http.post(start, json={}).status_code == 202
