"""Reads that wait: a poller is answered as soon as there is something newer, and knows how far it is when there is not.

Longer than other files: one rule's cases stand together.
"""

from __future__ import annotations

import json
import signal
import threading
import time

import httpx
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_answer, order
from tests.acceptance.parked import Parked
from tests.acceptance.puppets import PATIENCE_S

PIPELINES = TWO_STAGES + "".join(TWO_STAGES.replace("work", name) for name in ("other", "never", "third"))

AT_ONCE_S = 0.9  #: Less than the shortest wait that anybody asks for here.
LATE_S = 3.0  #: What a busy machine may add.


class Poll(threading.Thread):
    """One GET in a thread of its own: the answer, and how long it took."""

    def __init__(self, url: str, headers: dict | list | None = None) -> None:
        super().__init__(daemon=True)
        self._url, self._headers = url, headers
        self._answer: httpx.Response | Exception | None = None
        self.took_s = 0.0
        self.start()

    def run(self) -> None:
        begun = time.monotonic()
        try:
            self._answer = httpx.get(self._url, headers=self._headers, timeout=PATIENCE_S, trust_env=False)
        except httpx.HTTPError as trouble:
            self._answer = trouble
        self.took_s = time.monotonic() - begun

    def answer(self, status: int) -> httpx.Response:
        self.join(PATIENCE_S)
        assert isinstance(self._answer, httpx.Response), self._answer
        assert self._answer.status_code == status, (self._url, self._headers, self._answer.text)
        return self._answer


def tag_of(server, path: str) -> str:
    return get(server.http, path).headers["etag"].strip('"')


def later(position: str, steps: int) -> str:
    epoch, _, revision = position.rpartition(".")
    return f"{epoch}.{int(revision) + steps}"


def with_epoch(position: str, by: int) -> str:
    number, _, rest = position.partition("-")
    return f"{int(number) + by}-{rest}"


def problem(answer: httpx.Response, code: str) -> dict:
    assert answer.headers["content-type"] == "application/problem+json"
    assert "no-store" in answer.headers["cache-control"]
    assert answer.json()["code"] == code, answer.text
    return answer.json()


def finished(server, bench, pipeline: str) -> str:
    """Run a pipeline once, to its end; return the run's id."""
    run_id = server.start_run(pipeline, stages=["fetch"])["run_id"]
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)
    return run_id


@pytest.fixture(scope="module")
def bench(shared_bench):
    return shared_bench


@pytest.fixture(scope="module")
def server(bench):
    server = bench.serve(PIPELINES)
    finished(server, bench, "work")
    finished(server, bench, "other")
    return server


def forms(tag: str, wait: int, *, old: str) -> list[tuple[str, dict | list]]:
    """Every way to say that one has `tag` and waits; `old` is a tag of before."""
    return [
        ("", {"If-None-Match": f'"{tag}"', "Prefer": f"wait={wait}"}),
        ("", {"If-None-Match": f'W/"{tag}"', "Prefer": f"wait={wait}"}),
        ("", {"If-None-Match": f'W/"{old}", "foreign" , "{tag}"', "Prefer": f"respond-async, wait={wait}"}),
        ("", {"If-None-Match": f'"{tag}", W/"{old}"', "Prefer": f'WAIT="{wait}"; x=y, handling=lenient'}),
        ("", [("If-None-Match", f'"{old}"'), ("If-None-Match", f'"{tag}"'), ("Prefer", "respond-async"), ("Prefer", f"wait={wait}")]),
        (f"?wait={wait}", {"If-None-Match": f'"{tag}"'}),
        (f"?after={tag}&wait={wait}", {}),
        (f"?wait={wait}&after={tag}&min={tag}", {"If-None-Match": f'"{old}"'}),
    ]  # fmt: skip


@pytest.mark.rule("H3", "H2")
def test_nothing_new_is_304_after_the_wait_with_a_watermark(server, bench):
    """Each form of the question is parked for N s; the 304 proves the same version and says how far the server's head is."""
    run_id = get(server.http, "/api/pipelines/work/status").json()["run_id"]
    old = server.http.get(f"/api/runs/{run_id}/versions/1").headers["etag"].strip('"')
    paths = ["/api/pipeline/status", "/api/pipelines/work/status", f"/api/runs/{run_id}", "/api/pipelines/work"]
    polls = []
    for number, path in enumerate(paths):
        asked = forms(tag_of(server, path), 1, old=old)
        polls += [
            (path, Poll(server.url + path + query, headers))
            for query, headers in asked[number % 2 :: 2 if number else 1]
        ]
    finished(server, bench, "other")
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    for path, poll in polls:
        answer = poll.answer(304)
        assert 0.95 <= poll.took_s < 1 + LATE_S
        assert answer.content == b""
        there = get(server.http, path)
        for name in ("etag", "repr-digest"):
            assert answer.headers[name] == there.headers[name]
        assert answer.headers["preference-applied"] == "wait=1"
        assert answer.headers["cache-control"] == "no-cache"
        if poll.took_s > 1.2:
            continue  # the machine was too busy to know what came first
        assert order(answer.headers["runstate-position"]) <= order(head)
    marks = {order(poll.answer(304).headers["runstate-position"]) for _, poll in polls}
    assert max(marks) > order(tag_of(server, "/api/pipelines/work/status")), "no watermark moved"


