"""A backup is put in the place of its original, at the same address: whoever read before, however they read, ends right.

The original went on after the backup, so positions and versions that readers hold were never those of the copy.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from runstate.client import connect
from tests.acceptance.harness import RUNSTATE, TWO_STAGES
from tests.acceptance.judge import get, order
from tests.acceptance.parked import Parked
from tests.acceptance.puppets import PATIENCE_S
from tests.acceptance.test_resume import Replay, place_of

STATUS = "/api/pipelines/work/status"


def runs_of(view) -> dict[str, dict]:
    return {run_id: json.loads(entry.encoded) for run_id, entry in view.runs.items()}


class Follower(threading.Thread):
    """The Python client: one `watch` that nobody tells of the restore."""

    def __init__(self, url: str, transport: str) -> None:
        super().__init__(daemon=True)
        self._url, self._transport = url, transport
        self._changed = threading.Condition()
        self.views = []
        self.start()

    def run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        async with connect(self._url, transports=(self._transport,)) as client:
            async for view in client.watch("pipeline:work"):
                with self._changed:
                    self.views.append(view)
                    self._changed.notify_all()
                if self.is_over(view):
                    return

    def is_over(self, view) -> bool:
        return any(run["metadata"].get("last") and run["state"] == "success" for run in runs_of(view).values())

    def wait(self, condition):
        """Wait for a view that meets `condition`, and return it."""
        with self._changed:
            found = self._changed.wait_for(lambda: next(filter(condition, self.views), None), PATIENCE_S)
            assert found, f"waited in vain; the last views: {self.views[-2:]}"
            return found


def reach(watch, head: str) -> None:
    """Wait until a stream has brought everything up to `head`."""
    watch.wait(lambda frames: frames[-1].value["type"] != "hello" and order(place_of(frames[-1])) >= order(head))


def finish(server, bench, **metadata) -> str:
    run_id = server.start_run("work", stages=["fetch"], metadata=metadata)["run_id"]
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)
    return run_id


@contextmanager
def restored(server, bench):
    """Back the live server's store up, let the original go on with one run, put the copy in its place and serve it there."""
    copy = bench.folder / "copy"
    done = subprocess.run(
        [str(RUNSTATE), "journal", "backup", str(bench.data), str(copy)], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield
    server.terminate()
    shutil.rmtree(bench.data)
    copy.rename(bench.data)
    server.options = ("--port", str(urlsplit(server.url).port))
    server.restart()


@pytest.mark.rule("V1", "F6", "F7", "H3", "H5", "H9", "F10")
def test_readers_from_before_a_restore_end_right(bench):
    """Poll, long-poll, SSE, WebSocket and the client: each hears of the new epoch and shows the copy's runs, then the next."""
    server = bench.serve(TWO_STAGES)
    kept = finish(server, bench)
    kept_bytes = get(server.http, f"/api/runs/{kept}").content
    modes = ["", "&mode=every", "&delta=1", "&mode=every&delta=1"]
    streams = [
        (getattr(server, kind)(f"?topics=pipeline:work{mode}"), kind, mode) for mode in modes for kind in ("ws", "sse")
    ]
    followers = [Follower(server.url, transport) for transport in ("websocket", "sse", "long-poll")]
    for follower in followers:
        follower.wait(lambda view: kept in view.runs)

    with restored(server, bench):
        lost = finish(server, bench)
        held = get(server.http, STATUS)
        tag, head = held.headers["etag"], held.headers["runstate-position"]
        places = []
        for watch, kind, mode in streams:
            reach(watch, head)
            replay = Replay(every="every" in mode, delta="delta" in mode).take(list(watch.frames), sse=kind == "sse")
            places.append(replay.place)
        for follower in followers:
            follower.wait(lambda view: runs_of(view).get(lost, {}).get("state") == "success")
        parked = Parked(server, f"{STATUS}?wait=60", {"If-None-Match": tag})

    # Whoever was parked was sent away, and whoever asks with what they have is answered at once, not after a wait.
    parked.answer(503)
    for query, headers in [
        ("?wait=60", {"If-None-Match": tag}), (f"?after={head}&wait=60", {}), (f"?after={head}", {}),
        ("", {"If-None-Match": tag}), ("", {"If-None-Match": f'"x", {tag}', "Prefer": "wait=60"}),
        (f"?min={head}", {}),
    ]:  # fmt: skip
        answer = server.http.get(STATUS + query, headers=headers)
        assert (answer.status_code, answer.content) == (200, kept_bytes), (query, headers, answer.text)
        assert order(answer.headers["runstate-position"])[0] > order(head)[0], "a later epoch"
    # What is still the same document is not sent again: with its own tag a poll is parked.
    same = server.http.get(STATUS + "?wait=1", headers={"If-None-Match": answer.headers["etag"]})
    assert same.status_code == 304
    assert server.http.get(f"/api/runs/{lost}").status_code == 404
    assert server.http.get(STATUS, params={"min": answer.headers["runstate-position"]}).status_code == 200

    again = []
    for (_, kind, mode), place in zip(streams, places, strict=True):
        query, headers = f"?topics=pipeline:work{mode}", {"Last-Event-ID": place}
        again.append(server.sse(query, headers) if kind == "sse" else server.ws(f"{query}&resume={place}"))
    # A run that only the original knew: 404, before the upgrade, instead of a silence.
    assert server.http.get("/api/stream", params={"topics": f"run:{lost}"}).status_code == 404
    last = finish(server, bench, last=True)
    final = get(server.http, STATUS).headers["runstate-position"]
    last_bytes = get(server.http, f"/api/runs/{last}").content
    for watch, (_, kind, mode) in zip(again, streams, strict=True):
        reach(watch, final)
        assert watch.frames[1].value["reason"] == "epoch", (kind, mode)
        replay = Replay(every="every" in mode, delta="delta" in mode).take(list(watch.frames), sse=kind == "sse")
        assert {kept: kept_bytes}.items() <= replay.encoded.items() and lost not in replay.encoded
        assert replay.encoded[last] == last_bytes
    for follower in followers:
        follower.join(PATIENCE_S)
        view = follower.views[-1]
        assert view.runs[last].encoded == last_bytes
        assert lost not in view.runs, "a run that the restored store never had is still shown"
        assert order(str(view.position))[0] > order(head)[0]
        epochs = [order(str(view.position))[0] for view in follower.views if view.position is not None]
        assert epochs == sorted(epochs), "a smaller epoch came after a larger (F6)"


@pytest.mark.rule("V1", "C3", "C2")
def test_keys_and_tags_from_before_a_restore(bench):
    """A key that the copy has gives its first answer; one of the lost tail is free; a tag of the lost tail is 412."""
    server = bench.serve(TWO_STAGES)
    start = "/api/pipelines/work/start"
    first = server.http.post(start, json={"stages": ["fetch"]}, headers={"Idempotency-Key": "kept"})
    bench.puppets.next(run_id=first.json()["run_id"]).returns()
    server.wait_over(first.json()["run_id"])
    with restored(server, bench):
        lost = server.http.post(start, json={"stages": ["fetch"]}, headers={"Idempotency-Key": "lost"})
        bench.puppets.next(run_id=lost.json()["run_id"]).returns()
        server.wait_over(lost.json()["run_id"])
        tag = get(server.http, STATUS).headers["etag"]
    again = server.http.post(start, json={"stages": ["fetch"]}, headers={"Idempotency-Key": "kept"})
    assert (again.status_code, again.content, again.headers["etag"]) == (202, first.content, first.headers["etag"])
    late = server.http.post(start, json={"stages": ["fetch"]}, headers={"If-Match": tag})
    assert late.status_code == 412
    assert json.loads(late.content)["document"]["run_id"] == first.json()["run_id"]
    once_more = server.http.post(start, json={"stages": ["fetch"]}, headers={"Idempotency-Key": "lost"})
    assert once_more.status_code == 202 and once_more.json()["run_id"] != lost.json()["run_id"]
    bench.puppets.next(run_id=once_more.json()["run_id"]).returns()
    server.wait_over(once_more.json()["run_id"])
