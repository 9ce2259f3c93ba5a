"""kill -9 at any moment: nothing that anybody saw is lost, and the run goes on (V5, D10)."""

from __future__ import annotations

import random
import threading

import httpx
import psutil
import pytest

from tests.acceptance.harness import TERMINAL, TWO_STAGES
from tests.acceptance.judge import get, judge_history, judge_stream, order

BUSY = """
work = Pipeline("work", progress_interval_s=0)

@work.stage
async def fetch(ctx):
    for done in range(60):
        ctx.progress(done, total=60)
        if done % 7 == 0:
            ctx.update_metadata({"fetched": done})
        await asyncio.sleep(0.001)
    return {"files": 60}

@work.stage
def crunch(ctx):
    import fcntl
    with open(ctx.workdir / "flock", "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for done in range(60):
            ctx.progress(done, total=60)
            time.sleep(0.001)
        return ctx.outputs("fetch")
"""

FRAGILE = """
work = Pipeline("work", progress_interval_s=0)
work.stage(name="fetch", on_interrupt="fail", retries=5)(puppet.task)
work.stage(name="crunch", on_interrupt="fail", retries=5)(puppet.plain)
"""


class Poller(threading.Thread):
    """Polls the status and remembers every body, until the server dies."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self.seen: dict[tuple[str, int], bytes] = {}
        self.start()

    def run(self) -> None:
        try:
            while True:
                answer = self._http.get("/api/pipeline/status")
                document = answer.json()
                if document["run_id"] is not None:
                    self.seen[document["run_id"], document["version"]] = answer.content
        except httpx.HTTPError:
            self._http.close()


@pytest.mark.rule("V1", "V2", "V3", "V5", "D2", "D10")
def test_kill_9_at_random_moments_loses_nothing(bench, seed):
    """However often the server is killed, every version that a poll or a stream showed is there afterwards, unchanged."""
    chance = random.Random(seed)
    server = bench.serve(BUSY)
    epoch = server.ws().wait_type("hello")["epoch"]
    seen: dict[tuple[str, int], bytes] = {}
    head = (0, 0)
    kills: dict[tuple[str, str | None], int] = {}
    ended = 0
    for _ in range(7):
        runs = get(server.http, "/api/runs?limit=1").json()["runs"]
        if not runs or runs[0]["state"] in TERMINAL:
            server.start_run()
        poller = Poller(server.url)
        watch, stream = server.ws(), server.sse()
        countdown = chance.randint(1, 150)
        current: dict = {}

        def is_time(document: dict, current: dict = current) -> bool:
            nonlocal countdown
            if "run_id" in document:
                current.update(document)
                countdown -= 1
            return countdown <= 0 or document.get("state") in TERMINAL

        watch.wait_document(is_time)
        place = (current["run_id"], current["current_stage"])
        if kills.get(place, 0) >= 2:  # a third interruption of a stage ends the run, which is another test
            watch.wait_document(lambda document: document.get("state") in TERMINAL)
        server.kill()
        kills[place] = kills.get(place, 0) + 1
        poller.join(30)
        watch.wait_end()
        stream.wait_end()
        for shown in (poller.seen, judge_stream(watch.frames), judge_stream(stream.frames, sse=True)):
            for key, encoded in shown.items():
                assert seen.setdefault(key, encoded) == encoded
        tops = [
            order(frame.value[name])
            for frame in (*watch.frames, *stream.frames)
            for name in ("to", "position")
            if name in frame.value
        ]
        head = max([head, *tops])

        server.restart()
        hello = server.ws().wait_type("hello")
        assert hello["epoch"] == epoch, "a restart keeps the epoch (V1)"
        assert order(hello["position"]) >= head, "the head went back"
        for run_id in {key[0] for key in seen}:
            bodies = judge_history(server.http, run_id, every=40)
            lost = [key for key, encoded in seen.items() if key[0] == run_id and bodies.get(key[1]) != encoded]
            assert lost == [], "versions that a reader saw are lost or changed"
        ended += sum(1 for run in get(server.http, "/api/runs").json()["runs"] if run["state"] == "success")
    last = get(server.http, "/api/runs?limit=1").json()["runs"][0]
    server.wait_over(last["run_id"])
    for run in get(server.http, "/api/runs").json()["runs"]:
        # A kill just after the look above may have hit the next stage for the third time.
        assert run["state"] == "success" or run["error_code"] == "interrupted", (run["state"], run["error"])
    assert any(run["retry_count"] for run in get(server.http, "/api/runs").json()["runs"]) or ended


@pytest.mark.rule("D4", "D9", "D10")
@pytest.mark.parametrize("stage", ["fetch", "crunch"])
def test_an_interrupted_run_goes_on(bench, stage):
    """After kill -9 the run goes through `retrying` with `interrupted` to the same stage, and on to success."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=[stage])["run_id"]
    held = bench.puppets.next(stage, attempt=1)
    held.do("ctx.progress(7)")
    server.wait_run(run_id, lambda document: document["stages"][stage]["progress"] is not None)
    server.kill()
    server.restart()
    second = bench.puppets.next(stage, attempt=2)
    held.wait_dead()
    document = server.run(run_id)
    assert (document["state"], document["error"], document["retry_count"]) == (f"running_{stage}", None, 1)
    second.returns()
    assert server.wait_over(run_id)["state"] == "success"
    commits = get(server.http, f"/api/runs/{run_id}/history").json()["commits"]
    states = [commit["new_state"] for commit in commits if commit["old_state"] != commit["new_state"]]
    assert states == ["starting", f"running_{stage}", "retrying", f"running_{stage}", "success"]
    at = next(commit["version"] for commit in commits if commit["new_state"] == "retrying")
    interrupted = get(server.http, f"/api/runs/{run_id}/versions/{at}").json()
    assert interrupted["error_code"] == interrupted["stages"][stage]["error_code"] == "interrupted"
    assert interrupted["error"] == interrupted["stages"][stage]["error"]
    assert interrupted["stages"][stage]["progress"]["done"] == 7, "what it had done is still told"