@pytest.mark.rule("H3")
def test_something_newer_is_200_at_once(server):
    """An old tag, a foreign one, one of a smaller epoch, or none: the document comes without any wait."""
    path = "/api/pipelines/work/status"
    now = get(server.http, path)
    tag = now.headers["etag"].strip('"')
    old = later(tag, -1)
    asked = [
        *forms(old, 30, old=later(tag, -2))[:-1],
        ("", {"Prefer": "wait=30"}),
        ("", {"If-None-Match": '"foreign"', "Prefer": "wait=30"}),
        (f"?after={with_epoch(tag, -1)}&wait=30", {}),
        (f"?after={with_epoch(later(tag, 1000), -1)}&wait=30", {}),
        ("", {"If-None-Match": f'"{with_epoch(later(tag, 1000), -1)}"', "Prefer": "wait=30"}),
    ]
    for query, headers in asked:
        begun = time.monotonic()
        answer = server.http.get(path + query, headers=headers)
        assert answer.status_code == 200, (query, headers, answer.text)
        assert time.monotonic() - begun < LATE_S, (query, headers)
        assert answer.content == now.content and answer.headers["preference-applied"] == "wait=30"
        judge_answer(answer)


@pytest.mark.rule("H3")
def test_a_parked_poll_wakes_with_the_commit(server, bench):
    """Eight forms of one question on three paths are all answered as soon as the document moves, with what is new."""
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=run_id)
    held.do("ctx.progress(1)")
    server.wait_run(run_id, lambda document: document["stages"]["fetch"]["progress"] is not None)
    status, run = "/api/pipelines/work/status", f"/api/runs/{run_id}"
    old = server.http.get(f"{run}/versions/1").headers["etag"].strip('"')
    tags = {path: tag_of(server, path) for path in (status, run)}
    polls = [
        Poll(server.url + path + query, headers) for path in tags for query, headers in forms(tags[path], 60, old=old)
    ]
    # Whoever has not been parked by then is answered at once; either way nobody waits.
    held.do("ctx.progress(2, message='new')")
    for poll in polls:
        document = judge_answer(poll.answer(200))
        assert poll.took_s < 30
        assert document["run_id"] == run_id and document["stages"]["fetch"]["progress"]["done"] == 2
    owner = tag_of(server, "/api/pipelines/work")
    held.returns()
    server.wait_over(run_id)
    waiting = [
        Poll(server.url + "/api/pipelines/work?wait=60", {"If-None-Match": f'"{owner}"'}),
        Poll(server.url + f"{status}?wait=60&after={tag_of(server, status)}"),
    ]
    following = server.start_run("work", stages=["fetch"])["run_id"]
    assert waiting[0].answer(200).json()["current_run_id"] == following
    assert waiting[1].answer(200).json()["run_id"] == following, "status follows to the next run"
    bench.puppets.next(run_id=following).returns()
    server.wait_over(following)


@pytest.mark.rule("H3")
def test_a_tag_between_the_document_and_the_head_waits(server, bench):
    """Whoever has seen a later commit of another document is not answered with what it has seen already."""
    path = "/api/pipelines/work/status"
    finished(server, bench, "other")
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    assert order(head) > order(tag_of(server, path))
    asked = [(f"?after={head}&wait=1", {}), ("", {"If-None-Match": f'"{head}"', "Prefer": "wait=1"})]
    for poll in [Poll(server.url + path + query, headers) for query, headers in asked]:
        poll.answer(304)
        assert poll.took_s >= 0.95


