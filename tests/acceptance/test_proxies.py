"""What stands between readers and the server: proxies that compress, weaken or drop tags, hold bytes back, cut links.

No reader may lose anything to them: a poller with a weak tag still gets its 304, a reader that was cut resumes.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidMessage

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_run, order
from tests.acceptance.puppets import PATIENCE_S
from tests.acceptance.test_resume import Replay, compare
from tests.acceptance.watching import SseWatch, WsWatch

PIPELINES = (
    TWO_STAGES
    + """
busy = Pipeline("busy", progress_interval_s=0)

@busy.stage
async def flood(ctx):
    done = 0
    while not (ctx.workdir / "enough").exists():
        done += 1
        ctx.progress(done, message="x" * 300)
        await asyncio.sleep(0.003)
    return {"done": done}
"""
)


class HttpProxy:
    """Forwards GETs one by one, as a reverse proxy that means well does: compressed, and so with another tag."""

    def __init__(self, url: str, *, tag: str) -> None:
        proxy = self
        self.passed: list[tuple[str, int]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                names = ("If-None-Match", "Prefer", "Last-Event-ID", "Accept")
                headers = {name: self.headers[name] for name in names if name in self.headers}
                answer = httpx.get(url + self.path, headers=headers, timeout=PATIENCE_S, trust_env=False)
                proxy.passed.append((self.path, answer.status_code))
                body = gzip.compress(answer.content) if answer.content else b""
                self.send_response_only(answer.status_code)
                for name, value in answer.headers.items():
                    if name == "etag":
                        value = {"weak": f"W/{value}", "none": "", "strong": value}[tag]
                    if value and name not in ("content-length", "connection", "date"):
                        self.send_header(name, value)
                if body:
                    self.send_header("Content-Encoding", "gzip")
                if answer.status_code != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)


class LinkProxy:
    """Passes bytes, and does with those to the reader what it was told."""

    def __init__(self, url: str, *, hold: int = 0, cut=None) -> None:
        """Listen.

        Args:
            hold: Bytes are passed on only in pieces of this size.
            cut: Called for each link; returns after how many bytes to the reader it is cut.
        """
        self._where = urlsplit(url)
        self._hold, self._cut = hold, cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.links = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._where.hostname, self._where.port), timeout=PATIENCE_S)
                self.links += 1
                both = (near, far)
                for target, link in ((self._up, both), (self._down, both)):
                    self._threads.append(threading.Thread(target=target, args=link, daemon=True))
                    self._threads[-1].start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := near.recv(65536):
                far.sendall(piece)
        for each in (near, far):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        left = self._cut() if self._cut else None
        held = b""
        with contextlib.suppress(OSError):
            while piece := far.recv(65536):
                held += piece
                ready, held = (
                    (held, b"")
                    if not self._hold
                    else (held[: len(held) // self._hold * self._hold], held[len(held) // self._hold * self._hold :])
                )
                if left is not None:
                    ready, left = ready[:left], left - len(ready)
                near.sendall(ready)
                if left is not None and left <= 0:
                    break
        for each in (near, far):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        near.close()
        far.close()


@pytest.fixture(scope="module")
def bench(shared_bench):
    return shared_bench


@pytest.fixture(scope="module")
def server(bench):
    return bench.serve(PIPELINES)


def enough(bench, server, run_id: str) -> dict:
    (bench.data / "work" / run_id / "enough").touch()
    return server.wait_over(run_id)


@pytest.mark.rule("H2", "H3")
@pytest.mark.parametrize("tag", ["weak", "none", "strong"])
def test_a_poller_behind_a_proxy_that_compresses(server, bench, tag):
    """The tag is weak, gone, or strong on other bytes: the poller still gets 304, waits, wakes, and sees the digest's bytes."""
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next(run_id=run_id)
    server.wait_state(run_id, "running_fetch")
    with (
        HttpProxy(server.url, tag=tag) as proxy,
        httpx.Client(base_url=proxy.url, timeout=PATIENCE_S, trust_env=False) as http,
    ):
        path, versions = "/api/pipeline/status", []
        answer = http.get(path)
        for number in range(6):
            document = judge_run(answer.content)
            versions.append(document["version"])
            assert answer.headers["content-encoding"] == "gzip"
            there = get(server.http, path)
            assert answer.content == there.content and answer.headers["repr-digest"] == there.headers["repr-digest"]
            # Without a tag, the watermark says as well how far the reader is.
            mark = answer.headers["runstate-position"]
            if tag == "none":
                assert "etag" not in answer.headers
                ask = {"url": f"{path}?after={mark}", "headers": {}}
            else:
                ask = {"url": path, "headers": {"If-None-Match": answer.headers["etag"]}}
            same = http.get(**ask)
            assert same.status_code == 304 and order(same.headers["runstate-position"]) >= order(mark)
            held.do(f"ctx.progress({number})") if number < 5 else held.returns()
            ask["headers"]["Prefer"] = "wait=30"
            begun = time.monotonic()
            answer = http.get(**ask)
            assert answer.status_code == 200 and time.monotonic() - begun < 20
        assert versions == sorted(set(versions))
        assert judge_run(answer.content)["state"] == "success" or judge_run(answer.content)["version"] > versions[-1]
    server.wait_over(run_id)


