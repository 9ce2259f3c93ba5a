"""The fork server: a small process that imports the served modules once and forks a worker per attempt.

    server ──exec──▶ fork server ──fork──▶ worker (own session) ──▶ whatever the stage starts

Law: it has one thread, so that forking is safe, and holds nothing of the server but their socket. When a worker dies,
everything the stage started dies before the worker is reaped, so no pid or group can be taken for another meanwhile; on
Linux also what made a session of its own (this process and each worker are subreapers, so orphans come back here).
When the server is gone (EOF) it kills every worker and exits. Nothing of the user's but imports runs here.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings

import msgspec

from runstate.pipeline.runners import worker as workers
from runstate.pipeline.runners.load import load_module
from runstate.pipeline.runners.messages import (
    Ended,
    Fork,
    Forked,
    FromForkServer,
    Kill,
    Prepare,
    Ready,
    Refused,
    ToForkServer,
    Unfit,
    encode_line,
)
from runstate.pipeline.runners.process import children_of, has_session, identify

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GROUP_POLL_S = 0.01  # only where the system has no subreapers
FDS_PER_FORK = 3


def become_subreaper() -> bool:
    """Make orphaned descendants this process's children (Linux); return whether the system can."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class ForkServer:
    """The fork server's own state: its socket and the workers that may be alive."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._decoder = msgspec.json.Decoder(ToForkServer)
        self._received = b""
        self._fds: list[int] = []
        self._living: set[int] = set()
        self._dying: dict[int, int] = {}  # pid -> return code; reaped, but something of its may be alive
        self._spared: set[int] = set()  # what the preloaded modules started
        self._is_subreaper = become_subreaper()
        self._woken, waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._own_fds = [self._woken, waker]
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # The server decides when this ends: by the socket. Ctrl-C and a stop of the whole service reach the server too.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def serve(self) -> None:
        """Obey the server until it is gone, then kill everything."""
        gone = False
        while not gone or self._living or self._dying:
            sources = [self._woken] if gone else [self._server.fileno(), self._woken]
            timeout_s = GROUP_POLL_S if self._dying and not self._is_subreaper else None
            ready, _, _ = select.select(sources, [], [], timeout_s)
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            self._bury()
            if self._server.fileno() in ready:
                gone = not self._receive()
                for pid in self._living if gone else ():
                    self._kill(pid)

    def _receive(self) -> bool:
        """Do what the server asks for; return False when it is gone."""
        try:
            chunk, fds, _, _ = socket.recv_fds(self._server, 65536, FDS_PER_FORK)
        except ConnectionResetError:
            return False
        self._fds += fds
        *lines, self._received = (self._received + chunk).split(b"\n")
        for line in lines:
            match self._decoder.decode(line):
                case Prepare() as prepare:
                    self._prepare(prepare)
                case Fork():
                    fds, self._fds = self._fds[:FDS_PER_FORK], self._fds[FDS_PER_FORK:]
                    self._fork(fds)
                case Kill(pid):
                    self._kill(pid)
        return bool(chunk)

    def _tell(self, message: FromForkServer) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # EOF follows
            self._server.sendall(encode_line(message))

    def _prepare(self, prepare: Prepare) -> None:
        sys.path[:] = prepare.path
        if prepare.pythonpath is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = prepare.pythonpath
        for name, file in prepare.preload:
            with contextlib.suppress(BaseException):  # the worker that needs the module says what is wrong with it
                load_module(name, file)
        if threading.active_count() > 1:
            names = ", ".join(thread.name for thread in threading.enumerate()[1:])
            self._tell(Unfit(f"importing the served modules started threads ({names}), which a fork would lose"))
            return
        self._spared = children_of(os.getpid()) if self._is_subreaper else set()
        gc.collect()
        gc.freeze()  # a collection in a worker must not copy the pages that it shares with this process
        self._tell(Ready())

    def _fork(self, fds: list[int]) -> None:
        begun, begin = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            with warnings.catch_warnings():
                # Threads below Python (OpenBLAS, polars) look after forks themselves.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as exc:
            self._tell(Refused(f"no process could be made: {exc.strerror}"))
        else:
            if pid == 0:
                self._become_worker(fds, begun, begin)
            os.close(begin)
            begin = -1
            os.read(begun, 1)  # its session exists now, or it is dead
            self._living.add(pid)
            self._tell(Forked(identify(pid)))
        for fd in (begun, begin, *fds):
            if fd >= 0:
                os.close(fd)

    def _become_worker(self, fds: list[int], begun: int, begin: int) -> None:
        """Run a worker in this process; never returns."""
        try:
            signal.set_wakeup_fd(-1)
            for fd in (*self._own_fds, begun):
                os.close(fd)
            self._server.close()
            os.setsid()
            become_subreaper()
            os.close(begin)
            workers.work(*fds)
        except BaseException:
            traceback.print_exc()  # its stderr is a log line of the run where it got that far
        finally:
            os._exit(workers.BROKEN)

    def _kill(self, pid: int) -> None:
        if pid in self._living:  # not reaped yet, so the number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _bury(self) -> None:
        """Reap what has died, kill what it left behind, and tell whom nothing is left of."""
        if hasattr(os, "waitid"):
            self._reap_all()
        else:  # macOS before Python 3.13
            self._reap_known()
        if not self._dying:
            return
        if self._is_subreaper:
            strays = children_of(os.getpid()) - self._living - self._spared
            for stray in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(stray, signal.SIGKILL)
            # Each stray's death is a SIGCHLD, and its own children come here: the next round sees them.
            ended = [] if strays else list(self._dying)
        else:
            ended = [pid for pid in self._dying if not has_session(pid)]
        for pid in ended:
            self._tell(Ended(pid, self._dying.pop(pid)))

    def _reap_all(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                self._kill(found.si_pid)
                _, status = os.waitpid(found.si_pid, 0)
                self._note_death(found.si_pid, status)

    def _reap_known(self) -> None:
        # Here the number is free between the two calls. A group that has members keeps its number, one without needs no kill.
        for known in tuple(self._living):
            pid, status = os.waitpid(known, os.WNOHANG)
            if pid:
                self._kill(pid)
                self._note_death(pid, status)

    def _note_death(self, pid: int, status: int) -> None:
        if pid in self._living:
            self._living.discard(pid)
            self._dying[pid] = os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve the server at the other end of the socket whose number is the argument."""
    for stream in (sys.stdout, sys.stderr):
        # For the workers, whose lines shall arrive when they are written. There it is too late: the stream finds a pipe.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    with socket.socket(fileno=int(sys.argv[1])) as server:
        server.set_inheritable(False)
        ForkServer(server).serve()


if __name__ == "__main__":
    main()
