"""What runs in a forked worker: one attempt of one plain stage, in the main thread. A command: see `command.py`.

Two threads serve it. The *ear* reads the control socket: `Stop` sets `ctx.stopping`, EOF (the server is gone) kills the
worker's whole group. The *voice* reports folded progress and, in silence, heartbeats. Everything else is sent by the
thread that says it, so a server that does not read holds the stage back, and memory stays bounded.

Being asked to stop: a stage that has looked at `ctx.stopping` is trusted to look again within half of its grace period.
Any other, and one that did not, gets `StopRequested` raised in its main thread by SIGTERM, which also ends a blocking
call, so `finally` blocks run. What then still runs when the grace period is over is killed by the server.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import msgspec

from runstate.core.facts import Fact, HeartbeatHeard, LineLogged, Outcome, ProgressMade
from runstate.pipeline.runners.command import ShellCommand
from runstate.pipeline.runners.context import RunningContext, StageLog
from runstate.pipeline.runners.load import load_function
from runstate.pipeline.runners.messages import CallFunction, Go, RunCommand, ToWorker, encode_fact, encode_outcome
from runstate.pipeline.runners.outcome import (
    STOPPED,
    StopRequested,
    has_traceback,
    outcome_of_exception,
    outcome_of_exit,
    outcome_of_load,
    outcome_of_value,
    traceback_lines,
)
from runstate.pipeline.runners.process import MARK, identify, mark_of, name_of, stands_still
from runstate.pipeline.stage import Place
from runstate.ports import StageTask

BROKEN = 70  #: Exit status of a worker that could not do its own part (EX_SOFTWARE).
FORKED = "progress and metadata can be reported by the stage's own process only, not by a fork of it; return them to it"


def work(control_fd: int, stdout_fd: int, stderr_fd: int) -> None:
    """Execute the attempt that arrives on the control socket; never returns."""
    os.set_inheritable(control_fd, False)
    _be_a_process_of_its_own(stdout_fd, stderr_fd)
    control = socket.socket(fileno=control_fd)
    orders = _Orders(control)
    first = orders.wait()
    if isinstance(first, Go):
        _Worker(control, orders, first).run()
    elif first is not None:
        control.sendall(encode_outcome(STOPPED))
    _leave()


class _Orders:
    """The server's messages, one at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._received = b""
        self._decoder = msgspec.json.Decoder(ToWorker)

    def wait(self, timeout_s: float | None = None) -> ToWorker | None:
        """Return the next message, None when the server is gone.

        Raises:
            TimeoutError: Nothing came for `timeout_s`.
        """
        while b"\n" not in self._received:
            if not select.select([self._control], [], [], timeout_s)[0]:
                raise TimeoutError
            chunk = b""
            with contextlib.suppress(ConnectionResetError):
                chunk = self._control.recv(1 << 20)
            if not chunk:
                return None
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        order: ToWorker = self._decoder.decode(line)
        return order


