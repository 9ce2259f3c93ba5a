"""Commands that happen once: `If-Match` lets one of many win, `Idempotency-Key` gives a repeated command its first answer.

Longer than other files: one rule's cases stand together.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_run
from tests.acceptance.puppets import PATIENCE_S
from tests.acceptance.test_full_disk import Full, disk  # noqa: F401 - a fixture

PIPELINES = TWO_STAGES + "".join(TWO_STAGES.replace("work", name) for name in ("other", "third", "fourth", "virgin"))
START, STATUS = "/api/pipelines/{}/start", "/api/pipelines/{}/status"
AT_ONCE = 8


@pytest.fixture(scope="module")
def bench(shared_bench):
    return shared_bench


@pytest.fixture(scope="module")
def server(bench):
    return bench.serve(PIPELINES)


def head_of(server) -> str:
    return get(server.http, "/api/pipelines").headers["runstate-position"]


def tag_of(server, path: str) -> str:
    return get(server.http, path).headers["etag"]


def revision(tag: str, by: int) -> str:
    epoch, _, number = tag.strip('"').rpartition(".")
    return f'"{epoch}.{int(number) + by}"'


def run_through(server, bench, pipeline: str, **headers: str) -> str:
    answer = server.http.post(START.format(pipeline), json={"stages": ["fetch"]}, headers=headers)
    assert answer.status_code == 202, answer.text
    run_id = answer.json()["run_id"]
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)
    return run_id


def at_once(url: str, path: str, bodies: list, headers: list[dict]) -> list[httpx.Response]:
    """Post from as many connections at the same moment."""
    gate = Barrier(len(bodies))

    def post(body, extra) -> httpx.Response:
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http:
            get(http, "/health")
            gate.wait()
            return http.post(path, json=body, headers=extra)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(post, bodies, headers))


def accepted(answer: httpx.Response) -> tuple[int, bytes, str, str, str]:
    """Return what C3 keeps of an answer, checked against C1 and H2."""
    assert answer.status_code == 202, answer.text
    judge_run(answer.content)
    assert answer.headers["etag"] == f'"{answer.headers["runstate-position"]}"'
    return (
        answer.status_code, answer.content, answer.headers["etag"], answer.headers["runstate-position"],
        answer.headers["repr-digest"],
    )  # fmt: skip


def refused(answer: httpx.Response, status: int, code: str) -> dict:
    assert answer.status_code == status, answer.text
    assert (
        answer.headers["content-type"] == "application/problem+json" and "no-store" in answer.headers["cache-control"]
    )
    assert answer.json()["code"] == code
    return answer.json()


# C2


@pytest.mark.rule("C2")
def test_a_document_that_moved_is_412_with_what_it_is_now(server, bench):
    """Stop, start and retry with an old tag, a foreign, a weak or no tag at all: the current document, and nothing changes."""
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=run_id)
    server.wait_state(run_id, "running_fetch")
    run = f"/api/runs/{run_id}"
    now = tag_of(server, run)
    never = [revision(now, -100), revision(now, 1), '"x"', f"W/{now}", now.strip('"'), "", f'W/{now}, "a"', '""', "x"]
    paths = [f"{run}/stop", f"{run}/retry", START.format("work"), "/api/pipeline/stop", "/api/pipeline/start"]
    before = head_of(server)
    for path in paths:
        for value in never:
            problem = refused(server.http.post(path, headers={"If-Match": value}), 412, "conflict")
            assert problem["document"] == server.run(run_id), (path, value)
            assert (
                json.dumps(problem["document"])
                and get(server.http, run).content in server.http.post(path, headers={"If-Match": value}).content
            )
    assert head_of(server) == before
    held.returns()
    server.wait_over(run_id)
    for path in (f"{run}/stop", f"{run}/retry"):
        refused(server.http.post(path, headers={"If-Match": now}), 412, "conflict")
        refused(server.http.post(path, headers={"If-Match": tag_of(server, run)}), 409, "not_allowed")


@pytest.mark.rule("C2")
@pytest.mark.parametrize("form", ["{}", '"x", {}', 'W/"x",{}', '{}  ,  "y"', "*"])
def test_a_tag_that_matches_lets_the_command_through(server, bench, form):
    """Alone, in a list, or `*`: start by the status tag, stop by the run's."""
    for path in (STATUS.format("work"), "/api/pipelines/work"):
        value = form.format(tag_of(server, path))
        answer = server.http.post(START.format("work"), headers={"If-Match": value}, json={"stages": ["fetch"]})
        accepted(answer)
        run_id = answer.json()["run_id"]
        bench.puppets.next(run_id=run_id)
        server.wait_state(run_id, "running_fetch")
        stop = server.http.post(
            f"/api/runs/{run_id}/stop", headers={"If-Match": form.format(tag_of(server, f"/api/runs/{run_id}"))}
        )
        accepted(stop)
        assert server.wait_over(run_id)["state"] == "stopped"


