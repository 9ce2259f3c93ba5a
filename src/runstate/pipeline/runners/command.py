"""A shell command in its worker: the worker starts it, reads what it prints and says how it ended.

    worker (leads session and group) ──spawn──▶ /bin/sh -c … ──▶ whatever the command starts

Law: the attempt ends when the shell does; what it left behind is killed then (`forkserver.py`). Asked to stop, the whole
group gets SIGTERM, and the attempt ends when nothing of it is alive: a shell dies at once while its program still cleans
up. The worker itself outlives SIGTERM. What is printed is read only as fast as the server takes it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from runstate.core import canonical
from runstate.core.facts import Fact, Failed, LineLogged, Outcome
from runstate.core.model import Progress
from runstate.pipeline.runners.context import RunningContext
from runstate.pipeline.runners.memory import oom_kills
from runstate.pipeline.runners.messages import RunCommand
from runstate.pipeline.runners.outcome import STOPPED, failure_of_command
from runstate.pipeline.runners.pipes import LineCutter
from runstate.pipeline.runners.printed import MAX_OUTPUTS_LINE_BYTES, OUTPUTS, NotUnderstood, Outputs, fact_in

SHELL = "/bin/sh"
PIECE_BYTES = 64 * 1024
LEFT_BYTES = 1024 * 1024  # what a pipe holds at the very most; read of one that a survivor of the shell keeps full
MAX_VARIABLE_BYTES = 128 * 1024 - 1  # execve(2): of one `NAME=value`
LAST_WORDS = 500  # letters of the last line of stderr, in the error


class ShellCommand:
    """One execution of a command."""

    def __init__(self, order: RunCommand, context: RunningContext, tell: Callable[..., None]) -> None:
        """Make it ready.

        Args:
            order: What to execute.
            context: Of the attempt; folds its progress.
            tell: Takes facts, in order; may block, which is the back-pressure.
        """
        self._order, self._context, self._tell = order, context, tell
        self._outputs = Outputs(context.stage)
        self._starting = threading.Lock()  # guards the start against a stop
        self._status: int | None = None  #: Of the shell, negative for a signal.
        self._last_words = ""

    def ask_to_stop(self) -> None:
        """Send SIGTERM to everything in the group; call it after `asked_to_stop` is set, from any thread."""
        with self._starting:
            os.killpg(0, signal.SIGTERM)

    def run(self) -> Outcome:
        """Execute the command to its end."""
        oom_kills_before = oom_kills()
        out, err = os.pipe(), os.pipe()
        try:
            with self._starting:
                if self._context.asked_to_stop:
                    return STOPPED
                shell = self._spawn(out[1], err[1])
        except (OSError, ValueError) as exc:
            return Failed(f"NotStartable: the command cannot be started: {_why(exc)}", "not_startable", final=True)
        os.close(out[1])
        os.close(err[1])
        self._read(shell, out[0], err[0])
        if self._context.asked_to_stop:
            return STOPPED
        if self._status == 0:
            return self._outputs.outcome()
        assert self._status is not None, "the shell has ended"
        for_memory = oom_kills() != oom_kills_before
        return failure_of_command(self._status, last_words=self._last_words, for_memory=for_memory)

    def _spawn(self, stdout: int, stderr: int) -> int:
        """Start the shell; return its pid.

        Raises:
            OSError: The system refuses, or there is no such folder.
            ValueError: A variable is too long.
        """
        environment = self._environment()
        if self._order.cwd is not None:
            os.chdir(self._order.cwd)
        return os.posix_spawn(
            SHELL,
            ["sh", "-c", self._order.text],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stdout, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these two
        )

    def _environment(self) -> dict[str, str]:
        context = self._context
        environment = {
            **os.environ,
            "PATH": path_with_python(os.environ.get("PATH", os.defpath)),
            **dict(self._order.env),
        }
        metadata = canonical.encode(context.metadata.to_dict()).decode()
        outputs = canonical.encode(context.all_outputs()).decode()
        if _is_too_long("RUNSTATE_METADATA", metadata):
            raise ValueError(
                f"the run's metadata has {len(metadata.encode())} bytes, and an environment variable holds 128 KiB"
            )
        if _is_too_long("RUNSTATE_OUTPUTS", outputs):
            self._tell(
                LineLogged("warning", "RUNSTATE_OUTPUTS is not set: the outputs so far are more than 128 KiB together")
            )
        else:
            environment["RUNSTATE_OUTPUTS"] = outputs
        return environment | {
            "RUNSTATE_METADATA": metadata,
            "RUNSTATE_RUN_ID": context.run_id,
            "RUNSTATE_PIPELINE": context.pipeline,
            "RUNSTATE_STAGE": context.stage,
            "RUNSTATE_ATTEMPT": str(context.attempt),
            "RUNSTATE_WORKDIR": str(context.workdir),
        }

    def _read(self, shell: int, out: int, err: int) -> None:
        """Read both streams until the attempt is over."""
        events, event = os.pipe()
        threading.Thread(target=self._reap, args=(shell, event), name="runstate-reaper", daemon=True).start()
        streams = {out: _Stream(out, "info"), err: _Stream(err, "warning")}
        waiting = select.poll()
        for fd in (*streams, events):
            waiting.register(fd, select.POLLIN)
        is_over = False
        while not is_over:
            for fd, _ in waiting.poll():
                if fd == events:
                    has_nothing_left = not os.read(events, 1)
                    is_over = has_nothing_left or not self._context.asked_to_stop
                elif piece := os.read(fd, PIECE_BYTES):
                    self._take(streams[fd].level, streams[fd].cutter.feed(piece))
                else:
                    waiting.unregister(fd)
        for stream in streams.values():
            for piece in stream.left():
                self._take(stream.level, stream.cutter.feed(piece))
            self._take(stream.level, stream.cutter.rest())

    def _reap(self, shell: int, event: int) -> None:
        """Reap whatever ends here, as what adopts orphans must; say when the shell has ended, and when nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            if pid == shell:
                self._status = os.waitstatus_to_exitcode(status)
                os.write(event, b"x")
        os.close(event)

    def _take(self, level: str, lines: list[str]) -> None:
        facts: list[Fact] = []
        for line in lines:
            fact = fact_in(line)
            if isinstance(fact, dict):
                fact = self._outputs.add(fact, len(line.encode()))
                if fact is None:
                    continue
            elif isinstance(fact, NotUnderstood) and line.startswith(OUTPUTS):
                self._outputs.refuse(fact.why)
            match fact:
                case Progress():
                    if facts:
                        self._tell(*facts)
                        facts = []
                    self._context.report(fact)
                case NotUnderstood(why):
                    facts.append(LineLogged("warning", why))
                case None:
                    facts.append(LineLogged(level, line))
                    if level == "warning" and line.strip():
                        self._last_words = line.strip()[:LAST_WORDS]
        if facts:
            self._tell(*facts)


class _Stream:
    """The reading end of what a command prints."""

    def __init__(self, fd: int, level: str) -> None:
        self._fd, self.level = fd, level
        self.cutter = LineCutter(OUTPUTS.encode(), MAX_OUTPUTS_LINE_BYTES)

    def left(self) -> Iterator[bytes]:
        """Give what still lies in the pipe, without waiting for more."""
        os.set_blocking(self._fd, False)
        for _ in range(LEFT_BYTES // PIECE_BYTES):
            try:
                piece = os.read(self._fd, PIECE_BYTES)
            except BlockingIOError:
                return
            if not piece:
                return
            yield piece


def path_with_python(path: str) -> str:
    """Return a PATH on which `python` is the one that runs this, as in an activated environment."""
    ours = str(Path(sys.executable).parent)
    return path if ours in path.split(os.pathsep) else os.pathsep.join((ours, path))


def _is_too_long(name: str, value: str) -> bool:
    return len(name) + 1 + len(value.encode()) > MAX_VARIABLE_BYTES


def _why(exc: Exception) -> str:
    if isinstance(exc, OSError):
        return f"{exc.strerror}{f': {exc.filename}' if exc.filename else ''}"
    return str(exc)
