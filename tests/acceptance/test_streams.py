"""Streams from outside: what readers are sent, what they may ask, and how they leave."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import changes_of, get, judge_stream
from tests.acceptance.watching import Watch, documents_of

PIPELINES = TWO_STAGES + TWO_STAGES.replace("work", "other")


UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"


@pytest.fixture(scope="module")
def shared(shared_bench):
    """A server for the tests that do not mind what ran before."""
    return shared_bench.serve(PIPELINES)


def shown(watch: Watch) -> list[str]:
    """Return the run ids and pipeline names that a watch has been sent, in order of appearance."""
    names = [doc.get("run_id") or doc["pipeline"] for frame in watch.frames for doc in documents_of(frame.value)]
    return list(dict.fromkeys(names))


@pytest.mark.rule("F1", "F2", "F5")
@pytest.mark.parametrize("kind", ["ws", "sse"])
def test_topics_show_what_they_name(bench, kind):
    """`pipeline:x` follows its pipeline from run to run without a `gone`; `run:id` shows one run; `*` shows all."""
    server = bench.serve(PIPELINES)
    first = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next("fetch")
    open_stream = getattr(server, kind)
    work, other, one, everything, two = (
        open_stream(f"?topics={topics}")
        for topics in ("pipeline:work", "pipeline:other", f"run:{first}", "*", f"run:{first},pipeline:other")
    )
    for watch in (work, other, one, everything, two):
        watch.wait_type("snapshot")
    held.do("ctx.progress(1)")
    held.returns()
    one.wait_document(lambda document: document["state"] == "success")
    second = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    third = server.start_run("other", stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    for watch, last in ((work, second), (other, third), (everything, third), (two, third)):
        watch.wait_document(
            lambda document, last=last: document.get("run_id") == last and document["state"] == "success"
        )

    assert set(shown(work)) == {"work", first, second}
    assert set(shown(other)) == {"other", third}
    assert set(shown(one)) == {first}
    assert set(shown(everything)) == {"work", "other", first, second, third}
    assert set(shown(two)) == {first, "other", third}
    for watch in (work, other, one, everything, two):
        assert watch.problems == []
        judge_stream(watch.frames, sse=kind == "sse")
        assert not [c for frame in watch.frames for c in frame.value.get("changes", ()) if c["event"] == "gone"]
    if kind == "sse":
        for name, value in {"content-type": "text/event-stream", "cache-control": "no-"}.items():
            assert value in work.response.headers[name]
        assert "content-encoding" not in work.response.headers


@pytest.mark.rule("F1")
def test_a_finished_run_that_is_not_current_can_be_watched(shared, shared_bench):
    """`run:<id>` of an old run is its last document in the snapshot, then heartbeats."""
    server = shared
    runs = []
    for _ in range(2):
        runs.append(server.start_run("work", stages=["fetch"])["run_id"])
        shared_bench.puppets.next("fetch").returns()
        server.wait_over(runs[-1])
    with server.ws(f"?topics=run:{runs[0]}") as watch:
        document = watch.wait_document(lambda _: True)
    assert document == server.run(runs[0])


@pytest.mark.rule("F2", "F3")
def test_silence_is_told_from_death(bench):
    """A reader whom no commit concerns gets an empty transition within `heartbeat_ms`: a watermark, with a small source age."""
    server = bench.serve(PIPELINES)
    watches = [server.ws("?topics=pipeline:other"), server.sse("?topics=pipeline:other")]
    starts = [watch.wait_type("snapshot")["position"] for watch in watches]
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    server.wait_over(run_id)
    head = get(server.http, "/api/pipelines").json()["position"]
    for watch, start in zip(watches, starts, strict=True):
        beat_ms = watch.wait_type("hello")["heartbeat_ms"]
        # What is late by the machine's fault is forgiven once.
        watch.wait(lambda frames: frames[-1].value.get("to") == head, patience_s=2 * beat_ms / 1000 + 5)
        assert head != start
        for frame in watch.frames[2:]:
            assert frame.value["type"] == "transition" and frame.value["changes"] == []
            assert frame.value["source_age_ms"] <= beat_ms
        judge_stream(watch.frames, sse=watch is watches[1])


@pytest.mark.rule("F6", "F7")
@pytest.mark.parametrize("how", ["resume", "Last-Event-ID", "websocket"])
def test_a_good_resume_gets_what_came_after_it_and_no_snapshot(bench, how):
    """The first transition begins at the resume position and carries what changed since, in full."""
    server = bench.serve(PIPELINES)
    position = server.ws().wait_type("snapshot")["position"]
    run = server.start_run("work", stages=["fetch"])
    bench.puppets.next("fetch").returns()
    server.wait_over(run["run_id"])
    if how == "Last-Event-ID":
        watch = server.sse(headers={"Last-Event-ID": position})
    elif how == "resume":
        watch = server.sse(f"?resume={position}")
    else:
        watch = server.ws(f"?resume={position}&delta=0&mode=latest&topics=*")
    transition = watch.wait_type("transition")
    assert [frame.value["type"] for frame in watch.frames[:2]] == ["hello", "transition"]
    assert transition["from"] == position
    assert {change["kind"] for change in transition["changes"]} == {"run", "pipeline"}
    assert all("base" not in change["data"] for change in transition["changes"])


BAD_QUERIES = {
    "topics=all": 400, "topics=": 400, "topics=run:": 400, "delta=2": 400, "mode=first": 400, "resume=x": 400, "x=1": 400,
    "topics=*&topics=*": 400, "topics=pipeline:nobody": 404, "topics=run:none": 404, "topics=pipeline:work,run:none": 404,
}  # fmt: skip


@pytest.mark.rule("H9", "F1")
def test_a_bad_query_is_answered_before_the_upgrade(shared, shared_bench):
    """A WebSocket that asks for nonsense gets an HTTP problem, not a socket; so does one with a foreign Origin or Host."""
    server = shared
    url = server.url.replace("http", "ws") + "/api/ws?"
    for query, status in BAD_QUERIES.items():
        with pytest.raises(InvalidStatus) as refused:
            connect(url + query, proxy=None, legacy=True)
        answer = refused.value.response
        assert answer.status_code == status, query
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["code"] == {400: "bad_query", 404: "not_found"}[status]
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"subprotocols": ["x"], "origin": "http://127.0.0.1"},
    ):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, proxy=None, legacy=True, **headers)
        assert refused.value.response.status_code == 403, headers
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as foreign:
        foreign.sendall(f"GET /api/ws HTTP/1.1\r\nHost: evil.example\r\n{UPGRADE}\r\n".encode())
        assert foreign.recv(64).startswith(b"HTTP/1.1 403")
    with connect(url, proxy=None, legacy=True, origin=server.url) as same:
        assert json.loads(same.recv(30))["type"] == "hello"


BAD_MESSAGES = [
    "", "x", "{", "[]", "null", "1", '"subscribe"', "{}", '{"type": 1}', '{"type": "unsubscribe"}', '{"type": ["subscribe"]}',
    '{"type": "subscribe", "topics": "all"}', '{"type": "subscribe", "topics": ""}', '{"type": "subscribe", "topics": ["*"]}',
    '{"type": "subscribe", "topics": null}', '{"type": "subscribe", "topics": 5}', '{"type": "subscribe", "topics": "pipeline:nobody"}',
    '{"type": "subscribe", "topics": "run:none"}', '{"type": "subscribe", "delta": 2}', '{"type": "subscribe", "delta": true}',
    '{"type": "subscribe", "delta": "yes"}', '{"type": "subscribe", "mode": "each"}', '{"type": "subscribe", "mode": null}',
    '{"type": "subscribe", "resume": "x"}', '{"type": "subscribe", "resume": 7}', '{"type": "subscribe", "color": "red"}',
    '{"type": "subscribe", "topics": "\\ud800"}', '{"type": "subscribe", "topics": "run:\\ud800"}', '{"\\udfff": 1}',
    '{"type": "subscribe", "topics": "run:' + "x" * 60_000 + '"}', "[" * 30_000, '{"a":' * 10_000, "\u2028", "\0",
    b"\x00\xff", b'{"type": "subscribe", "topics": "run:none"}', b"",
    '{"type": "subscribe", "topics": NaN}', '{"type": "subscribe", "topics": 1e999}',
]  # fmt: skip


@pytest.mark.rule("F1", "H9")
def test_a_bad_message_gets_a_problem_and_changes_nothing(shared, shared_bench):
    """Whatever a client sends, it gets a `problem` frame; its subscription stays, and so does the server."""
    server = shared
    watch = server.ws("?topics=pipeline:work")
    watch.wait_type("snapshot")

    def problems() -> list[dict]:
        return [frame.value for frame in watch.frames if frame.value["type"] == "problem"]

    for number, message in enumerate(BAD_MESSAGES, 1):
        watch.send(message)
        watch.wait(lambda _, number=number: len(problems()) >= number, patience_s=20)
        problem = problems()[-1]
        assert problem["status"] in (400, 404) and problem["code"] in ("bad_json", "bad_query", "not_found"), message[
            :60
        ]
        assert problem["detail"] and problem["title"], message[:60]
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    shared_bench.puppets.next("fetch").returns()
    watch.wait_document(lambda document: document.get("run_id") == run_id and document["state"] == "success")
    assert "other" not in shown(watch)
    judge_stream(watch.frames)


@pytest.mark.rule("F1", "F2")
def test_a_later_subscribe_replaces_the_topics(bench):
    """`subscribe` is answered by a snapshot of the new topics with reason `subscribe`; the old ones are no longer sent."""
    server = bench.serve(PIPELINES)
    watch = server.ws("?topics=pipeline:work")
    watch.wait_type("snapshot")
    watch.send({"type": "subscribe", "topics": "pipeline:other", "delta": 0, "mode": "latest"})
    watch.wait(
        lambda frames: (
            [f.value.get("reason") for f in frames if f.value["type"] == "snapshot"] == ["initial", "subscribe"]
        )
    )
    work = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    server.wait_over(work)
    other = server.start_run("other", stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    watch.wait_document(lambda document: document.get("run_id") == other and document["state"] == "success")
    assert work not in shown(watch)
    watch.send({"type": "subscribe"})
    watch.wait_document(lambda document: document.get("run_id") == work)
    judge_stream(watch.frames)


def test_a_message_beyond_the_limit_closes_only_its_own_socket(shared, shared_bench):
    """A client that sends a megabyte is closed; nobody else notices."""
    server = shared
    loud, quiet = server.ws(), server.ws()
    loud.wait_type("snapshot")
    quiet.wait_type("snapshot")
    try:
        loud.send('{"type": "subscribe", "topics": "' + "x" * 1_000_000 + '"}')
    except OSError:
        pass
    loud.wait_end()
    assert loud.close_code in (1009, 1006, None)
    quiet.send("x")
    assert quiet.wait_type("problem")["code"] == "bad_json"


def test_the_bytes_of_a_frame_are_spliced(shared, shared_bench):
    """User data that looks like our own members does not confuse what a frame carries."""
    server = shared
    metadata = {
        "canonical_state": {"document": 1},
        "x": '"canonical_state":{',
        "document": [],
        "changes": '"changes":[',
    }
    run_id = server.start_run("work", stages=["fetch"], metadata=metadata)["run_id"]
    with server.ws() as watch:
        watch.wait_document(lambda document: document.get("run_id") == run_id)
        frame = watch.frames[1]
    encoded = [raw for change, raw in changes_of(frame) if change["kind"] == "run"]
    assert encoded == [get(server.http, f"/api/runs/{run_id}/versions/{json.loads(encoded[0])['version']}").content]
    shared_bench.puppets.next("fetch").returns()
    assert httpx.get(server.url + "/health", trust_env=False).json()["status"]
    server.wait_over(run_id)