@pytest.mark.rule("C2")
def test_tags_on_several_lines_are_one_list(server, bench):
    """A list field may be split (RFC 9110 5.3); the tag that matches may stand on the second line."""
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next(run_id=run_id)
    server.wait_state(run_id, "running_fetch")
    lines = [("If-Match", '"x"'), ("If-Match", tag_of(server, f"/api/runs/{run_id}"))]
    accepted(server.http.post(f"/api/runs/{run_id}/stop", headers=lines))
    server.wait_over(run_id)


@pytest.mark.rule("C2", "D5")
def test_the_first_run_is_started_by_the_tag_of_the_idle_document(server, bench):
    """The tag that a poll of a pipeline that has never run shows is good for one start."""
    tag = tag_of(server, STATUS.format("virgin"))
    assert tag == tag_of(server, "/api/pipelines/virgin")
    problem = refused(
        server.http.post(START.format("virgin"), headers={"If-Match": revision(tag, -1)}), 412, "conflict"
    )
    assert problem["document"]["version"] == 0 or problem["document"]["pipeline"] == "virgin"
    first = server.http.post(START.format("virgin"), headers={"If-Match": tag}, json={"stages": ["fetch"]})
    accepted(first)
    second = server.http.post(START.format("virgin"), headers={"If-Match": tag})
    assert refused(second, 412, "conflict")["document"]["run_id"] == first.json()["run_id"]
    bench.puppets.next(run_id=first.json()["run_id"]).returns()
    server.wait_over(first.json()["run_id"])


@pytest.mark.rule("C2", "C4")
@pytest.mark.parametrize("command", ["start", "stop", "retry"])
def test_of_commands_with_one_tag_one_wins(server, bench, command):
    """Eight at once with the same tag: one 202, seven 412 with a document at which the winner is seen."""
    run_id = server.start_run("other", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=run_id)
    server.wait_state(run_id, "running_fetch")
    path = f"/api/runs/{run_id}/{command}"
    if command == "start":
        held.returns()
        server.wait_over(run_id)
        path = START.format("other")
    elif command == "retry":
        held.raises("ValueError('x')")
        server.wait_over(run_id)
    tag = tag_of(server, STATUS.format("other"))
    answers = at_once(server.url, path, [{}] * AT_ONCE, [{"If-Match": tag}] * AT_ONCE)
    winners = [answer for answer in answers if answer.status_code == 202]
    assert len(winners) == 1, [answer.text[:200] for answer in answers]
    accepted(winners[0])
    for answer in answers:
        if answer is not winners[0]:
            shown = refused(answer, 412, "conflict")["document"]
            assert shown["run_id"] == winners[0].json()["run_id"] and shown["version"] >= winners[0].json()["version"]
    winner = winners[0].json()["run_id"]
    if command != "stop":
        bench.puppets.next(run_id=winner)
        server.stop_run(winner)
    server.wait_over(winner)


# C3