class _Worker:
    """The attempt's main thread and the two that serve it."""

    def __init__(self, control: socket.socket, orders: _Orders, go: Go) -> None:
        self._control, self._orders, self._go = control, orders, go
        self._context = RunningContext(_task_of(go), tell=self._tell, wake=self._wake)
        self._sending = threading.Lock()  # guards the socket and what is said last
        self._has_ended = False
        self._over = threading.Event()
        self._sent_at = time.monotonic()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # its put cannot be torn by a signal
        self._main = threading.main_thread().ident or 0
        self._is_interruptible = False  #: The stage's own code runs, and not in the middle of a message.
        self._interruption: BaseException | None = None
        self._is_fork = False
        work = go.work
        self._command = ShellCommand(work, self._context, self._send) if isinstance(work, RunCommand) else None

    def run(self) -> None:
        """Execute the attempt and send its outcome."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        os.register_at_fork(after_in_child=self._become_fork)
        _take_over_logging(self._context)
        threading.Thread(target=self._listen, name="runstate-ear", daemon=True).start()
        threading.Thread(target=self._speak, name="runstate-voice", daemon=True).start()
        outcome = self._command.run() if self._command is not None else self._call()
        with self._sending:
            self._send_progress()
            self._control.sendall(encode_outcome(outcome))
            self._has_ended = True
        self._over.set()

    def _call(self) -> Outcome:
        work, stage = self._go.work, self._context.stage
        assert isinstance(work, CallFunction), "a command is run, not called"
        place = Place(work.module, work.file, work.qualname)
        is_loaded = False
        try:
            try:
                self._is_interruptible = True
                self._raise_if_interrupted()
                function = load_function(place)
                is_loaded = True
                value = function(self._context)
            finally:
                self._is_interruptible = False
        except StopRequested:
            return STOPPED if self._context.asked_to_stop else outcome_of_exit(-signal.SIGTERM)
        except KeyboardInterrupt:
            return outcome_of_exit(-signal.SIGINT)
        except BaseException as exc:  # whatever it is, it ends the stage, and the server must hear it
            outcome = outcome_of_exception(exc) if is_loaded else outcome_of_load(exc, stage)
            if has_traceback(outcome):
                for line in traceback_lines(exc):
                    self._context.log(line, "error")
            return outcome
        return outcome_of_value(value, stage)

    def _listen(self) -> None:
        deadline: float | None = None
        while True:
            try:
                order = self._orders.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                deadline = None
                self._interrupt()
                continue
            if order is None:
                os.killpg(0, signal.SIGKILL)
            if not self._context.asked_to_stop:
                self._context.asked_to_stop = True
                if self._command is not None:
                    self._command.ask_to_stop()
                    continue
                deadline = time.monotonic() + (self._go.patience_s if self._context.has_polled else 0.0)

    def _interrupt(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pthread_kill(self._main, signal.SIGTERM)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._command is not None:
            return  # it is for the command, which belongs to the same group; this process sees it through
        self._interruption = KeyboardInterrupt() if number == signal.SIGINT else StopRequested()
        if self._is_interruptible:
            self._raise_if_interrupted()

    def _raise_if_interrupted(self) -> None:
        interruption, self._interruption = self._interruption, None
        if interruption is not None:
            raise interruption

    def _speak(self) -> None:
        fold_until = looked_at = 0.0
        while not self._over.is_set():
            now = time.monotonic()
            beat_at = max(self._sent_at, looked_at) + self._go.heartbeat_s
            if now >= beat_at:
                looked_at = now
                # This process lives; what the command does must too, or its lease runs out.
                if self._command is None or not stands_still(os.getpid()):
                    self._send(HeartbeatHeard())
            elif now < fold_until:
                self._over.wait(min(fold_until, beat_at) - now)  # what comes meanwhile is folded into one
            else:
                with contextlib.suppress(queue.Empty):
                    self._wakes.get(timeout=beat_at - now)
                    with self._sending:
                        self._send_progress()
                    fold_until = time.monotonic() + self._go.progress_interval_s

    def _send_progress(self) -> None:
        progress = None if self._has_ended else self._context.take_progress()
        if progress is not None:
            self._control.sendall(encode_fact(ProgressMade(progress)))
            self._sent_at = time.monotonic()

    def _wake(self) -> None:
        if self._is_fork:
            raise RuntimeError(FORKED)
        self._wakes.put(None)

    def _tell(self, fact: Fact) -> None:
        if self._is_fork:
            _tell_as_fork(fact)
        elif threading.get_ident() != self._main or not self._is_interruptible:
            self._send(fact)
        else:
            # A message must not be torn by an interruption: half a line would spoil every later one.
            self._is_interruptible = False
            try:
                self._send(fact)
            finally:
                self._is_interruptible = True
            self._raise_if_interrupted()

    def _send(self, *facts: Fact) -> None:
        lines = b"".join(map(encode_fact, facts))
        with self._sending:
            if not self._has_ended:  # a thread that the stage left behind has nothing to say any more
                self._control.sendall(lines)
                self._sent_at = time.monotonic()

    def _become_fork(self) -> None:
        # The stage forked itself (multiprocessing): neither our threads nor the state of their locks came along.
        self._is_fork = True
        self._is_interruptible = False
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _tell_as_fork(fact: Fact) -> None:
    """Say what a fork of the stage may say: log lines, which arrive as its output."""
    if not isinstance(fact, LineLogged):
        raise RuntimeError(FORKED)
    stream = sys.stdout if fact.level in ("debug", "info") else sys.stderr
    stream.write(fact.text + "\n")  # in one piece: other forks write to the same pipe


def _task_of(go: Go) -> StageTask:
    return StageTask(
        run_id=go.run_id,
        pipeline=go.pipeline,
        stage=go.stage,
        attempt=go.attempt,
        metadata=bytes(go.metadata),
        outputs={stage: bytes(outputs) for stage, outputs in go.outputs.items()},
        workdir=Path(go.workdir),
        progress_interval_s=go.progress_interval_s,
    )


def _be_a_process_of_its_own(stdout_fd: int, stderr_fd: int) -> None:
    me = identify(os.getpid())
    os.environ[MARK] = mark_of(me)
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/comm").write_text(name_of(me))
    os.dup2(stdout_fd, 1)
    os.dup2(stderr_fd, 2)
    os.close(stdout_fd)
    os.close(stderr_fd)
    for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _take_over_logging(context: RunningContext) -> None:
    for handler in tuple(logging.root.handlers):
        # What it writes to the terminal would arrive twice: as a record and as a line of stderr.
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
            logging.root.removeHandler(handler)
    logging.root.addHandler(StageLog(lambda: context))
    if logging.root.level == logging.WARNING:  # nobody chose a level
        logging.root.setLevel(logging.INFO)


def _leave() -> None:
    """End the process as Python would, but for threads that the stage left behind: they end with it."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to run them after a fork
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(0)
