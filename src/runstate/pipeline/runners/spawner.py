"""The server's end of the fork server: it asks for workers, kills them, and learns of their ends.

Law: answers come in the order of the requests, so a queue of futures is all the bookkeeping there is. When the fork
server dies, every worker it forked is killed, by identity, before its end is told.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from runstate.core.errors import NotStartable
from runstate.core.model import Worker
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
from runstate.pipeline.runners.pipes import PipeReader
from runstate.pipeline.runners.process import identify, kill_survivor
from runstate.pipeline.stage import Place

SURVIVOR_S = 5.0  # one round of killing what a dead fork server left; rounds go on until nothing is left

_log = logging.getLogger("runstate.runners")


class ForkServerGone(Exception):
    """The fork server has died or is not fit; another one may do."""


class Spawner:
    """One fork server process."""

    def __init__(self, process: asyncio.subprocess.Process, itself: Worker, ours: socket.socket) -> None:
        self._process = process
        self._itself = itself
        self._socket = ours
        self._reader = PipeReader(os.dup(ours.fileno()))
        self._is_ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked: collections.deque[asyncio.Future[Worker]] = collections.deque()
        self._workers: dict[int, Worker] = {}
        self._ends: dict[Worker, asyncio.Future[int | None]] = {}
        self._is_gone = False

    @classmethod
    async def start(cls, preload: Sequence[Place], group: asyncio.TaskGroup) -> Spawner:
        """Start a fork server that imports the modules of `preload`; `group` runs the task that listens to it.

        Raises:
            NotStartable: The operating system refuses.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # Its own imports come before it has our sys.path, so they come from where ours came from.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "runstate.pipeline.runners.forkserver",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
            itself = identify(process.pid)
        except OSError as exc:
            ours.close()
            raise NotStartable(f"the fork server cannot be started: {exc}") from exc
        finally:
            theirs.close()
        spawner = cls(process, itself, ours)
        modules = {(place.module, place.file): None for place in preload}
        spawner._tell(Prepare(path=sys.path, pythonpath=os.environ.get("PYTHONPATH"), preload=list(modules)))
        group.create_task(spawner._listen())
        return spawner

    @property
    def is_gone(self) -> bool:
        """Whether the fork server has died."""
        return self._is_gone

    @property
    def pid(self) -> int:
        """The fork server's process."""
        return self._process.pid

    async def is_ready(self, timeout_s: float) -> bool:
        """Return True once it can fork, False where it never will or takes longer than `timeout_s`."""
        await asyncio.wait([self._is_ready], timeout=timeout_s)
        return self._is_ready.done() and self._is_ready.result() and not self._is_gone

    async def fork(self, fds: Sequence[int]) -> Worker:
        """Return a new worker that holds `fds` (control, stdout, stderr) and waits for its `Go`.

        Raises:
            ForkServerGone: It died; nothing of the worker is left.
            NotStartable: The operating system refuses.
        """
        if self._is_gone:
            raise ForkServerGone
        forked: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._asked.append(forked)
        self._tell(Fork(), fds)
        return await forked

    def kill(self, worker: Worker) -> None:
        """Kill a worker and everything it started; one that is dead already is nothing to do."""
        # The whole identity: the pid of an attempt that is over may be a later attempt's.
        if self._workers.get(worker.pid) == worker and not self._is_gone:
            self._tell(Kill(worker.pid))

    async def end(self, worker: Worker) -> int | None:
        """Return a worker's return code once nothing of it is alive; None where it died with the fork server.

        Call it once.
        """
        try:
            return await self._ends[worker]
        finally:
            del self._ends[worker]

    def close(self) -> None:
        """Let go of it: it kills its workers and exits, and then its listening task ends."""
        if not self._is_gone:
            self._socket.shutdown(socket.SHUT_WR)

    def kill_itself(self) -> None:
        """End a fork server that hangs, and its workers."""
        if not self._is_gone:
            self._socket.shutdown(socket.SHUT_RDWR)  # `_listen` sees EOF and does the rest

    def _tell(self, message: ToForkServer, fds: Sequence[int] = ()) -> None:
        line = encode_line(message)
        try:
            sent = socket.send_fds(self._socket, [line], fds) if fds else self._socket.send(line)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            sent = 0
        if sent < len(line):  # dead, or stopped for so long that thousands of messages lie unread
            self.kill_itself()

    async def _listen(self) -> None:
        received = b""
        decoder = msgspec.json.Decoder(FromForkServer)
        while piece := await self._reader.read():
            *lines, received = (received + piece).split(b"\n")
            for line in lines:
                self._take(decoder.decode(line))
        self._is_gone = True
        if not self._is_ready.done():
            self._is_ready.set_result(False)
        for forked in self._asked:
            if not forked.done():
                forked.set_exception(ForkServerGone())
        # By identity: asyncio's own kill() may reap the process behind the back of its wait().
        await self._kill(self._itself)
        await self._process.wait()
        for worker in self._workers.values():
            await self._kill(worker)
            self._end(worker, None)
        self._socket.close()
        self._reader.close()

    def _end(self, worker: Worker, returncode: int | None) -> None:
        end = self._ends.get(worker)
        if end is not None and not end.done():  # else nobody waits for it any more
            end.set_result(returncode)

    async def _kill(self, process: Worker) -> None:
        while not await asyncio.to_thread(kill_survivor, process, SURVIVOR_S):
            _log.error("process %s does not die of SIGKILL; waiting for it", process.pid)

    def _take(self, message: FromForkServer) -> None:
        match message:
            case Ready():
                self._is_ready.set_result(True)
            case Unfit(why):
                _log.warning("%s; stages import their modules themselves, which starts them slower", why)
                self._is_ready.set_result(False)
            case Forked(worker):
                self._workers[worker.pid] = worker
                forked = self._asked.popleft()
                if forked.done():  # whoever asked was cancelled
                    self.kill(worker)
                else:
                    self._ends[worker] = asyncio.get_running_loop().create_future()
                    forked.set_result(worker)
            case Refused(why):
                forked = self._asked.popleft()
                if not forked.done():
                    forked.set_exception(NotStartable(why))
            case Ended(pid, returncode):
                self._end(self._workers.pop(pid), returncode)