@pytest.mark.rule("H3", "H4")
def test_a_tag_later_than_the_head_is_reached_first(server, bench):
    """Like `min`: not reached within 2 s is 503 `behind`; once reached, the poll is parked until its own document moves."""
    path = "/api/pipelines/work/status"
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    ahead = later(head, 10_000)
    larger = with_epoch(head, 1)
    asked = [
        (f"?after={ahead}&wait=1", {}), (f"?after={ahead}&wait=60", {}), (f"?after={ahead}", {}),
        ("", {"If-None-Match": f'"{ahead}"', "Prefer": "wait=60"}), (f"?after={larger}&wait=60", {}),
        ("", {"If-None-Match": f'W/"{larger}"', "Prefer": "wait=60"}),
    ]  # fmt: skip
    polls = [Poll(server.url + path + query, headers) for query, headers in asked]
    for poll, (query, headers) in zip(polls, asked, strict=True):
        problem(poll.answer(503), "behind")
        assert poll.answer(503).headers["retry-after"].isdigit()
        assert 1.0 < poll.took_s < 2 + LATE_S, (query, headers, poll.took_s)
    # Two commits of another pipeline reach the tag; then the document's own commit is what ends the wait.
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    poll = Poll(f"{server.url}{path}?after={later(head, 2)}&wait=60")
    finished(server, bench, "other")
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    assert poll.answer(200).json()["run_id"] == run_id
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)


@pytest.mark.rule("H3")
@pytest.mark.parametrize(("asked", "taken"), [(60, 60), (61, 60), (3600, 60), (999_999_999, 60), (10**12, 60), (0, 0)])
def test_a_wait_is_sixty_seconds_at_most(server, asked, taken):
    """The header says what the server made of it."""
    path = "/api/pipelines/work/status"
    old = later(tag_of(server, path), -1)
    for answer in (
        server.http.get(f"{path}?after={old}&wait={asked}"),
        server.http.get(path, headers={"If-None-Match": f'"{old}"', "Prefer": f"wait={asked}"}),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.headers["preference-applied"] == f"wait={taken}"


@pytest.mark.rule("H3", "H9")
def test_nonsense_is_refused_or_ignored(server):
    """A query that says nothing is 400; a preference that says nothing is no preference (RFC 7240)."""
    path = "/api/pipelines/work/status"
    tag = tag_of(server, path)
    for query in (
        "wait=x",
        "wait=-1",
        "wait=1.5",
        "wait=",
        "after=x",
        "after=",
        f"after={tag}x&wait=1",
        "min=x",
        f"wait=1&wait=1&after={tag}",
        f"after={tag}&after={tag}",
        "Wait=1",
    ):
        problem(server.http.get(f"{path}?{query}"), "bad_query")
    for preference in ("wait=x", "wait", "wait=-1", "waiting=30", "x-wait=30", "respond-async", ""):
        begun = time.monotonic()
        answer = server.http.get(path, headers={"If-None-Match": f'"{tag}"', "Prefer": preference})
        assert answer.status_code == 304 and "preference-applied" not in answer.headers, preference
        assert time.monotonic() - begun < LATE_S


@pytest.mark.rule("H2")
def test_a_tag_without_a_wait_is_answered_at_once(server):
    """The plain conditional GET: weak tags and lists match, `*` matches, others do not; the 304 has the same headers."""
    for path in ("/api/pipelines/work/status", "/api/pipelines/never/status", "/api/pipelines/work"):
        there = get(server.http, path)
        tag = there.headers["etag"]
        for value in (tag, f"W/{tag}", f'"a", {tag}', f'W/"a" , W/{tag},"b"', "*"):
            answer = server.http.get(path, headers={"If-None-Match": value})
            assert answer.status_code == 304 and answer.content == b"", value
            for name in ("etag", "repr-digest", "runstate-position", "cache-control"):
                assert name in answer.headers
            assert answer.headers["etag"] == tag
        for value in ('"a"', tag.strip('"'), f'"{later(tag.strip(chr(34)), 5)}"', 'W/"'):
            assert server.http.get(path, headers={"If-None-Match": value}).content == there.content, value


@pytest.mark.rule("D5", "H3")
def test_waiting_for_the_first_run(server, bench):
    """A pipeline that has never run is polled like any other: its tag is the pipeline document's; the first run ends the wait."""
    path = "/api/pipelines/never/status"
    idle = get(server.http, path)
    document = judge_answer(idle)
    assert (document["run_id"], document["version"], document["state"], document["status"]) == (None, 0, "idle", "idle")
    assert document["trigger"] is None and document["metadata"] == {} and document["updated_at"] is None
    assert {stage["state"] for stage in document["stages"].values()} == {"pending"}
    owner = get(server.http, "/api/pipelines/never")
    assert idle.headers["etag"] == owner.headers["etag"]
    asked = forms(idle.headers["etag"].strip('"'), 1, old=later(idle.headers["etag"].strip('"'), -1))
    for poll in [Poll(server.url + path + query, headers) for query, headers in asked]:
        assert poll.answer(304).headers["etag"] == idle.headers["etag"]
    parked = [
        Poll(server.url + path + query.replace("wait=1", "wait=60"), headers)
        for query, headers in asked
        if not headers or "Prefer" not in dict(headers)
    ]
    run_id = server.start_run("never", stages=["fetch"])["run_id"]
    for poll in parked:
        assert judge_answer(poll.answer(200))["run_id"] == run_id
        assert poll.took_s < 30
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)