@pytest.mark.rule("D10")
def test_the_old_process_is_dead_before_the_stage_starts_again(bench):
    """A worker that outlives its server, and what it started, are gone before the next attempt takes the flock."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["crunch"])["run_id"]
    held = bench.puppets.next("crunch")
    child = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    (heir,) = held.do(
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        f"heir = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE, start_new_session=True)\n"
        "heir.stdout.readline(); ctx.heir = heir; answer = [heir.pid]"
    )
    family = [child.pid for child in psutil.Process(server.process.pid).children(recursive=True)]
    assert {held.pid, heir} <= set(family)
    lives = [open(f"/proc/{pid}/stat", "rb", buffering=0) for pid in family]
    server.kill()
    server.restart()
    second = bench.puppets.next("crunch", attempt=2)
    for life in lives:
        with life:
            assert is_dead(life), "a process of the old server lives beside the new attempt"
    second.returns()
    assert server.wait_over(run_id)["state"] == "success"


def is_dead(life) -> bool:
    """Return whether the process behind an open /proc/<pid>/stat is gone, or a zombie."""
    try:
        life.seek(0)
        return life.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except ProcessLookupError:
        return True


@pytest.mark.rule("D10")
@pytest.mark.parametrize("stage", ["fetch", "crunch"])
def test_three_interruptions_end_a_run(bench, stage):
    """A stage that takes its server down three times is not tried for ever."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=[stage])["run_id"]
    for attempt in (1, 2, 3):
        bench.puppets.next(stage, attempt=attempt)
        server.kill()
        server.restart()
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"], over["stages"][stage]["attempt"]) == ("failed", "interrupted", 3)
    assert bench.puppets.nobody()
    assert server.start_run()["state"] == "starting", "the pipeline is free"


@pytest.mark.rule("D9", "D10")
@pytest.mark.parametrize("stage", ["fetch", "crunch"])
def test_a_stage_that_must_not_run_twice_fails(bench, stage):
    """`on_interrupt="fail"` ends the run as failed with `interrupted`, whatever its retries."""
    server = bench.serve(FRAGILE)
    run_id = server.start_run(stages=[stage])["run_id"]
    held = bench.puppets.next(stage)
    server.kill()
    server.restart()
    over = server.wait_over(run_id)
    held.wait_dead()
    assert (over["state"], over["error_code"], over["stages"][stage]["attempt"]) == ("failed", "interrupted", 1)
    assert bench.puppets.nobody()


@pytest.mark.rule("C5", "D10")
@pytest.mark.parametrize("stage", ["fetch", "crunch"])
def test_a_run_that_was_asked_to_stop_is_stopped_after_a_crash(bench, stage):
    """`stop_requested` survives kill -9: the run goes to `stopped`, never on, and its worker is dead."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run()["run_id"]
    held = bench.puppets.next("fetch")
    if stage == "crunch":
        held.returns()
        held = bench.puppets.next("crunch")
        held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
        assert server.stop_run(run_id, reason="enough").status_code == 202
    else:
        assert server.stop_run(run_id, reason="enough").status_code == 202
    server.kill()
    server.restart()
    over = server.wait_over(run_id)
    held.wait_dead()
    assert (over["state"], over["error_code"], over["stop_requested"]["reason"]) == ("stopped", "stopped", "enough")
    assert bench.puppets.nobody()


@pytest.mark.rule("C1", "D10", "V5")
def test_a_start_that_was_answered_survives(bench):
    """kill -9 right after the 202: the run is there and goes on from `starting`."""
    server = bench.serve(TWO_STAGES)
    for _ in range(2):
        started = server.start_run(stages=["fetch"])
        server.kill()
        server.restart()
        puppet = bench.puppets.next("fetch")
        while puppet.attempt < server.run(started["run_id"])["stages"]["fetch"]["attempt"]:
            puppet = bench.puppets.next("fetch")
        puppet.returns()
        assert server.wait_over(started["run_id"])["state"] == "success"


@pytest.mark.rule("D9", "D10")
@pytest.mark.parametrize("clean", [False, True])
def test_a_run_whose_pipeline_is_gone_fails(bench, clean):
    """A run of a pipeline that is no longer served ends as failed with `not_startable`; its documents stay readable."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(stages=["crunch"])["run_id"]
    bench.puppets.next("crunch")
    server.terminate() if clean else server.kill()
    bench.write(TWO_STAGES.replace("work", "other"))
    server.restart()
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"]) == ("failed", "not_startable")
    assert get(server.http, "/api/pipelines/work/status").json() == over
    assert server.http.post("/api/pipelines/work/start").status_code == 404
    assert get(server.http, "/api/pipeline/status").json()["pipeline"] == "other"


@pytest.mark.rule("D9", "D10")
def test_a_run_whose_stage_is_gone_fails(bench):
    """A run whose stage was taken out of the pipeline ends as failed; the pipeline's document has the new order."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run()["run_id"]
    bench.puppets.next("fetch")
    server.kill()
    bench.write(TWO_STAGES.replace("fetch", "grab"))
    server.restart()
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"]) == ("failed", "not_startable")
    assert get(server.http, "/api/pipelines/work").json()["stage_order"] == ["grab", "crunch"]
    server.start_run()
    bench.puppets.next("grab").returns()
