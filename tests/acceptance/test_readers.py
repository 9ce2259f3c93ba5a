"""Readers in a flood: late, slow, silent and many; none disturbs another (F8)."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import psutil
import pytest

from tests.acceptance.harness import TWO_STAGES
from tests.acceptance.judge import get, judge_history, judge_stream

PIPELINES = TWO_STAGES + TWO_STAGES.replace("work", "other")

BUSY = (
    TWO_STAGES
    + """
busy = Pipeline("busy", progress_interval_s=0)

@busy.stage
async def flood(ctx):
    (ctx.workdir / "begun").touch()
    done = 0
    while not (ctx.workdir / "enough").exists():
        done += 1
        ctx.progress(done, message="x" * 2000)
        await asyncio.sleep(0.001)
    return {"done": done}
"""
)

UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.rule("F1", "F2", "F4")
def test_snapshots_taken_in_a_flood_have_no_gap(bench):
    """Sockets that connect and subscribe anew in the middle of a thousand commits a second chain without a gap."""
    server = bench.serve(BUSY)
    run_id = server.start_run("busy")["run_id"]
    server.wait_run(run_id, lambda document: document["version"] > 20)
    watches = [
        (server.ws, server.sse)[number % 2](f"?topics={('*', 'pipeline:busy', f'run:{run_id}')[number % 3]}")
        for number in range(12)
    ]
    for watch in watches[::2]:
        watch.send({"type": "subscribe", "topics": f"run:{run_id}"})
        watch.send({"type": "subscribe"})
    version = server.run(run_id)["version"]
    server.wait_run(run_id, lambda document: document["version"] > version + 100)
    (bench.data / "work" / run_id / "enough").touch()
    seen: dict[tuple[str, int], bytes] = {}
    for number, watch in enumerate(watches):
        watch.wait_document(lambda document: document.get("state") == "success")
        for key, encoded in judge_stream(watch.frames, sse=bool(number % 2)).items():
            assert seen.setdefault(key, encoded) == encoded
    bodies = judge_history(server.http, run_id, every=50)
    assert {key: bodies[key[1]] for key in seen} == seen


@pytest.mark.rule("F8")
def test_a_slow_reader_does_not_disturb_a_fast_one(bench):
    """A socket that nobody reads costs the server no memory to speak of; the fast reader sees the end at once."""
    server = bench.serve(BUSY)
    url = urlsplit(server.url)
    stuck = []
    for _ in range(5):
        sock = socket.create_connection((url.hostname, url.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stuck.append(sock)
    process = psutil.Process(server.process.pid)
    fast = server.ws()
    run_id = server.start_run("busy")["run_id"]
    fast.wait_document(lambda document: document.get("run_id") == run_id and document["version"] > 200)
    before = process.memory_info().rss
    fast.wait_document(lambda document: document.get("run_id") == run_id and document["version"] > 1500)
    assert process.memory_info().rss < before + 40_000_000
    (bench.data / "work" / run_id / "enough").touch()
    last = fast.wait_document(lambda document: document.get("state") == "success")
    assert last == server.run(run_id)
    judge_stream(fast.frames)
    for sock in stuck:
        sock.close()


@pytest.mark.rule("F8")
def test_a_reader_that_wakes_up_sees_the_end(bench):
    """A reader that slept through a flood skips versions and gets the last; the chain of its transitions is whole."""
    server = bench.serve(BUSY)
    lock = threading.Event()

    class Sleepy(type(server.ws())):
        def _take(self, frame):
            if len(self.frames) == 3:
                lock.wait(60)
            super()._take(frame)

    sleepy = Sleepy(server.url.replace("http", "ws") + "/api/ws")
    server._watches.append(sleepy)
    run_id = server.start_run("busy")["run_id"]
    server.wait_run(run_id, lambda document: document["version"] > 1200)
    (bench.data / "work" / run_id / "enough").touch()
    over = server.wait_over(run_id)
    lock.set()
    last = sleepy.wait_document(lambda document: document.get("state") == "success")
    assert last == over
    assert len(judge_stream(sleepy.frames)) < over["version"]


@pytest.mark.rule("F8")
def test_a_hundred_silent_disconnects_leave_nothing(bench):
    """A hundred readers that vanish without a word leave no open file, and the server goes on."""
    server = bench.serve(PIPELINES)
    process = psutil.Process(server.process.pid)
    get(server.http, "/health")
    files = process.num_fds()
    url = urlsplit(server.url)
    socks = []
    for number in range(100):
        sock = socket.create_connection((url.hostname, url.port), timeout=30)
        target, headers = (("/api/ws", UPGRADE), ("/api/stream", ""))[number % 2]
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        socks.append(sock)
    for sock in socks:
        assert b"HTTP/1.1 " in sock.recv(64)
    assert process.num_fds() >= files + 100
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # RST, as when a machine goes
        sock.close()
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next("fetch")
    with server.ws() as watch:  # each commit below is a chance to notice the dead
        for number in range(200):
            held.do(f"ctx.progress({number})")
            watch.wait_document(
                lambda document, number=number: (
                    (document.get("stages", {}).get("fetch", {}).get("progress") or {}).get("done") == number
                )
            )
            if process.num_fds() <= files + 5:
                break
    assert process.num_fds() <= files + 5
    held.returns()
    assert server.wait_over(run_id)["state"] == "success"


def test_many_readers_at_once(bench):
    """Three hundred SSE readers all see the run's last version."""
    server = bench.serve(PIPELINES)
    url = urlsplit(server.url)
    socks = [socket.create_connection((url.hostname, url.port), timeout=60) for _ in range(300)]
    for sock in socks:
        sock.sendall(b"GET /api/stream?topics=pipeline:work HTTP/1.1\r\nHost: localhost\r\n\r\n")
    run_id = server.start_run("work", stages=["fetch"])["run_id"]
    held = bench.puppets.next("fetch")
    for number in range(50):
        held.do(f"ctx.progress({number}, message='x' * 500)")
    held.returns()
    over = get(server.http, f"/api/runs/{server.wait_over(run_id)['run_id']}").content
    for sock in socks:
        received = b""
        while over not in received:
            piece = sock.recv(1 << 20)
            assert piece, received[-500:]
            received += piece
        sock.close()
