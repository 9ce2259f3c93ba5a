"""The command line as a person has it: the installed program in a folder, its two streams, its exit code.

No test waits for time to pass: a line on a pipe says when it is so. `PATIENCE_S` only bounds how long a broken program
can hold a test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

RUNSTATE = Path(sys.executable).with_name("runstate")
PATIENCE_S = 60

PIPELINES = """
import asyncio, time
from runstate import Fatal, Pipeline, Skip

quick = Pipeline("quick", progress_interval_s=0)

@quick.stage
async def fetch(ctx):
    for done in range(1, 4):
        ctx.progress(done, total=3, unit="files", message=f"f{done}.csv")
    ctx.log("fetched all")
    print("a stage prints")
    return {"files": 3}

@quick.stage(retries=1, backoff_s=0)
def count(ctx):
    ctx.progress(7, unit="rows")
    if ctx.metadata.get("fail"):
        raise ValueError("bad row 7")
    return {"rows": 7}

@quick.stage
async def publish(ctx):
    if ctx.metadata.get("dry"):
        raise Skip("dry")

held = Pipeline("held")

@held.stage
async def hold(ctx):
    ctx.progress(1, total=2, unit="turns")
    if ctx.metadata.get("once") and ctx.attempt > 1:
        return
    await asyncio.sleep(3600)

stubborn = Pipeline("stubborn")

@stubborn.stage
async def deaf(ctx):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""


def environment(**more: str) -> dict[str, str]:
    """Return an environment that is the same on every machine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RUNSTATE_", "COLUMNS", "LINES"))}
    return kept | {"TERM": "dumb", "NO_COLOR": "1", "TZ": "UTC"} | more


def runstate(*words: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [str(word) for word in (RUNSTATE, *words)],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command said one sentence, with these words, and nothing else."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("runstate: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


class Pipe(threading.Thread):
    """Reads a pipe to its end, so that nobody blocks on it; keeps the lines."""

    def __init__(self, pipe) -> None:
        super().__init__(daemon=True)
        self._pipe, self.lines, self._ended = pipe, [], False
        self._changed = threading.Condition()
        self.start()

    def run(self) -> None:
        with self._pipe:
            for line in self._pipe:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, word: str) -> str:
        """Return the first line with `word`, once it is there."""

        def found() -> str | None:
            return next((line for line in self.lines if word in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, PATIENCE_S)
            line = found()
        assert line is not None, (word, self.lines)
        return line


class Program:
    """A command that goes on until it is told to end."""

    def __init__(self, *words: object, cwd: Path, **more: str) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in (RUNSTATE, *words)],
            cwd=cwd,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out, self.err = Pipe(self.process.stdout), Pipe(self.process.stderr)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Return the exit code, once everything it said has been read."""
        code = self.process.wait(PATIENCE_S)
        self.out.join(PATIENCE_S)
        self.err.join(PATIENCE_S)
        return code


class Server(Program):
    """`runstate serve` on a free port."""

    def __init__(self, *words: object, cwd: Path, **more: str) -> None:
        super().__init__("serve", *words, "--port", "0", cwd=cwd, **more)
        try:
            self.url = self.out.until("runstate is serving").split()[-1]
        except AssertionError:
            self.kill()
            raise AssertionError(f"the server did not start: {self.err.lines}") from None


def caller(server: Server, home: Path):
    """Return a function that calls a client command on `server`."""
    return lambda *words: runstate(*words, cwd=home, RUNSTATE_URL=server.url)
