"""Many clients at once: every answer is true, whoever was faster."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter

import httpx
import pytest

from tests.acceptance.judge import changes_of, get, judge_change, judge_stream

PIPELINES = """
quick = Pipeline("quick", progress_interval_s=0)

@quick.stage
async def hold(ctx):
    ctx.progress(1)
    await asyncio.sleep(ctx.metadata.get("hold_s", 0))
    return {"n": 1}

@quick.stage
async def after(ctx):
    return ctx.outputs("hold")

plain = Pipeline("plain", progress_interval_s=0)

@plain.stage(grace_s=0.2)
def hold(ctx):
    time.sleep(ctx.metadata.get("hold_s", 0))
"""


class Client(threading.Thread):
    """Starts, stops and reads at random; what it was answered is judged at the end."""

    def __init__(self, url: str, seed: int, rounds: int) -> None:
        super().__init__(daemon=True)
        self._url, self._chance, self._rounds = url, random.Random(seed), rounds
        self.problems: list[str] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.accepted: list[bytes] = []
        self.start()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as http:
            try:
                for _ in range(self._rounds):
                    self.act(http)
            except (httpx.HTTPError, ValueError, KeyError) as trouble:
                self.problems.append(repr(trouble))

    def act(self, http: httpx.Client) -> None:
        name = "plain" if self._chance.random() < 0.2 else "quick"
        hold_s = self._chance.choice([0, 0, 600])
        answer = http.post(f"/api/pipelines/{name}/start", json={"metadata": {"hold_s": hold_s}})
        self.note("start", answer)
        if answer.status_code == 409:
            if "document" not in answer.json():
                self.problems.append(f"a 409 without the run: {answer.text[:200]}")
                return
            run = answer.json()["document"]
        elif answer.status_code == 202:
            run = answer.json()
        else:
            return
        if self._chance.random() < 0.8:
            self.note("stop", http.post(f"/api/runs/{run['run_id']}/stop"))
        if self._chance.random() < 0.3:
            self.note("stop current", http.post("/api/pipeline/stop"))
        status = http.get(f"/api/pipelines/{name}/status")
        if status.status_code != 200:
            self.problems.append(status.text[:300])

    def note(self, what: str, answer: httpx.Response) -> None:
        self.statuses[what, answer.status_code] += 1
        if answer.status_code == 202:
            self.accepted.append(answer.content)
        elif answer.status_code != 409:
            self.problems.append(f"{what}: {answer.status_code} {answer.text[:300]}")


@pytest.mark.rule("C1", "C4", "C5", "C6", "D2", "H9", "F4")
def test_starts_and_stops_from_many_clients(bench, seed):
    """Six clients start and stop two pipelines as fast as they can: only 202 and true 409, and the server lives."""
    server = bench.serve(PIPELINES)
    watch = server.ws()
    clients = [Client(server.url, seed + number, rounds=60) for number in range(6)]
    for client in clients:
        client.join(90)
    assert server.process.poll() is None, server.err.lines[-20:]
    assert [problem for client in clients for problem in client.problems] == [], server.err.lines[-20:]
    assert sum(client.statuses["start", 202] for client in clients) > 5
    for client in clients:
        for content in client.accepted:
            document = json.loads(content)
            path = f"/api/runs/{document['run_id']}/versions/{document['version']}"
            assert get(server.http, path).content == content, "a 202 is the document after the commit"
    for run in get(server.http, "/api/runs?limit=1000").json()["runs"]:
        if run["status"] == "running":
            assert server.stop_run(run["run_id"]).status_code in (202, 409)
            run = server.wait_over(run["run_id"])
        assert run["state"] in ("stopped", "success"), (run["state"], run["error"])
    for (run_id, version), encoded in judge_stream(watch.frames).items():
        assert get(server.http, f"/api/runs/{run_id}/versions/{version}").content == encoded
    assert not [line for line in server.err.lines if "rror" in line], server.err.lines[-20:]


@pytest.mark.rule("C5", "D2")
def test_a_stop_at_any_moment_of_a_short_run(bench, seed):
    """Whenever a stop meets a run of two short stages, the run is stopped or was over; nothing in between."""
    server = bench.serve(PIPELINES)
    chance = random.Random(seed)
    ended: Counter[str] = Counter()
    for _ in range(40):
        run_id = server.start_run("quick")["run_id"]
        for _ in range(chance.randrange(4)):
            get(server.http, "/health")
        answer = server.stop_run(run_id)
        over = server.wait_over(run_id)
        ended[over["state"]] += 1
        if answer.status_code == 202:
            assert over["state"] == "stopped" and over["stop_requested"] is not None
        else:
            assert answer.status_code == 409 and over["state"] == "success"
    print(dict(ended))


@pytest.mark.rule("F1", "F5", "D8")
def test_followers_are_told_of_each_run_they_follow(bench, seed):
    """While runs follow each other, a follower's current run is always one whose document it has."""
    server = bench.serve(PIPELINES)
    watches = [server.ws("?topics=pipeline:quick"), server.ws(), server.sse("?topics=pipeline:quick")]
    for watch in watches:
        watch.wait_type("snapshot")
    for _ in range(30):
        server.wait_over(server.start_run("quick")["run_id"])
    last = get(server.http, "/api/pipelines/quick/status").json()
    for watch in watches:
        watch.wait_document(
            lambda document: document.get("run_id") == last["run_id"] and document["state"] == "success"
        )
        has: set[str] = set()
        for frame in watch.frames:
            current = None
            for change, encoded in changes_of(frame) if frame.value.get("changes") else ():
                document = judge_change(change, encoded)
                if change["kind"] == "run":
                    has.add(document["run_id"])
                elif document["current_run_id"]:
                    current = document["current_run_id"]
            assert current is None or current in has, "a current run that the reader has never seen"
        judge_stream(watch.frames, sse=watch is watches[2])
