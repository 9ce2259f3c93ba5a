"""Long polls that wait, and viewers that watch: how late they hear of a commit.

"wake" has 1 000 polls waiting for the next version, against as many WebSocket viewers of the same commits. "visible" has 20
viewers on an idle server: from the stage's call to the viewer's hands. "beyond fsync" is the same with the journal in memory
(tmpfs), where fsync costs nothing; the raw socket is the C loop, from its clock to the viewers' hands.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.harness.polls import ETAG, is_whole, request
from benchmarks.harness.record import Line, Measure, Promise, Role, percentile
from benchmarks.harness.rounds import Figures, Once, alternate
from benchmarks.harness.server import Server, compiled, data_directory, has_plain, ours, serving
from benchmarks.harness.viewers import AT_ONCE, RECEIVE_BYTES, STAMP, Way, viewers

WAITING = 1000
OPEN = b'"more":false'
SOCKET = "/api/ws?topics=pipeline:fan"
STATUS = "/api/pipeline/status"
METADATA = {"note": "x" * 450}
FRAME_BYTES = 2000
GRACE_S = 30.0
PAUSE_S = 0.02  # between two commits of an idle server


class LongPolls:
    """Polls that wait for a version later than the one they have."""

    def __init__(self, port: int, count: int) -> None:
        self._waiting = select.epoll()
        self._tag = b""
        self._sockets: dict[int, socket.socket] = {}
        for begun in range(0, count, AT_ONCE):
            for _ in range(begun, min(count, begun + AT_ONCE)):
                each = socket.create_connection(("127.0.0.1", port), timeout=60)
                self._sockets[each.fileno()] = each
                self._waiting.register(each, select.EPOLLIN)
                each.sendall(request(STATUS))
            self.answers(min(count, begun + AT_ONCE) - begun)

    def answers(self, count: int) -> list[float]:
        """Read that many answers; return how old the news in each was, in ms."""
        ages, parts = [], dict[int, bytes]()
        end = time.monotonic() + GRACE_S
        whole = 0
        while whole < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{whole} of {count} waiting polls were answered")
            for number, _ in self._waiting.poll(1.0, 1024):
                data = parts.pop(number, b"") + self._sockets[number].recv(RECEIVE_BYTES)
                if not is_whole(data):
                    parts[number] = data
                    continue
                now = time.monotonic_ns()
                whole += 1
                if found := STAMP.search(data):
                    ages.append((now - int(found[1])) / 1e6)
                if tag := ETAG.search(data):
                    self._tag = tag[1]
        return ages

    def wait(self) -> None:
        """Let every poll wait for what comes after the latest answer."""
        asked = request(f"{STATUS}?wait=60", self._tag)
        for each in self._sockets.values():
            each.sendall(asked)

    def close(self) -> None:
        """Leave."""
        for each in self._sockets.values():
            each.close()
        self._waiting.close()


@contextmanager
def fan(*options: str, durable: bool = True) -> Iterator[Server]:
    """Lend our server with a run that commits on demand."""
    with data_directory(durable=durable) as data, serving(ours(data, *options)) as server:
        server.ask("/api/pipelines/fan/start", body={"metadata": METADATA})
        yield server


def wake(server: Server, commits: int, figures: Figures) -> None:
    """Measure how late waiting polls are answered: the 99th percentile of one round, in ms."""
    polls = LongPolls(server.port, WAITING)
    ages: list[float] = []
    for number in range(commits + 1):
        polls.wait()
        until_idle(server)
        server.go(1, 1, 0)
        heard = polls.answers(WAITING)
        ages += heard if number else []  # the first is a warm-up
    polls.close()
    figures.latencies_ms += ages
    figures.rounds.append(percentile(ages, 0.99))


def watch(server: Server, way: Way, count: int, commits: int, size: int, figures: Figures) -> None:
    """Measure how late viewers hear of single commits, on a server that is idle in between: p99 of one round, in ms."""
    with viewers(server.port, way, count) as there:
        ages: list[float] = []
        for number in range(commits + 3):
            until_idle(server) if count > 100 else time.sleep(PAUSE_S)
            server.go(1, 1, size)
            heard = there.hear(count, 5)
            ages += heard.latencies_ms if number > 2 else []
    figures.latencies_ms += ages
    figures.rounds.append(percentile(ages, 0.99))


def until_idle(server: Server) -> None:
    """Wait until the server does nothing, as far as its CPU clock tells."""
    before = -1.0
    while (now := server.cpu_s()) - before > 0.0005:
        before = now
        time.sleep(0.02)


def waiting(rounds: int, commits: int) -> Line:
    """Measure the wake of long polls beside the fan-out of the same commits."""
    way = Way.websocket(SOCKET, OPEN)
    with ExitStack() as stack:
        up = {"runstate": stack.enter_context(fan())}
        if has_plain():
            up["runstate --plain"] = stack.enter_context(fan("--plain"))
        sides: dict[str, tuple[Role, Once]] = {}
        for name, server in up.items():
            sides[name] = ("ours", partial(wake, server, commits))
            if name == "runstate":
                sides["its fan-out"] = ("ours", partial(watch, server, way, WAITING, commits, 0))
        missing: dict[str, str] = {}
        measures = alternate(sides, rounds, missing)
    beyond = measures[1].median + 5
    return Line(
        title=f"Long-poll wake, {WAITING} waiting",
        unit="ms, p99",
        measures=measures,
        promise=Promise(at_most=float(f"{beyond:.4g}")),
        note="the promise is the p99 of the fan-out to as many viewers, and 5 ms",
    )


def visible(rounds: int, commits: int) -> list[Line]:
    """Measure from the stage's call to 20 viewers' hands."""
    way = Way.websocket(SOCKET, OPEN)
    with ExitStack() as stack:
        limit = stack.enter_context(serving([compiled("limit")]))
        beyond = stack.enter_context(fan(durable=False))
        durable = stack.enter_context(fan())
        sides: dict[str, tuple[Role, Once]] = {
            "runstate beyond fsync": ("ours", partial(watch, beyond, way, 20, commits, 0)),
            "runstate with fsync": ("ours", partial(watch, durable, way, 20, commits, 0)),
            "raw socket": ("limit", partial(watch, limit, Way.websocket("/"), 20, commits, FRAME_BYTES)),
        }
        missing = {
            "Temporal": "its server is a download of its own, and this bench takes packages only",
            "Prefect": "its event stream needs a server of several processes; see the row of runs",
        }
        measures = alternate(sides, rounds, missing)
    middles = [Measure(name=m.name, role=m.role, rounds=[m.p50_ms or 0.0]) for m in measures]
    title = "Commit to visible, 20 viewers, idle"
    return [
        Line(title=title, unit="ms, p50", measures=middles, promise=Promise(at_most=1.0), missing=missing),
        Line(title=title, unit="ms, p99", measures=measures, promise=Promise(at_most=5.0), missing=missing),
    ]


def measure(*, full: bool) -> list[Line]:
    """Measure the lines."""
    rounds, commits = (5, 30) if full else (2, 10)
    return [waiting(rounds, commits), *visible(rounds, commits * 10)]