@pytest.mark.rule("C3", "V5")
def test_the_first_answer_is_given_again_whatever_has_happened_since(bench):
    """After many commits, the run's end, `kill -9` and a restart: the same bytes, tag and position; nothing runs twice."""
    server = bench.serve(PIPELINES, data=bench.folder / "restarted", name="restarted.py")
    key, body = {"Idempotency-Key": "k" * 255}, {"metadata": {"b": [1, 2.5, "é\u2028"], "a": {}}, "stages": ["crunch"]}
    first = server.http.post(START.format("work"), json=body, headers=key)
    kept = {START.format("work"): (body, accepted(first))}
    run_id = first.json()["run_id"]
    held = bench.puppets.next(run_id=run_id)
    stop = {"reason": "enough"}
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    for number in range(50):
        held.do(f"ctx.progress({number})")
    assert accepted(server.http.post(START.format("work"), json=body, headers=key)) == kept[START.format("work")][1]
    # A stop, and a second stop with a key of its own, which changes nothing and so has no commit.
    path = f"/api/runs/{run_id}/stop"
    kept[path] = stop, accepted(server.http.post(path, json=stop, headers=key))
    second = {"Idempotency-Key": "second"}
    again = accepted(server.http.post(path, json={}, headers=second))
    assert json.loads(again[1])["stop_requested"]["reason"] == "enough"
    held.returns()
    server.wait_over(run_id)
    retried = f"/api/runs/{run_id}/retry"
    kept[retried] = {}, accepted(server.http.post(retried, json={}, headers=key))
    bench.puppets.next(run_id=run_id, attempt=2).returns()
    server.wait_over(run_id)
    for _ in range(3):
        run_through(server, bench, "work")
        run_through(server, bench, "other")
    for ends in (None, server.kill, server.terminate):
        if ends is not None:
            ends()
            server.restart()
        before = head_of(server)
        for path, (body, answer) in kept.items():
            assert accepted(server.http.post(path, json=body, headers=key)) == answer, path
            # The key is looked up before C2.
            assert accepted(server.http.post(path, json=body, headers=key | {"If-Match": '"x"'})) == answer, path
        assert accepted(server.http.post(f"/api/runs/{run_id}/stop", json={}, headers=second)) == again
        assert head_of(server) == before
    assert len(get(server.http, "/api/runs?pipeline=work").json()["runs"]) == 4
    assert bench.puppets.nobody()


@pytest.mark.rule("C3")
def test_equal_json_is_the_same_body_and_no_other(server, bench):
    """1 and 1.0, the order of members, white space and escapes make no difference; another value is 422."""
    path, key = START.format("third"), {"Idempotency-Key": "body", "Content-Type": "application/json"}
    body = b'{"metadata":{"a":1,"b":[1.5,-0.0,1e2,"\\u00e9"],"c":null},"stages":["fetch"]}'
    first = accepted(server.http.post(path, content=body, headers=key))
    run_id = json.loads(first[1])["run_id"]
    same = [
        b' { "stages" : ["fetch"], "metadata": {"c":null, "b":[15e-1,0,100,"\xc3\xa9"], "a":1.0 }}\n',
        b'{"metadata":{"a":1e0,"b":[1.50,0.0,100.0,"\\u00E9"],"c":null},"stages":["fetch"]}',
    ]
    other = [
        b'{"metadata":{"a":2,"b":[1.5,0,100,"\xc3\xa9"],"c":null},"stages":["fetch"]}',
        b'{"metadata":{"a":true,"b":[1.5,0,100,"\xc3\xa9"],"c":null},"stages":["fetch"]}',
        b'{"metadata":{"a":"1","b":[1.5,0,100,"\xc3\xa9"],"c":null},"stages":["fetch"]}',
        b'{"metadata":{"a":1,"b":[1.5,0,100,"e\\u0301"],"c":null},"stages":["fetch"]}',
        b'{"metadata":{"a":1,"b":[0,1.5,100,"\xc3\xa9"],"c":null},"stages":["fetch"]}',
        b'{"metadata":{"a":1,"b":[1.5,0,100,"\xc3\xa9"]},"stages":["fetch"]}',
        b'{"metadata":{"a":1,"b":[1.5,0,100,"\xc3\xa9"],"c":null},"stages":["fetch"],"override":false}', b"{}", b"",
    ]  # fmt: skip
    for content in same:
        assert accepted(server.http.post(path, content=content, headers=key)) == first, content
    for content in other:
        refused(server.http.post(path, content=content, headers=key), 422, "invalid")
    assert accepted(server.http.post(path, content=body, headers=key)) == first, "a refusal took its place"
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)
    stop = f"/api/runs/{server.start_run('third', stages=['fetch'])['run_id']}/stop"
    bench.puppets.next("fetch")
    empty = accepted(server.http.post(stop, headers={"Idempotency-Key": "empty"}))
    assert accepted(server.http.post(stop, headers={"Idempotency-Key": "empty"}, json={})) == empty, (
        "an empty body is {}"
    )
    server.wait_over(stop.split("/")[3])


