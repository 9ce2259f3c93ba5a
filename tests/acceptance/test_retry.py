"""`POST /api/runs/{id}/retry`: a person sends a run that failed or was stopped on its way again; nothing else can be."""

from __future__ import annotations

import pytest

from tests.acceptance.judge import get, history_of, judge_history, judge_run

PIPELINES = """
work = Pipeline("work", progress_interval_s=0)
work.stage(name="fetch", retries=1, backoff_s=0)(puppet.task)
work.stage(name="crunch", retries=1, backoff_s=0, grace_s=0.3)(puppet.plain)
work.stage(name="report")(puppet.task)

other = Pipeline("other", progress_interval_s=0)
other.stage(name="fetch")(puppet.task)
"""


def retry(server, run_id: str, status: int = 202, code: str | None = None, **headers: str) -> dict:
    answer = server.http.post(f"/api/runs/{run_id}/retry", headers=headers)
    assert answer.status_code == status, answer.text
    if status != 202:
        assert answer.headers["content-type"] == "application/problem+json" and answer.json()["code"] == code
        return answer.json()
    assert answer.headers["etag"] == f'"{answer.headers["runstate-position"]}"'
    shown = server.http.get(f"/api/runs/{run_id}?min={answer.headers['runstate-position']}").json()
    assert shown["version"] >= answer.json()["version"]  # C1
    return judge_run(answer.content)


def failed(server, bench, *, stage: str = "fetch", pipeline: str = "work") -> str:
    """Return a run that failed in `stage`, with all its retries used."""
    run_id = server.start_run(pipeline)["run_id"]
    if stage == "crunch":
        bench.puppets.next("fetch", run_id=run_id).returns("{'rows': 3}")
    for attempt in range(1, 3 if pipeline == "work" else 2):
        bench.puppets.next(stage, attempt=attempt, run_id=run_id).raises("ValueError('no')")
    assert server.wait_over(run_id)["state"] == "failed"
    return run_id


def refused_everywhere(server, run_id: str, state: str) -> None:
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    problem = retry(server, run_id, 409, "not_allowed")
    assert state in problem["detail"] and "retrying" in problem["detail"], "the error names both states (D2)"
    assert get(server.http, "/api/pipelines").headers["runstate-position"] == head


@pytest.mark.rule("D2", "D4", "C1", "C6")
def test_a_failed_run_goes_on_from_the_stage_that_failed(bench):
    """What is done stays done with its outputs; attempts count on; the stage has all its retries again; the end clears the error."""
    server = bench.serve(PIPELINES)
    run_id = failed(server, bench, stage="crunch")
    before = server.run(run_id)
    watch = server.ws(f"?topics=run:{run_id}&mode=every")
    watch.wait_type("snapshot")
    document = retry(server, run_id)
    assert (document["state"], document["status"], document["current_stage"]) == ("retrying", "running", "crunch")
    assert document["version"] == before["version"] + 1 and document["ended_at"] is None
    assert document["error"] == before["error"] and document["error_code"] == "exception"
    assert document["stages"]["crunch"]["state"] == "retrying" and document["stages"]["crunch"]["attempt"] == 2
    assert document["stages"]["fetch"] == before["stages"]["fetch"]
    bench.puppets.next("crunch", attempt=3, run_id=run_id).raises("ValueError('again')")
    bench.puppets.next("crunch", attempt=4, run_id=run_id).returns("{'ok': 1}")
    bench.puppets.next("report", attempt=1, run_id=run_id).returns()
    over = watch.wait_document(lambda document: document["state"] == "success")
    assert over["error"] is None and over["error_code"] is None and over["retry_count"] == 3
    assert over["stages"]["fetch"]["outputs"] == {"rows": 3} and over["run_id"] == before["run_id"]
    assert over["started_at"] == before["started_at"] and over["stages"]["crunch"]["attempt"] == 4
    states = [frame.value["changes"][0]["data"]["new_state"] for frame in watch.frames if frame.value.get("changes")]
    assert states[:3] == ["failed", "retrying", "running_crunch"]
    cause = next(c for c in history_of(server.http, run_id) if c["version"] == document["version"])["cause"]
    assert "retr" in cause["event"]
    refused_everywhere(server, run_id, "success")


