"""Compaction beside the traffic, with readers attached: what goes is announced, what stays is the same, nobody is disturbed."""

from __future__ import annotations

import pytest

from tests.acceptance.judge import get, sha
from tests.acceptance.test_resume import BUSY, Replay, enough, flood, head_of, later

KEEP = 50


@pytest.fixture
def server(bench):
    return bench.serve(BUSY)


def compact(server, **keep) -> dict:
    answer = server.http.post("/api/journal/compact", json=keep)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.rule("H5", "H6", "F2", "F6", "F8", "C3")
def test_attached_readers_do_not_notice_and_late_ones_are_told(bench, server):
    """While hundreds of versions go and come: attached readers have every version, the floor only rises, and below it is 410."""
    watches = [
        (getattr(server, kind)(f"?topics=pipeline:busy{mode}"), kind, mode)
        for mode in ("", "&mode=every", "&mode=every&delta=1")
        for kind in ("ws", "sse")
    ]
    for watch, _, _ in watches:
        watch.wait_type("snapshot")
    begin = head_of(server)
    # Its answer is longer kept than any version.
    body = {"metadata": {"size": 50, "pace_s": 0.002, "most": 100_000}}
    key = {"Idempotency-Key": "flood"}
    first = server.http.post("/api/pipelines/busy/start", json=body, headers=key)
    run_id = first.json()["run_id"]
    floors, kept = [], {}
    for number in range(1, 5):
        server.wait_run(run_id, lambda document, number=number: document["version"] > 150 * number)
        done = compact(server, keep_versions=KEEP)
        page = get(server.http, f"/api/runs/{run_id}/history?limit=1000").json()
        floors.append(page["floor"])
        assert page["commits"][0]["version"] == page["floor"], "the history begins at its floor"
        assert done["versions"] > 0 and done["damaged"] == 0
        for version in (1, page["floor"] - 1):
            gone = server.http.get(f"/api/runs/{run_id}/versions/{version}")
            assert (gone.status_code, gone.json()["code"]) == (410, "compacted")
            assert gone.headers["content-type"] == "application/problem+json"
        # `after` below the floor starts at the floor.
        low = get(server.http, f"/api/runs/{run_id}/history?after=1&limit=1").json()
        assert low["commits"][0]["version"] == low["floor"] == page["floor"]
        kept |= {(run_id, commit["version"]): commit["digest"] for commit in page["commits"]}
    assert floors == sorted(set(floors)) and floors[0] > 50, "a floor that does not move is no compaction"
    over = enough(bench, server, run_id)
    head = over["version"]
    replays = []
    for watch, kind, mode in watches:
        watch.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames[-3:]))
        replay = Replay(every="every" in mode, delta="delta" in mode).take(list(watch.frames), sse=kind == "sse")
        assert replay.codes == [] and [f.value["type"] for f in watch.frames].count("snapshot") == 1, (kind, mode)
        if replay.every:
            assert replay.seen[run_id] == list(range(1, head + 1)), (kind, mode)
        assert {name: sha(body) for name, body in replay.bodies.items() if name in kept} == {
            name: digest for name, digest in kept.items() if name in replay.bodies
        }
        replays.append(replay)
    again = server.http.post("/api/pipelines/busy/start", json=body, headers=key)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"]), (
        "the answer outlives version 1"
    )
    # A restart forgets what memory still had of the latest commits: then a late reader of each version is told.
    server.terminate()
    server.restart()
    late = server.ws(f"?topics=pipeline:busy&mode=every&resume={later(begin, 1)}")
    assert late.wait_type("snapshot")["reason"] == "compacted"
    plain = server.ws(f"?topics=pipeline:busy&resume={later(begin, 1)}")
    plain.wait(lambda frames: len(frames) > 1)
    assert plain.frames[1].value["type"] == "transition", "a reader of the latest needs no log (F6)"
    assert (
        Replay(later(begin, 1)).take(list(plain.frames)).encoded[run_id]
        == get(server.http, f"/api/runs/{run_id}").content
    )
    for watch in (late, plain):
        watch.close()
    server.terminate()  # history was thinned, so the bench has nothing to judge


@pytest.mark.rule("H5", "H6")
@pytest.mark.parametrize(("option", "left"), [(("--keep-versions", "3"), 3), (("--keep-days", "0"), 1)])
def test_settings_thin_history_by_themselves(bench, option, left):
    """`--keep-versions` and `--keep-days`: at the next start what they give up has gone; the latest version always stays."""
    server = bench.serve(BUSY)
    run_id = flood(server, most=20)
    over = server.wait_over(run_id)
    latest = get(server.http, f"/api/runs/{run_id}").content
    assert get(server.http, f"/api/runs/{run_id}/history").json()["floor"] == 1
    server.terminate()
    server.options = option
    server.restart()

    def floor() -> int:
        return get(server.http, f"/api/runs/{run_id}/history").json()["floor"]

    with server.ws() as watch:  # its heartbeats are the pace of asking
        for _ in range(6):
            if floor() > 1:
                break
            number = len(watch.frames)
            watch.wait(lambda frames, number=number: len(frames) > number)
    assert floor() == over["version"] - left + 1
    assert get(server.http, f"/api/runs/{run_id}").content == latest
    assert get(server.http, f"/api/runs/{run_id}/versions/{over['version']}").content == latest
    assert server.http.get(f"/api/runs/{run_id}/versions/{over['version'] - left}").status_code == 410
    server.terminate()