@pytest.mark.rule("C3")
def test_twins_in_flight_are_one_command(server, bench):
    """Eight at once with one key: one run, and every answer is the same; with eight bodies, one wins and seven are 422."""
    key = {"Idempotency-Key": "twins"}
    answers = at_once(server.url, START.format("third"), [{"stages": ["fetch"]}] * AT_ONCE, [key] * AT_ONCE)
    assert len({accepted(answer) for answer in answers}) == 1
    run_id = answers[0].json()["run_id"]
    bench.puppets.next(run_id=run_id)
    stops = at_once(
        server.url, f"/api/runs/{run_id}/stop", [{"reason": str(n)} for n in range(AT_ONCE)], [key] * AT_ONCE
    )
    assert sorted(answer.status_code for answer in stops) == [202] + [422] * (AT_ONCE - 1)
    server.wait_over(run_id)
    # A crowd of keys, each several times: each key's answers are equal, and one key has the run.
    headers = [{"Idempotency-Key": f"crowd {number % 3}"} for number in range(9)]
    crowd = at_once(server.url, START.format("third"), [{"stages": ["fetch"]}] * 9, headers)
    by_key = [{(a.status_code, a.content if a.status_code == 202 else b"") for a in crowd[n::3]} for n in range(3)]
    assert sorted(len(found) for found in by_key) == [1, 1, 1]
    assert sorted(status for found in by_key for status, _ in found) == [202, 409, 409]
    winner = next(answer.json()["run_id"] for answer in crowd if answer.status_code == 202)
    bench.puppets.next(run_id=winner).returns()
    server.wait_over(winner)
    assert bench.puppets.nobody()


@pytest.mark.rule("C3")
def test_refusals_are_not_kept(server, bench):
    """412, 409, 422 and 404 leave the key as it was: the same key does the command once nothing is in its way."""
    path, key = START.format("fourth"), {"Idempotency-Key": "refused"}
    refused(server.http.post(path, json={}, headers=key | {"If-Match": '"x"'}), 412, "conflict")
    refused(server.http.post(path, json={"stages": ["nothing"]}, headers=key), 422, "invalid")
    refused(server.http.post(path, json={"unknown": 1}, headers=key), 422, "invalid")
    refused(server.http.post(START.format("nobody"), json={}, headers=key), 404, "not_found")
    running = server.start_run("fourth", stages=["fetch"])["run_id"]
    refused(server.http.post(path, json={"stages": ["fetch"]}, headers=key), 409, "already_running")
    bench.puppets.next(run_id=running).raises("ValueError('x')")
    server.wait_over(running)
    accepted(server.http.post(f"/api/runs/{running}/retry", headers=key))
    bench.puppets.next(run_id=running).returns()
    server.wait_over(running)
    answer = server.http.post(path, json={"stages": ["fetch"]}, headers=key)
    accepted(answer)
    refused(server.http.post(f"/api/runs/{running}/stop", headers=key), 409, "not_allowed")
    bench.puppets.next(run_id=answer.json()["run_id"]).returns()
    server.wait_over(answer.json()["run_id"])


