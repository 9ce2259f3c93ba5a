"""A poller, an SSE reader, a WebSocket and the history all show the same bytes at one version."""

from __future__ import annotations

import base64
import hashlib
import json
import threading

import httpx
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_answer, judge_history, judge_stream, order

BUSY = """
work = Pipeline("work", progress_interval_s=0)

@work.stage
async def fetch(ctx):
    for done in range(1, 301):
        ctx.progress(done, total=300, unit="files", message=f"Grüße {done} \\u2028\\u0085 {chr(0x1f600)}")
        if done % 20 == 0:
            ctx.update_metadata({"ratio": done / 7, "ключ": {"\\U0001f600": done, "\\uffff": None, "z": [1.5e300, -0.0, 1e-7]}})
        await asyncio.sleep(0.004)
    return {"files": 300, "mean": 0.1 + 0.2}

@work.stage
def crunch(ctx):
    for done in range(1, 301):
        ctx.progress(done / 8, total=37.5)
        time.sleep(0.004)
"""


class Poller(threading.Thread):
    """Polls one document as fast as it can, with `If-None-Match`."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._path, self._over = path, threading.Event()
        self.seen: dict[tuple[str, int], bytes] = {}
        self.problems: list[str] = []
        self.not_modified = 0
        self.start()

    def run(self) -> None:
        tag, version, head = "", 0, (0, 0)
        while not self._over.is_set():
            answer = self._http.get(self._path, headers={"If-None-Match": tag} if tag else {})
            if order(answer.headers["runstate-position"]) < head:
                self.problems.append("the head went back")
            head = order(answer.headers["runstate-position"])
            if answer.status_code == 304:
                self.not_modified += 1
                if answer.content or answer.headers["etag"] != tag or "repr-digest" not in answer.headers:
                    self.problems.append(f"a 304 of another shape: {answer.headers}")
                continue
            document = judge_answer(answer)
            if document["run_id"] is None:
                continue
            if document["version"] <= version:
                self.problems.append(f"version {document['version']} after {version}")
            tag, version = answer.headers["etag"], document["version"]
            self.seen[document["run_id"], version] = answer.content

    def end(self) -> dict[tuple[str, int], bytes]:
        self._over.set()
        self.join(30)
        self._http.close()
        assert not self.is_alive()
        assert self.problems == []
        return self.seen


@pytest.mark.rule("V2", "V3", "V4", "D2", "D6", "H1", "H2", "H5", "H6", "F2", "F4", "F7")
def test_every_reader_sees_the_same_bytes_at_the_same_version(bench):
    """At 200 commits a second, poll, SSE, WebSocket and history show one document, byte for byte."""
    server = bench.serve(BUSY)
    poller = Poller(server.url, "/api/pipeline/status")
    sockets = [server.ws(), server.ws("?topics=pipeline:work")]
    streams = [server.sse("?topics=pipeline:work"), server.sse()]

    run_id = server.start_run(metadata={"a": 1.0, "b": [1e21, 5e-324]})["run_id"]
    run_poller = Poller(server.url, f"/api/runs/{run_id}")
    for watch in (*sockets, *streams):
        watch.wait_document(lambda document: document.get("state") == "success")
    polled, run_polled = poller.end(), run_poller.end()

    bodies = judge_history(server.http, run_id)
    assert len(bodies) >= 600, "every progress call is a commit"
    for seen in (polled, run_polled):
        assert len(seen) > 20
        assert {key: bodies[key[1]] for key in seen} == seen
    for watch in sockets:
        seen = judge_stream(watch.frames)
        assert {key: bodies[key[1]] for key in seen} == seen
    for watch in streams:
        seen = judge_stream(watch.frames, sse=True)
        assert {key: bodies[key[1]] for key in seen} == seen
    assert [problem for watch in (*sockets, *streams) for problem in watch.problems] == []
    assert len(seen) > 100
    for watch in (*sockets, *streams):
        for frame in watch.frames:
            for change in frame.value.get("changes", ()):
                if frame.value["type"] == "transition" and change["kind"] == "run":
                    version = change["version"]
                    before = json.loads(bodies[version - 1])["state"] if version > 1 else "idle"
                    assert change["data"]["old_state"] == before, "old_state is the state at version − 1"


@pytest.mark.rule("V2", "V4", "F5")
def test_revisions_have_no_holes_and_one_commit_is_one_transition(bench):
    """Version 1 of a run and its pipeline's `current_run_id` arrive together, and every commit has the next revision."""
    server = bench.serve(TWO_STAGES)
    watch = server.ws()
    watch.wait_type("snapshot")
    revisions = []
    for number in range(3):
        run_id = server.start_run()["run_id"]
        bench.puppets.next("fetch").returns()
        bench.puppets.next("crunch").returns()
        watch.wait_document(
            lambda document, run_id=run_id: document.get("run_id") == run_id and document["state"] == "success"
        )
        page = get(server.http, f"/api/runs/{run_id}/history").json()
        revisions += [order(commit["position"])[1] for commit in page["commits"]]
        assert len(revisions) == len(set(revisions)), number

    assert revisions == list(range(revisions[0], revisions[-1] + 1))
    firsts = [
        frame.value for frame in watch.frames
        if any(change["kind"] == "pipeline" for change in frame.value.get("changes", ())) and frame.value["type"] == "transition"
    ]  # fmt: skip
    assert len(firsts) == 3
    for frame in firsts:
        run = next(change for change in frame["changes"] if change["kind"] == "run")
        owner = next(change for change in frame["changes"] if change["kind"] == "pipeline")
        assert owner["data"]["document"]["current_run_id"] == run["run_id"]
    judge_stream(watch.frames)


