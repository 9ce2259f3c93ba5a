"""Fan-out: what one delivered frame costs the server, full and delta, on WebSocket and SSE.

The load generator pays nothing of it: it has its own core. "runstate" is all that the server's process does, from the
stage's call to the last viewer's socket: decide, encode, digest, journal with fsync, frame and send. "beyond the commit" is that
less what the same commits cost with no viewer at all. The limit sends as many bytes and has nothing to decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import peers
from benchmarks.harness.record import Line, Promise, Role
from benchmarks.harness.rounds import Figures, Once, alternate
from benchmarks.harness.server import Server, Unavailable, compiled, data_directory, has_plain, ours, serving
from benchmarks.harness.viewers import SOCKET_IO, Way, viewers

FRAMES_A_SECOND = 16_000  # over all viewers, so that no side is beyond what it can do
SECONDS, WARM_UP = 1.5, 3
METADATA = {"note": "x" * 450}  # makes a whole frame 2 kB; a delta is 1 kB anyway
PAD = 0
LIMIT = "C epoll loop"
QUIET_S = 0.05
OPEN = b'"more":false'


class Fanout:
    """The sides that are up, and the size of the frames that the others have to send."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.missing: dict[str, str] = {}
        self.ours = {"runstate": self._ours()}
        if has_plain():
            self.ours["runstate --plain"] = self._ours("--plain")
        self.limit = self._up(LIMIT, lambda: [compiled("limit")])
        self.peers = {
            name: server
            for name, script in (
                ("websockets", "websockets_broadcast.py"),
                ("Starlette", "starlette_app.py"),
                ("node ws", "ws.mjs"),
                ("socket.io", "socketio.mjs"),
            )
            if (server := self._up(name, partial(peers.command, script))) is not None
        }

    def _ours(self, *options: str) -> Server:
        server = self._stack.enter_context(serving(ours(self._stack.enter_context(data_directory()), *options)))
        server.ask("/api/pipelines/fan/start", body={"metadata": METADATA})["run_id"]
        return server

    def _up(self, name: str, command: Callable[[], Sequence[str | Path]]) -> Server | None:
        try:
            return self._stack.enter_context(serving(command()))
        except Unavailable as reason:
            self.missing[name] = str(reason)
            return None

    def lines(self, what: str, query: str, count: int, rounds: int, *, sse: bool = False, beside: bool = True) -> Line:
        """Measure one line."""
        path = f"/api/{'stream' if sse else 'ws'}?topics=pipeline:fan{query}"
        way = Way.sse if sse else Way.websocket
        size = self._size(way(path, OPEN))
        sides: dict[str, tuple[Role, Once]] = {}
        for name, server in self.ours.items():
            sides[name] = ("ours", partial(deliver, server, way(path, OPEN), count, PAD))
            if name == "runstate":
                sides["beyond the commit"] = ("ours", partial(self._beyond, server, way(path, OPEN), count))
        if self.limit is not None:
            sides[LIMIT] = ("limit", partial(deliver, self.limit, way("/"), count, size))
        for name, server in self.peers.items() if beside else ():
            their = {"Starlette": way("/stream" if sse else "/ws"), "socket.io": SOCKET_IO}.get(name, way("/"))
            if not sse or name == "Starlette":
                sides[name] = ("peer", partial(deliver, server, their, count, size))
        missing = dict(self.missing)
        return Line(
            title=f"{what}, {size / 1000:.1f} kB, to {count} viewers",
            unit="CPU µs per frame",
            measures=alternate(sides, rounds, missing),
            promise=Promise(at_most=1.5 if sse else 1.3, of=LIMIT),
            missing=missing,
        )

    def _size(self, way: Way) -> int:
        """Return the bytes of one of our frames."""
        server = self.ours["runstate"]
        with viewers(server.port, way, 1) as one:
            server.go(WARM_UP, 1000, PAD)
            one.hear(WARM_UP, 5)
            server.go(20, 5000, PAD)
            heard = one.hear(20, 5)
        return round(heard.bytes / max(heard.frames, 1))

    def _beyond(self, server: Server, way: Way, count: int, figures: Figures) -> None:
        """As `deliver`, less what the same commits cost without a viewer."""
        commits, interval_us = pace(count)
        begun = server.cpu_s()
        server.go(commits, interval_us, PAD)
        time.sleep(commits * interval_us / 1e6 + QUIET_S)
        alone = server.cpu_s() - begun
        whole = Figures("", "ours")
        deliver(server, way, count, PAD, whole)
        figures.rounds.append(whole.rounds[0] - alone * 1e6 / (commits * count))


def pace(count: int) -> tuple[int, int]:
    """Return how many messages are sent to that many viewers, and the microseconds between two."""
    interval_us = round(count / FRAMES_A_SECOND * 1e6)
    return max(4, round(SECONDS * 1e6 / interval_us)), interval_us


def deliver(server: Server, way: Way, count: int, size: int, figures: Figures) -> None:
    """Measure the CPU µs per delivered frame once."""
    messages, interval_us = pace(count)
    with viewers(server.port, way, count) as there:
        server.go(WARM_UP, interval_us, size)
        there.hear(WARM_UP * count, WARM_UP * interval_us / 1e6)
        time.sleep(QUIET_S)
        begun = server.cpu_s()
        server.go(messages, interval_us, size)
        heard = there.hear(messages * count, messages * interval_us / 1e6)
        took = server.cpu_s() - begun
    figures.rounds.append(took * 1e6 / max(heard.frames, 1))
    figures.latencies_ms += heard.latencies_ms


def measure(*, full: bool) -> list[Line]:
    """Measure every line of the row."""
    sizes = (200, 1000, 5000) if full else (200, 1000)
    rounds = 5 if full else 2
    with ExitStack() as stack:
        fan = Fanout(stack)
        lines = []
        for count in sizes:
            lines.append(fan.lines("WebSocket, full state", "", count, rounds))
            lines.append(fan.lines("WebSocket, delta", "&delta=1", count, rounds, beside=full))
            lines.append(fan.lines("SSE, full state", "", count, rounds, sse=True))
        return lines