@pytest.mark.rule("C3")
def test_a_key_belongs_to_its_path(server, bench):
    """The same key and body on another path is another command; on the run that it named, another command again."""
    key = {"Idempotency-Key": "path"}
    runs = [
        server.http.post(START.format(name), json={"stages": ["fetch"]}, headers=key) for name in ("third", "fourth")
    ]
    assert len({accepted(answer)[1] for answer in runs}) == 2
    for answer in runs:
        stop = server.http.post(f"/api/runs/{answer.json()['run_id']}/stop", json={}, headers=key)
        assert json.loads(accepted(stop)[1])["stop_requested"] is not None
        server.wait_over(answer.json()["run_id"])


@pytest.mark.rule("C3", "C7")
def test_a_key_has_limits(server, bench):
    """Too long or empty is 422; 255 characters and anything printable are a key; reads do not care."""
    path = START.format("fourth")
    for key in ("", "k" * 256, "k" * 5000):
        refused(server.http.post(path, json={"stages": ["fetch"]}, headers={"Idempotency-Key": key}), 422, "invalid")
    for key in ("x" * 255, '"quoted"', "a b;c=d", b"\xe9t\xe9"):
        first = server.http.post(path, json={"stages": ["fetch"]}, headers={"Idempotency-Key": key})
        accepted(first)
        assert accepted(
            server.http.post(path, json={"stages": ["fetch"]}, headers={"Idempotency-Key": key})
        ) == accepted(first)
        bench.puppets.next(run_id=first.json()["run_id"]).returns()
        server.wait_over(first.json()["run_id"])
    assert server.http.get(STATUS.format("fourth"), headers={"Idempotency-Key": ""}).status_code == 200


@pytest.mark.rule("C3", "C5")
def test_a_key_of_the_current_run_s_alias_keeps_its_run(server, bench):
    """`POST /api/pipeline/stop` with a key answers for the run that it stopped, also when another one is current."""
    first = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next(run_id=first)
    key = {"Idempotency-Key": "alias"}
    answer = accepted(server.http.post("/api/pipeline/stop", json={}, headers=key))
    server.wait_over(first)
    second = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=second)
    assert accepted(server.http.post("/api/pipeline/stop", json={}, headers=key)) == answer
    assert server.run(second)["stop_requested"] is None
    held.returns()
    assert server.wait_over(second)["state"] == "success"


@pytest.mark.rule("C3", "H10", "V5")
def test_a_key_whose_commit_the_disk_refused_is_not_kept(bench_of_its_own, disk):  # noqa: F811
    """A start that was answered 503 is not answered 202 later, unless its run is there for everybody to see."""
    bench = bench_of_its_own
    server = bench.serve(PIPELINES, data=disk / "data")
    run_through(server, bench, "work")
    watch = server.ws()
    free, statuses = ["virgin", "fourth", "third", "other", "work"], []
    body = {"stages": ["fetch"], "metadata": {"x": "x" * 200_000}}
    with Full(disk):
        while os.statvfs(disk).f_bfree:
            pass
        # The first whose commit fails under way has its second one answered while the server knows of the trouble.
        for number in range(300):
            key = {"Idempotency-Key": f"full {number}"}
            for _ in range(3):
                answer = server.http.post(START.format(free[-1]), json=body, headers=key)
                statuses.append(answer.status_code)
                assert answer.status_code in (202, 503), answer.text
                if answer.status_code == 202:
                    shown = server.http.get(f"/api/runs/{answer.json()['run_id']}")
                    assert shown.status_code == 200, "202 for a run that is not there"
                    free.pop()
                    break
            if not free or statuses.count(503) > 200:
                break
    assert 503 in statuses, "the disk was never full"
    # It heals; then each key means what it should.
    watch.wait(lambda _: server.http.get("/ready").status_code == 200)
    for run in get(server.http, "/api/runs").json()["runs"]:
        server.http.post(f"/api/runs/{run['run_id']}/stop")
        server.wait_over(run["run_id"])


@pytest.fixture
def bench_of_its_own(tmp_path, request):
    from tests.acceptance.conftest import working

    with working(tmp_path, request) as bench:
        yield bench