@pytest.fixture(scope="module")
def quiet(shared_bench):
    """A server on which nothing has run."""
    return shared_bench.serve(TWO_STAGES)


@pytest.mark.rule("D5", "H1", "H2")
def test_a_pipeline_that_never_ran_has_a_status(quiet):
    """Before the first run the status is an idle document of version 0, tagged with the pipeline document's position."""
    server = quiet
    status = get(server.http, "/api/pipeline/status")
    pipeline = get(server.http, "/api/pipelines/work")

    document = judge_answer(status)
    assert document["state"] == document["status"] == "idle"
    assert (document["run_id"], document["version"], document["trigger"], document["metadata"]) == (None, 0, None, {})
    assert all(document[name] is None for name in ("started_at", "updated_at", "ended_at", "error", "current_stage"))
    assert {(stage["state"], stage["attempt"]) for stage in document["stages"].values()} == {("pending", 0)}
    assert status.headers["etag"] == pipeline.headers["etag"]
    assert get(server.http, "/api/pipelines/work/status").content == status.content
    assert document["epoch"] == pipeline.json()["epoch"]
    with server.ws() as watch:
        watch.wait_type("snapshot")
        kinds = [change["kind"] for frame in watch.frames for change in frame.value.get("changes", ())]
    assert kinds == ["pipeline"], "the idle document is never sent on streams"


@pytest.mark.rule("H2")
@pytest.mark.parametrize(
    ("tag", "status"),
    [
        ("{tag}", 304), ("W/{tag}", 304), ('"x", {tag}', 304), ('"x",W/{tag} , "y"', 304), ("*", 304),
        ('"x"', 200), ("{bare}", 200), ('"{bare}9"', 200), ('""', 200), (",", 200),
    ],
)  # fmt: skip
def test_if_none_match_is_a_list(quiet, tag, status):
    """`If-None-Match` takes lists and weak tags; a 304 has the headers of a 200."""
    server = quiet
    first = get(server.http, "/api/pipeline/status")
    sent = tag.format(tag=first.headers["etag"], bare=first.headers["etag"].strip('"'))

    answer = server.http.get("/api/pipeline/status", headers={"If-None-Match": sent})

    assert answer.status_code == status
    for name in ("etag", "repr-digest", "runstate-position", "cache-control"):
        assert answer.headers[name] == first.headers[name]
    assert "no-cache" in answer.headers["cache-control"]


@pytest.mark.rule("H1", "H2", "H5")
def test_bodies_are_never_encoded_and_digests_are_of_the_bytes(bench):
    """A client that takes gzip gets the canonical bytes all the same, and HEAD has the headers of GET without a body."""
    server = bench.serve(TWO_STAGES)
    run_id = server.start_run(metadata={"text": "x" * 5000})["run_id"]
    bench.puppets.next("fetch")
    for path in (
        "/api/pipeline/status",
        f"/api/runs/{run_id}",
        f"/api/runs/{run_id}/versions/1",
        "/api/pipelines/work",
    ):
        answer = server.http.get(path, headers={"Accept-Encoding": "gzip, br, deflate"})
        judge_answer(answer)
        head = server.http.head(path)
        assert head.status_code == 200 and head.content == b""
        for name in ("etag", "repr-digest", "runstate-position", "cache-control", "content-type", "content-length"):
            assert head.headers[name] == answer.headers[name], name
        digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