@pytest.mark.rule("C5", "D2", "D10")
def test_a_stopped_run_goes_on_and_nobody_remembers_the_stop(bench):
    """`retry` clears `stop_requested`; the run can be stopped and retried again, as often as one likes."""
    server = bench.serve(PIPELINES)
    run_id = server.start_run("work")["run_id"]
    for attempt in range(1, 4):
        bench.puppets.next("fetch", attempt=attempt, run_id=run_id)
        server.wait_state(run_id, "running_fetch")
        assert server.stop_run(run_id, reason=f"stop {attempt}").status_code == 202
        stopped = server.wait_state(run_id, "stopped")
        assert stopped["stop_requested"]["reason"] == f"stop {attempt}" and stopped["error_code"] == "stopped"
        document = retry(server, run_id)
        assert document["stop_requested"] is None and document["state"] == "retrying"
    held = bench.puppets.next("fetch", attempt=4, run_id=run_id)
    server.stop_run(run_id)
    held.wait_dead()
    server.wait_state(run_id, "stopped")


@pytest.mark.rule("C6", "D2")
@pytest.mark.parametrize("stage", ["fetch", "crunch"])
def test_a_run_that_is_under_way_is_not_retried(bench, stage):
    """Running, about to stop, or a success: 409 `not_allowed` with both states in the text; nothing changes, the stage goes on."""
    server = bench.serve(PIPELINES)
    run_id = server.start_run("work", stages=[stage])["run_id"]
    held = bench.puppets.next(stage, run_id=run_id)
    server.wait_state(run_id, f"running_{stage}")
    refused_everywhere(server, run_id, f"running_{stage}")
    assert held.is_alive()
    held.returns()
    assert server.wait_over(run_id)["state"] == "success"
    refused_everywhere(server, run_id, "success")
    assert bench.puppets.nobody()
    retry(server, "nobody", 404, "not_found")
    answer = server.http.post(f"/api/runs/{run_id}/retry", json={"reason": "x"})
    assert answer.status_code == 422, "unknown members are refused (C7)"


@pytest.mark.rule("C4", "D8")
def test_an_old_run_is_retried_and_is_current_again(bench):
    """A failed run that was left for another one: 409 with the active run while there is one, then it becomes the current run."""
    server = bench.serve(PIPELINES)
    old = failed(server, bench, pipeline="other")
    new = server.start_run("other")["run_id"]
    held = bench.puppets.next("fetch", run_id=new)
    server.wait_state(new, "running_fetch")
    problem = retry(server, old, 409, "already_running")
    assert problem["document"]["run_id"] == new
    held.returns()
    server.wait_over(new)
    watch = server.ws("?topics=pipeline:other")
    watch.wait_type("snapshot")
    assert retry(server, old)["run_id"] == old
    bench.puppets.next("fetch", attempt=2, run_id=old).returns()
    watch.wait_document(lambda document: document.get("run_id") == old and document["state"] == "success")
    assert get(server.http, "/api/pipelines/other").json()["current_run_id"] == old
    assert get(server.http, "/api/pipelines/other/status").json()["run_id"] == old
    # D8: the pipeline's step and the run's travelled in one transition.
    first = next(f for f in watch.frames if any(c.get("run_id") == old for c in f.value.get("changes", ())))
    assert {change["kind"] for change in first.value["changes"]} == {"run", "pipeline"}
    assert server.http.post("/api/pipelines/other/start", json={}).status_code == 202
    bench.puppets.next("fetch").returns()
    server.wait_over(get(server.http, "/api/pipelines/other/status").json()["run_id"])


@pytest.mark.rule("C6", "D4")
def test_a_retry_after_a_restart(bench):
    """The failure happened under another server; attempts count on, retries are granted in full, `kill -9` in between too."""
    server = bench.serve(PIPELINES)
    run_id = failed(server, bench)
    server.kill()
    server.restart()
    assert retry(server, run_id)["stages"]["fetch"]["attempt"] == 2
    held = bench.puppets.next("fetch", attempt=3, run_id=run_id)
    held.do("ctx.progress(1)")
    server.kill()
    server.restart()
    bench.puppets.next("fetch", attempt=4, run_id=run_id).raises("ValueError('x')")
    bench.puppets.next("fetch", attempt=5, run_id=run_id).returns()
    bench.puppets.next("crunch", attempt=1, run_id=run_id).returns()
    bench.puppets.next("report", attempt=1, run_id=run_id).returns()
    over = server.wait_over(run_id)
    assert over["state"] == "success" and over["retry_count"] == 4
    judge_history(server.http, run_id)
