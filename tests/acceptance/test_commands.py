"""Start and stop: one run at a time, a stop that is true, and answers that are the commit."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_answer, order

RACER = """
import http.client, json, sys
client = http.client.HTTPConnection(sys.argv[1], timeout=60)
client.connect()
print("ready", flush=True)
sys.stdin.readline()
body = json.dumps({"metadata": {"who": sys.argv[2]}})
client.request("POST", "/api/pipeline/start", body, {"Content-Type": "application/json"})
answer = client.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]), flush=True)
"""

SLOW_TO_STOP = """
work = Pipeline("work", progress_interval_s=0)
work.stage(name="crunch", grace_s=0.3)(puppet.plain)
"""


@pytest.mark.rule("C4")
def test_of_eight_starts_at_once_one_wins(bench):
    """Eight processes start the pipeline at the same moment: one 202, seven 409 with that run's document."""
    server = bench.serve(TWO_STAGES)
    racers = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", RACER, server.url.removeprefix("http://"), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]

    statuses = sorted(status for status, _ in answers)
    assert statuses == [202] + [409] * 7
    winner = next(body for status, body in answers if status == 202)
    for status, body in answers:
        if status == 409:
            assert body["code"] == "already_running" and body["status"] == 409
            assert body["document"]["run_id"] == winner["run_id"]
            assert body["document"]["metadata"] == winner["metadata"]
    assert len(get(server.http, "/api/runs").json()["runs"]) == 1
    bench.puppets.next("fetch")
    assert bench.puppets.nobody()


@pytest.mark.rule("C1", "C5", "C6", "H9")
def test_a_run_is_started_and_stopped(bench):
    """A 202 is the commit: its body, tag and position; a second stop changes nothing; a stopped run stays stopped."""
    server = bench.serve(TWO_STAGES)
    started = server.http.post("/api/pipelines/work/start", json={"metadata": {"n": 1.5}})
    assert started.status_code == 202
    document = judge_answer(started)
    assert (document["version"], document["state"], document["metadata"]) == (1, "starting", {"n": 1.5})
    run_id = document["run_id"]
    assert get(server.http, f"/api/runs/{run_id}/versions/1").content == started.content

    held = bench.puppets.next("fetch")
    stopped = server.stop_run(run_id, reason="lunch \U0001f600")
    assert stopped.status_code == 202
    asked = judge_answer(stopped)
    assert asked["stop_requested"]["reason"] == "lunch \U0001f600"
    assert asked["state"] == "running_fetch", "the request is committed at once, the end when the worker is dead"
    assert get(server.http, f"/api/runs/{run_id}/versions/{asked['version']}").content == stopped.content
    held.wait_dead()
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"]) == ("stopped", "stopped")
    assert over["stages"]["fetch"]["state"] == "stopped" and over["stages"]["crunch"]["state"] == "pending"

    again = server.stop_run(run_id)
    assert (again.status_code, again.json()["code"]) == (409, "not_allowed")
    assert "stopped" in again.json()["detail"]
    assert server.run(run_id) == over, "nothing changes"
    current = server.http.post("/api/pipeline/stop")
    assert (current.status_code, current.json()["code"]) == (409, "not_allowed")
    assert bench.puppets.nobody()


@pytest.mark.rule("C5")
def test_a_second_stop_is_the_same_answer(bench):
    """While a stubborn worker is given its grace, a second stop answers 202 with the same document."""
    server = bench.serve(SLOW_TO_STOP.replace("0.3", "60"))
    run_id = server.start_run()["run_id"]
    held = bench.puppets.next("crunch")
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    first = server.stop_run(run_id, reason="one")
    second = server.stop_run(run_id, reason="two")
    third = server.http.post("/api/pipeline/stop", json={"reason": "three"})

    assert first.status_code == second.status_code == third.status_code == 202
    assert first.content == second.content == third.content
    assert first.headers["etag"] == second.headers["etag"]
    assert first.json()["stop_requested"]["reason"] == "one"
    assert server.run(run_id)["state"] == "running_crunch", "not stopped while the worker lives"
    held.do("while not ctx.stopping: pass")
    held.returns()
    assert server.wait_over(run_id)["state"] == "stopped", "what the worker returns after the stop does not count"


@pytest.mark.rule("C5")
def test_a_stubborn_worker_and_all_it_started_are_killed(bench):
    """A stop ends a worker that ignores it, its children and a grandchild in a session of its own, before `stopped`."""
    server = bench.serve(SLOW_TO_STOP)
    run_id = server.start_run()["run_id"]
    held = bench.puppets.next("crunch")
    held.do(
        "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)"
    )
    code = """
import subprocess, sys
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
several = [subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=new) for new in (False, True)]
nested = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True).wait()"
several.append(subprocess.Popen([sys.executable, "-c", nested, child], stdout=subprocess.PIPE))
for process in several: process.stdout.readline()
answer = [process.pid for process in several]
ctx.several = several
"""
    pids = held.do(code)
    pids.append(held.pid)
    lives = [open(f"/proc/{pid}/stat", "rb", buffering=0) for pid in pids]  # a handle on the process, not on its number
    server.stop_run(run_id)
    server.wait_state(run_id, "stopped")

    for life, pid in zip(lives, pids, strict=True):
        with life:
            assert is_dead(life), f"process {pid} lives on after `stopped`"


