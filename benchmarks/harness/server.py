"""A server under measurement: a process of its own on the first core, told what to do through its standard input.

Every side, ours, the limit and the peers, prints a line with its port once it listens, and broadcasts when a line
`go COUNT INTERVAL_US SIZE` comes in: COUNT messages of SIZE bytes, each with a stamp (`stamp=` and the monotonic clock in
twenty digits of nanoseconds).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.harness.machine import ROOT, SHARED_MEMORY, cpu_s, rss_kib, server_core

SIDES = Path(__file__).parents[1] / "sides"
PORT = re.compile(r"(?:ready |127\.0\.0\.1:)(\d+)")
RUNSTATE = Path(sys.executable).with_name("runstate")


class Unavailable(Exception):
    """A side cannot be measured here; the text says why."""


class Server:
    """A running server."""

    def __init__(self, command: Sequence[str | Path], *, cwd: Path = ROOT) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `stop` closes it
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            cwd=cwd, text=True, preexec_fn=server_core, start_new_session=True,
        )  # fmt: skip
        self.port = self._port()

    def _port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := PORT.search(line):
                return int(found[1])
        self._log.seek(0)
        self.process.wait()
        raise Unavailable(f"it did not start: {self._log.read().strip().splitlines()[-1:]}")

    def tell(self, line: str) -> None:
        """Send a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def go(self, count: int, interval_us: int, size: int) -> None:
        """Let it broadcast."""
        self.tell(f"go {count} {interval_us} {size}")

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken so far."""
        return cpu_s(self.process.pid)

    def rss_kib(self) -> float:
        """Return its resident memory."""
        return rss_kib(self.process.pid)

    def ask(self, path: str, *, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON of an answer; with a body it is a POST."""
        data = None if body is None else msgspec.json.encode(body)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return msgspec.json.decode(answer.read())

    def stop(self) -> None:
        """End it, and everything it started."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            if pipe is not None:
                pipe.close()


@contextmanager
def serving(command: Sequence[str | Path], *, cwd: Path = ROOT) -> Iterator[Server]:
    """Lend a server for as long as the block lasts."""
    server = Server(command, cwd=cwd)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def data_directory(*, durable: bool = True) -> Iterator[Path]:
    """Lend an empty directory; one that is not durable lies in memory, where fsync costs nothing."""
    where = None if durable or not SHARED_MEMORY.is_dir() else SHARED_MEMORY
    with tempfile.TemporaryDirectory(prefix="runstate-bench-", dir=where) as name:
        yield Path(name)


def ours(data: Path, *options: str) -> list[str | Path]:
    """Return the command of our server."""
    return [RUNSTATE, "serve", SIDES / "ours.py", "--port", "0", "--data", data, *options]


def has_plain() -> bool:
    """Return whether our server has the ordinary path as well, to measure beside the fast one."""
    shown = subprocess.run([RUNSTATE, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    return "--plain" in shown


def compiled(name: str) -> Path:
    """Return a program made from sides/NAME.c.

    Raises:
        Unavailable: There is no C compiler.
    """
    program = Path(tempfile.gettempdir()) / f"runstate-bench-{name}"
    source = SIDES / f"{name}.c"
    for compiler in ("cc", "gcc", "clang"):
        try:
            subprocess.run([compiler, "-O2", "-Wall", "-o", program, source], check=True)
        except FileNotFoundError:
            continue
        except subprocess.CalledProcessError as exc:
            raise Unavailable(f"{compiler} could not compile {source.name}") from exc
        return program
    raise Unavailable("no C compiler here; install one (apt-get install gcc)")