@pytest.mark.rule("F6", "F7", "F8")
@pytest.mark.parametrize("kind", ["ws", "sse"])
def test_links_cut_after_some_bytes(server, bench, kind):
    """A proxy that cuts each link after a random number of bytes, in the middle of frames: every version, once, in order."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    run_id = server.start_run("busy")["run_id"]
    replay, resume, links = Replay(every=True), {}, 0
    with LinkProxy(server.url, cut=lambda: chance.randrange(200, 90_000)) as proxy:
        while links < 15:
            links += 1
            query = f"?mode=every&topics=run:{run_id}" + (
                f"&resume={replay.place}" if replay.place and kind == "ws" else ""
            )
            try:
                if kind == "ws":
                    watch = WsWatch(proxy.url.replace("http", "ws") + "/api/ws" + query)
                else:
                    watch = SseWatch(proxy.url + "/api/stream" + query, resume)
            except (OSError, InvalidMessage, httpx.HTTPError, EOFError):
                continue  # cut within the handshake
            watch.wait_end()
            watch.close()
            if watch.frames:
                replay.take(watch.frames, sse=kind == "sse")
            if replay.place:
                resume = {"Last-Event-ID": replay.place}
    over = enough(bench, server, run_id)
    with server.ws(f"?mode=every&topics=run:{run_id}" + (f"&resume={replay.place}" if replay.place else "")) as watch:
        watch.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames[-1:]))
    replay.take(watch.frames)
    versions = replay.seen[run_id]
    assert versions == list(range(versions[0], over["version"] + 1))
    compare(server, run_id, replay)


@pytest.mark.rule("F7", "F3", "F13")
def test_a_proxy_that_holds_events_back(server, bench):
    """SSE in pieces of 4 KiB: late and never wrong; what is stuck in the proxy at the end comes by a resume, or by a poll."""
    run_id = server.start_run("busy")["run_id"]
    with LinkProxy(server.url, hold=4096) as proxy:
        watch = SseWatch(proxy.url + f"/api/stream?mode=every&topics=run:{run_id}")
        watch.wait(lambda frames: len(frames) > 100)
        over = enough(bench, server, run_id)
        assert watch.frames[-1].value["position" if watch.frames[-1].value["type"] == "snapshot" else "to"]
        watch.close()
        whole = [frame for frame in watch.frames if frame.value]
        replay = Replay(every=True).take(whole, sse=True)
        assert replay.seen[run_id][-1] <= over["version"]
    with server.sse(f"?mode=every&topics=run:{run_id}", {"Last-Event-ID": replay.place}) as rest:
        if replay.seen[run_id][-1] < over["version"]:
            rest.wait(lambda frames: any('"new_state":"success"' in frame.text for frame in frames[-1:]))
            replay.take(rest.frames, sse=True)
    assert replay.seen[run_id] == list(range(replay.seen[run_id][0], over["version"] + 1))
    with HttpProxy(server.url, tag="weak") as proxy:
        polled = httpx.get(f"{proxy.url}/api/runs/{run_id}?min={replay.place}", timeout=PATIENCE_S, trust_env=False)
    assert polled.content == replay.encoded[run_id]


@pytest.mark.rule("H2", "H3", "H5")
def test_what_a_cache_may_keep(server, bench):
    """A cache that obeys `Cache-Control` never answers for a document that moves; versions may be kept for ever, errors never."""
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    bench.puppets.next(run_id=run_id).returns()
    server.wait_over(run_id)
    for path in (
        "/api/pipeline/status",
        f"/api/runs/{run_id}",
        "/api/pipelines",
        "/api/runs",
        f"/api/runs/{run_id}/history",
        "/api/pipelines/work",
    ):
        assert get(server.http, path).headers["cache-control"] in ("no-cache", "no-store"), path
    assert "immutable" in get(server.http, f"/api/runs/{run_id}/versions/1").headers["cache-control"]
    for path in (f"/api/runs/{run_id}/versions/99", "/api/runs/none", "/api/runs?x=1"):
        assert server.http.get(path).headers["cache-control"] == "no-store"
    with contextlib.closing(SseWatch(server.url + "/api/stream")) as watch:
        assert (
            watch.response.headers["cache-control"] in ("no-store", "no-cache")
            and watch.response.headers["x-accel-buffering"] == "no"
        )
        assert json.loads(watch.wait_type("hello") and watch.frames[0].text)["protocol"] == 1