def is_dead(life) -> bool:
    """Return whether the process behind an open /proc/<pid>/stat is gone, or a zombie that nobody waits for."""
    try:
        life.seek(0)
        return life.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except ProcessLookupError:
        return True


@pytest.mark.rule("C4", "C6")
def test_a_terminal_run_leaves_the_way_free(bench):
    """After success, failure and stop the next start wins; the old documents stay as they were."""
    server = bench.serve(TWO_STAGES)
    over = []
    for ending in ("success", "failed", "stopped"):
        run_id = server.start_run()["run_id"]
        held = bench.puppets.next("fetch")
        if ending == "success":
            held.returns("{'n': 1}")
            bench.puppets.next("crunch").returns()
        elif ending == "failed":
            held.raises("ValueError('no')")
        else:
            server.stop_run(run_id)
        over.append(server.wait_state(run_id, ending))
        refused = server.stop_run(run_id)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_allowed")
        assert "cache-control" in refused.headers and "no-store" in refused.headers["cache-control"]
    for document in over:
        assert server.run(document["run_id"]) == document


@pytest.mark.rule("H7")
def test_lists_are_pages_of_one_cut(bench):
    """`/api/runs` gives documents newest first, filters them, and `next` leads through all pages without loss."""
    server = bench.serve(TWO_STAGES + TWO_STAGES.replace("work", "other"))
    made: list[dict] = []
    for number in range(7):
        run_id = server.start_run(("work", "other")[number % 2])["run_id"]
        held = bench.puppets.next("fetch")
        held.raises("ValueError('no')")
        made.insert(0, server.wait_over(run_id))
    active = server.start_run("work")["run_id"]
    bench.puppets.next("fetch")

    def pages(query: str) -> list[dict]:
        found: list[dict] = []
        following = ""
        while True:
            page = get(server.http, f"/api/runs?{query}{following}").json()
            assert page.keys() == {"position", "runs", "next"}
            assert all(run["version"] and order(f"{run['epoch']}.1") for run in page["runs"])
            found += page["runs"]
            if page["next"] is None:
                return found
            following = f"&before={page['next']}"

    assert [run["run_id"] for run in pages("limit=3")] == [active, *(run["run_id"] for run in made)]
    assert pages("limit=1")[1:] == made
    assert pages("state=failed&limit=2") == made
    assert pages("status=error&limit=100") == made
    assert pages("pipeline=other&limit=2") == [run for run in made if run["pipeline"] == "other"]
    assert [run["run_id"] for run in pages("status=running")] == [active]
    assert [run["run_id"] for run in pages("state=running_fetch")] == [active]
    assert pages("pipeline=nobody") == pages("state=success") == []
    pipelines = get(server.http, "/api/pipelines").json()
    assert sorted(document["pipeline"] for document in pipelines["pipelines"]) == ["other", "work"]
    for document in pipelines["pipelines"]:
        assert document == get(server.http, f"/api/pipelines/{document['pipeline']}").json()


@pytest.mark.rule("H1")
def test_the_default_pipeline_is_the_first_in_the_file(bench):
    """`/api/pipeline/…` is the first pipeline of the definitions, not the first by name."""
    server = bench.serve(TWO_STAGES.replace("work", "zebra") + TWO_STAGES.replace("work", "ant"))

    assert get(server.http, "/api/pipeline/status").json()["pipeline"] == "zebra"
    assert server.start_run()["pipeline"] == "zebra"
    held = bench.puppets.next("fetch")
    stopped = server.http.post("/api/pipeline/stop")
    assert stopped.status_code == 202 and stopped.json()["run_id"] == held.run_id
    server.wait_state(held.run_id, "stopped")


@pytest.mark.rule("C1", "C4")
def test_a_client_that_hangs_up_does_not_tear_a_start(bench):
    """Whoever sends a start and leaves without the answer has started a run that goes on, or none: never half of one."""
    server = bench.serve(TWO_STAGES)
    with httpx.Client(base_url=server.url, trust_env=False) as rude:
        rude.get("/health")
        sock = next(iter(rude._transport._pool.connections))._connection._network_stream.get_extra_info("socket")
        sock.sendall(b"POST /api/pipeline/start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        sock.shutdown(2)
    with server.ws() as watch:
        run = watch.wait_document(lambda document: document.get("state") == "running_fetch")
    bench.puppets.next("fetch").returns()
    bench.puppets.next("crunch").returns()
    assert server.wait_over(run["run_id"])["state"] == "success"
