"""SIGTERM is a clean end: streams are told, runs are interrupted, and the next start goes on (D10)."""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_stream

STUBBORN = """
work = Pipeline("work", progress_interval_s=0)
work.stage(name="crunch", grace_s=0.5)(puppet.plain)

deaf = Pipeline("deaf", progress_interval_s=0)

@deaf.stage(grace_s=0.2)
async def listen(ctx):
    (ctx.workdir / "begun").touch()
    ctx.progress(1)
    for _ in range(5):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
    return {}
"""


@pytest.mark.rule("D10", "F8")
@pytest.mark.parametrize("stage", ["fetch", "crunch"])
def test_sigterm_is_a_clean_end(bench, stage):
    """Streams get `bye drain` and the sockets 1012; `retrying` is committed before the exit; the next start goes on."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=[stage])["run_id"]
    held = bench.puppets.next(stage)
    sockets, streams = (
        [server.ws(), server.ws(f"?topics=run:{run_id}")],
        [server.sse(), server.sse("?topics=pipeline:work")],
    )
    for watch in (*sockets, *streams):
        watch.wait_type("snapshot")
    server.terminate()
    held.wait_dead()
    for watch in (*sockets, *streams):
        watch.wait_end()
        bye = watch.frames[-1].value
        assert (bye["type"], bye["code"]) == ("bye", "drain")
        assert bye["retry_ms"] >= 0
        judge_stream(watch.frames, sse=watch in streams)
        before = watch.frames[-2].value
        assert bye["resume"] == before.get("to", before.get("position")), "resume is what has been delivered"
    for watch in sockets:
        assert watch.close_code == 1012
    for watch in streams:
        assert watch.frames[-1].retry == str(watch.frames[-1].value["retry_ms"]) and watch.frames[-1].id is None
        assert watch.problems == []

    server.restart()
    second = bench.puppets.next(stage, attempt=2)
    states = [c["new_state"] for c in get(server.http, f"/api/runs/{run_id}/history").json()["commits"]]
    assert "retrying" in states
    second.returns()
    assert server.wait_over(run_id)["state"] == "success"


@pytest.mark.rule("D10")
def test_sigterm_commits_before_the_exit_not_after_the_start(bench):
    """The commit that interrupts the run stands in the store when the old server has gone."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["crunch"])["run_id"]
    bench.puppets.next("crunch")
    server.terminate()
    bench.write(TWO_STAGES.replace("work", "other"))  # the next server has no business with the run but to end it
    server.restart()
    server.wait_over(run_id)
    causes = [c["cause"]["event"] for c in get(server.http, f"/api/runs/{run_id}/history").json()["commits"]]
    states = [c["new_state"] for c in get(server.http, f"/api/runs/{run_id}/history").json()["commits"]]
    assert states[-2:] == ["retrying", "failed"], causes


@pytest.mark.rule("D10")
def test_clean_ends_are_not_counted_against_a_stage(bench):
    """Three restarts of the server by SIGTERM do not end a run, as three crashes do."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["crunch"])["run_id"]
    for attempt in range(1, 4):
        bench.puppets.next("crunch", attempt=attempt)
        server.terminate()
        server.restart()
    bench.puppets.next("crunch", attempt=4).returns()
    assert server.wait_over(run_id)["retry_count"] == 3


@pytest.mark.rule("D10", "C5")
def test_stages_that_do_not_listen_do_not_hold_the_server(bench):
    """A worker that ignores SIGTERM and a task that swallows its cancellation are ended; the server exits with 0."""
    server = bench.serve(STUBBORN)
    plain = server.start_run("work")["run_id"]
    held = bench.puppets.next("crunch")
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    task = server.start_run("deaf")["run_id"]
    server.wait_run(task, lambda document: document["stages"]["listen"]["progress"] is not None)
    server.terminate()
    held.wait_dead()
    server.restart()
    assert server.run(task)["status"] == server.run(plain)["status"] == "running"
    bench.puppets.next("crunch", attempt=2).returns()
    assert server.wait_over(plain)["state"] == "success"


@pytest.mark.rule("D10", "C5")
def test_a_stop_and_a_sigterm_at_once_leave_a_stopped_run(bench):
    """A run that was asked to stop when the server is asked to end is `stopped`, at the latest after the next start."""
    server = bench.serve(STUBBORN)
    run_id = server.start_run("work")["run_id"]
    held = bench.puppets.next("crunch")
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    assert server.stop_run(run_id).status_code == 202
    server.terminate()
    server.restart()
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"]) == ("stopped", "stopped")
    assert bench.puppets.nobody()


def test_a_second_signal_ends_at_once(bench):
    """Whoever presses Ctrl-C twice does not wait for a grace period of ten minutes; the run goes on all the same."""
    server = bench.serve(STUBBORN.replace("grace_s=0.5", "grace_s=600"))
    run_id = server.start_run("work")["run_id"]
    held = bench.puppets.next("crunch")
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    watch = server.ws()
    watch.wait_type("snapshot")
    server.process.send_signal(signal.SIGINT)
    watch.wait_type("bye")
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGINT)
    assert server._gone() != 0
    server.restart()
    bench.puppets.next("crunch", attempt=2).returns()
    assert server.wait_over(run_id)["state"] == "success"


@pytest.mark.rule("H9", "D10")
def test_while_it_ends_no_run_starts(bench):
    """A start while the server drains is 503 or refused at the door; what was answered 202 goes on at the next start."""
    server = bench.serve(STUBBORN.replace("grace_s=0.5", "grace_s=600") + TWO_STAGES.replace("work", "other"))
    server.start_run("work")
    held = bench.puppets.next("crunch")
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    watch = server.ws()
    watch.wait_type("snapshot")
    server.process.send_signal(signal.SIGTERM)
    watch.wait_type("bye")
    answer = None
    try:
        answer = server.http.post("/api/pipelines/other/start")
    except httpx.TransportError:
        pass
    assert answer is None or (answer.status_code == 503 and answer.json()["code"] == "unavailable")
    held.returns()
    assert server._gone() == 0
    server.restart()
    runs = get(server.http, "/api/runs").json()["runs"]
    assert [run["pipeline"] for run in runs] == ["work"]
    assert bench.puppets.nobody() or bench.puppets.next().stage == "crunch"