@pytest.mark.rule("H4", "C1")
def test_min_is_reached_or_said_to_be_behind(server, bench):
    """A position that was reached, or is within 2 s, is answered from a head that is not older; another is 503 `behind`."""
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    run_id = get(server.http, "/api/pipelines/work/status").json()["run_id"]
    paths = [
        "/api/pipeline/status", "/api/pipelines/work/status", f"/api/runs/{run_id}", "/api/pipelines/work",
        "/api/pipelines", "/api/runs", f"/api/runs/{run_id}/history",
    ]  # fmt: skip
    for path in paths:
        for position in (head, with_epoch(later(head, 10_000), -1), "0-00000000.0"):
            begun = time.monotonic()
            answer = server.http.get(f"{path}?min={position}")
            assert answer.status_code == 200, (path, position, answer.text)
            assert order(answer.headers["runstate-position"]) >= order(head)
            assert time.monotonic() - begun < LATE_S
    far = [
        Poll(f"{server.url}{path}?min={position}")
        for path in paths
        for position in (later(head, 10_000), with_epoch(head, 1))
    ]
    for poll in far:
        problem(poll.answer(503), "behind")
        assert int(poll.answer(503).headers["retry-after"]) >= 0
        assert 1.5 < poll.took_s < 2 + LATE_S
    soon = [Poll(f"{server.url}{path}?min={later(head, 1)}") for path in paths]
    started = server.start_run("third", stages=["fetch"])["run_id"]
    for poll in soon:
        assert order(poll.answer(200).headers["runstate-position"]) > order(head)
    bench.puppets.next(run_id=started).returns()
    server.wait_over(started)


@pytest.mark.rule("H4", "H3")
@pytest.mark.parametrize(
    ("query", "steps"), [("min={}", 2), ("after={}&wait=60", 0), ("after={}&wait=2", 2), ("after={}", 2)]
)
def test_a_run_that_ends_and_is_left_while_a_read_waits(server, bench, query, steps):
    """A read of a run that waits for a position sees the run's end, although the next run has begun by then."""
    first = server.start_run("third", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=first)
    server.wait_state(first, "running_fetch")
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    # The end is head + 1, the next run's first version head + 2.
    poll = Parked(server, f"/api/runs/{first}?{query.format(later(head, steps))}")
    held.returns()
    server.wait_over(first)
    second = server.start_run("third", stages=["fetch"])["run_id"]
    answer, body = poll.answer(200 if "min" in query or steps == 0 else 304)
    there = get(server.http, f"/api/runs/{first}")
    assert there.json()["state"] == "success"
    assert answer.headers["etag"] == there.headers["etag"], "the document is older than the position that was asked for"
    if body:
        assert body == there.content
    bench.puppets.next(run_id=second).returns()
    server.wait_over(second)


@pytest.mark.rule("H3", "H9")
def test_parked_polls_are_told_of_the_end_at_once(bench):
    """SIGTERM: everybody who waits gets 503 `unavailable` now, not in a minute, and the server ends with status 0."""
    server = bench.serve(PIPELINES, data=bench.folder / "ending", name="ending.py")
    run_id = finished(server, bench, "work")
    tag = tag_of(server, "/api/pipeline/status")
    paths = ["/api/pipeline/status", "/api/pipelines/never/status", "/api/pipelines/work", f"/api/runs/{run_id}"]
    asked = [f"{path}?after={tag}&wait=60" for path in paths * 2] + [f"/api/runs?min={later(tag, 99)}"]
    parked = [Parked(server, path) for path in asked]
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for poll in parked:
        answer, body = poll.answer(503)
        assert json.loads(body)["code"] == "unavailable"
        assert answer.headers["retry-after"] and answer.headers["cache-control"] == "no-store"
    assert time.monotonic() - begun < LATE_S
    server.http.close()
    assert server.process.wait(PATIENCE_S) == 0, server.err.lines
