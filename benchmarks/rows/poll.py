"""Polls: what one answer costs the server, 200 with the document and 304.

The load asks again as soon as it is answered, on a few connections. nginx serves a static file of the same size from its
cache of open files; the bare loop of asyncio and httptools answers prepared bytes.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import peers
from benchmarks.harness.polls import poll, request, tag_of
from benchmarks.harness.record import Line, Promise, Role
from benchmarks.harness.rounds import Figures, Once, alternate
from benchmarks.harness.server import SIDES, Server, Unavailable, data_directory, has_plain, ours, serving

CONNECTIONS = 32
LIMIT, BARE = "nginx", "asyncio + httptools"
DOCUMENT_BYTES = 1300


def nginx(folder: Path) -> list[str | Path]:
    """Return the command of an nginx with one static file.

    Raises:
        Unavailable: It is not installed.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Unavailable("not installed here (apt-get install nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.chmod(0o755)
    (folder / "status").write_bytes(b"x" * DOCUMENT_BYTES)
    text = (SIDES / "nginx.conf").read_text().replace("FOLDER", str(folder)).replace("PORT", str(port))
    (folder / "nginx.conf").write_text(text)
    # nginx says nothing when it listens; the shell speaks for it, and becomes it.
    return ["sh", "-c", f"echo ready {port}; exec {program} -p {folder} -c {folder}/nginx.conf"]


class Polls:
    """The sides that are up, with the path of each."""

    def __init__(self, stack: ExitStack) -> None:
        self.missing: dict[str, str] = {}
        self.sides: dict[str, tuple[Role, Server, str]] = {}
        self._stack = stack
        for name, options in {"runstate": (), "runstate --plain": ("--plain",)}.items():
            if not options or has_plain():
                server = stack.enter_context(serving(ours(stack.enter_context(data_directory()), *options)))
                server.ask("/api/pipelines/fan/start", body={"metadata": {"note": "x" * 300}})
                self.sides[name] = ("ours", server, "/api/pipeline/status")
        folder = stack.enter_context(data_directory())
        self._up(LIMIT, "limit", lambda: nginx(folder))
        self._up(BARE, "limit", lambda: [sys.executable, SIDES / "bare_asyncio.py"])
        self._up("Starlette", "peer", partial(peers.command, "starlette_app.py"))
        self._up("FastAPI", "peer", partial(peers.command, "fastapi_app.py"))

    def _up(self, name: str, role: Role, command: Callable[[], Sequence[str | Path]]) -> None:
        try:
            server = self._stack.enter_context(serving(command()))
        except Unavailable as reason:
            self.missing[name] = str(reason)
        else:
            self.sides[name] = (role, server, "/status")

    def line(self, title: str, status: bytes, rounds: int, seconds: float) -> Line:
        """Measure one line."""
        sides: dict[str, tuple[Role, Once]] = {
            name: (role, partial(self._once, server, path, status, seconds))
            for name, (role, server, path) in self.sides.items()
        }
        missing = dict(self.missing)
        return Line(
            title=title,
            unit="CPU µs per request",
            measures=alternate(sides, rounds, missing),
            promise=Promise(at_most=1.5, of=LIMIT),
            missing=missing,
        )

    def _once(self, server: Server, path: str, status: bytes, seconds: float, figures: Figures) -> None:
        tag = tag_of(server.port, path) if status == b"304" else None
        asked = request(path, tag)
        poll(server.port, asked, connections=CONNECTIONS, seconds=0.2, status=status)
        begun = server.cpu_s()
        answered = poll(server.port, asked, connections=CONNECTIONS, seconds=seconds, status=status)
        figures.rounds.append((server.cpu_s() - begun) * 1e6 / answered.answers)
        figures.latencies_ms += answered.latencies_ms


def measure(*, full: bool) -> list[Line]:
    """Measure both lines."""
    rounds, seconds = (5, 3.0) if full else (3, 1.5)
    with ExitStack() as stack:
        polls = Polls(stack)
        return [
            polls.line("Poll, 200 with the document", b"200", rounds, seconds),
            polls.line("Poll, 304", b"304", rounds, seconds),
        ]
