"""Plain stages and commands in child processes, forked by a warm fork server and never by the server itself.

Law: an attempt is over when nothing of it is alive: the worker, everything it started, and every byte they wrote has been
reported. `stop` asks (see `worker.py` for what a stage notices of it), `kill` ends the worker with everything it started.
On Linux that includes what made a session of its own; elsewhere the worker's process group.

The worker inherits the environment and the working directory that the server had when the fork server started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import msgspec

from runstate.core.errors import NotStartable, RunstateError
from runstate.core.facts import Fact, Failed, LineLogged, Outcome, Skipped, Succeeded
from runstate.core.model import Worker
from runstate.pipeline.definition import Pipeline
from runstate.pipeline.options import expand
from runstate.pipeline.runners.memory import oom_kills
from runstate.pipeline.runners.messages import (
    MAX_MESSAGE_BYTES,
    CallFunction,
    FromWorker,
    Go,
    RunCommand,
    Stop,
    encode_line,
    said_by,
)
from runstate.pipeline.runners.outcome import ORPHANED, outcome_of_exit
from runstate.pipeline.runners.pipes import LineCutter, PipeReader
from runstate.pipeline.runners.spawner import ForkServerGone, Spawner
from runstate.pipeline.stage import LEASE_S, AsyncFunction, Command, PlainFunction, Stage
from runstate.ports import Report, StageTask

BEATS = 3  # of a quiet worker within its lease
PRELOAD_S = 60.0  # a module that takes longer to import is imported by each stage itself


class ChildRunner:
    """Runs the plain stages and the commands of some pipelines, each attempt in a process of its own.

    `async with` it: inside, a fork server is warm; at the end everything that it forked is dead.
    """

    def __init__(
        self, pipelines: Iterable[Pipeline], *, heartbeat_s: float | None = None, preload: bool = True
    ) -> None:
        """Make a runner.

        Args:
            pipelines: Whose stages it executes, except for async ones.
            heartbeat_s: Seconds of silence after which a worker reports that it is alive; None: three times in its lease.
            preload: Whether the fork server imports the stages' modules before it forks.
        """
        self._stages = {
            (pipeline.name, stage.name): stage
            for pipeline in pipelines
            for stage in pipeline.stages
            if not stage.is_async
        }
        functions = [stage.work.place for stage in self._stages.values() if isinstance(stage.work, PlainFunction)]
        self._preload = functions if preload else []
        self._heartbeat_s = heartbeat_s
        self._group = asyncio.TaskGroup()
        self._starting = asyncio.Lock()
        self._spawner: Spawner | None = None

    @property
    def fork_server_pid(self) -> int | None:
        """The fork server's process, None while there is none."""
        return None if self._spawner is None else self._spawner.pid

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        if self._stages:
            self._spawner = await Spawner.start(self._preload, self._group)  # it warms up while the server goes on
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spawner is not None:
            self._spawner.close()
        # The tasks end by themselves then; an exception passed on would cancel them with workers still alive.
        await self._group.__aexit__(None, None, None)

    async def prepare(self, task: StageTask, report: Report) -> ChildAttempt:
        """Fork a worker; nothing of the stage runs before its `go`.

        Raises:
            NotStartable: No such stage is served here, or no process can be made.
        """
        stage = self._stages.get((task.pipeline, task.stage))
        if stage is None:
            raise NotStartable(f"pipeline {task.pipeline} has no plain stage or command {task.stage} here")
        go = _go(task, stage, self._heartbeat_s or (stage.lease_s or LEASE_S) / BEATS)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        pipes = [os.pipe(), os.pipe()]
        try:
            spawner, worker = await self._fork([theirs.fileno(), *(write for _, write in pipes)])
        except BaseException:
            ours.close()
            for read, _ in pipes:
                os.close(read)
            raise
        finally:
            theirs.close()
            for _, write in pipes:
                os.close(write)
        attempt = ChildAttempt(spawner, worker, ours, [read for read, _ in pipes], go, report)
        attempt.begin(self._group)
        return attempt

    async def _fork(self, fds: list[int]) -> tuple[Spawner, Worker]:
        for _ in range(3):
            spawner = await self._warm()
            with contextlib.suppress(ForkServerGone):
                return spawner, await spawner.fork(fds)
        raise NotStartable(
            "the fork server died each time it was asked for a worker; its messages are on the server's stderr"
        )

    async def _warm(self) -> Spawner:
        """Return a fork server that is ready, another one where the last has died."""
        async with self._starting:
            if self._spawner is not None and self._spawner.is_gone:
                self._spawner = None
            for preload in (self._preload, []):
                if self._spawner is None:
                    self._spawner = await Spawner.start(preload, self._group)
                if await self._spawner.is_ready(PRELOAD_S):
                    return self._spawner
                # A module that kills, threads or blocks who imports it: the stage that needs it imports it itself.
                self._spawner.kill_itself()
                self._spawner = None
        raise NotStartable("the fork server does not start; its messages are on the server's stderr")


class ChildAttempt:
    """One execution of a plain stage in its worker."""

    def __init__(
        self, spawner: Spawner, worker: Worker, control: socket.socket, outputs: list[int], go: Go, report: Report
    ) -> None:
        self._spawner, self._worker, self._report = spawner, worker, report
        self._go = go
        self._control = control
        self._orders: asyncio.Queue[bytes] = asyncio.Queue()
        self._facts = PipeReader(os.dup(control.fileno()))
        self._stdout, self._stderr = (PipeReader(fd) for fd in outputs)
        self._outcome: Outcome | None = None
        self._failure: Exception | None = None
        self._is_stopping = self._is_killed = False
        self._oom_kills = oom_kills()
        self._whole: asyncio.Task[Outcome]

    @property
    def worker(self) -> Worker:
        """The process that executes the stage."""
        return self._worker

    @property
    def has_heartbeat(self) -> bool:
        """True: a thread of the worker speaks while the stage is silent."""
        return True

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Watch over the worker from now on; `group` owns the task."""
        self._whole = group.create_task(self._watch())

    def go(self) -> None:
        """Begin the stage's work; the stage learns all about its attempt by this message."""
        self._orders.put_nowait(encode_line(self._go))

    def stop(self) -> None:
        """Tell the worker to end; only the first call does anything."""
        if not self._is_stopping:
            self._is_stopping = True
            self._orders.put_nowait(encode_line(Stop()))

    def kill(self) -> None:
        """Kill the worker and everything it started."""
        self._is_killed = True
        self._spawner.kill(self._worker)

    async def wait(self) -> Outcome:
        """Return how it ended, once nothing of it is alive and every fact has been reported.

        Raises:
            Exception: What `report` raised; the worker has been killed because of it.
        """
        await asyncio.wait([self._whole])
        if self._failure is not None:
            raise self._failure
        return self._whole.result()

    async def _watch(self) -> Outcome:
        try:
            async with asyncio.TaskGroup() as group:
                orders = group.create_task(self._send_orders())
                group.create_task(self._hear_facts())
                group.create_task(self._read_lines(self._stdout, "info"))
                group.create_task(self._read_lines(self._stderr, "warning"))
                returncode = await self._spawner.end(self._worker)
                for reader in (self._facts, self._stdout, self._stderr):
                    reader.finish()
                orders.cancel()
        finally:
            self._control.close()
            for reader in (self._facts, self._stdout, self._stderr):
                reader.close()
        if self._outcome is not None:
            return self._outcome
        if returncode is None:
            return ORPHANED
        for_memory = returncode == -signal.SIGKILL and not self._is_killed and oom_kills() != self._oom_kills
        return outcome_of_exit(returncode, for_memory=for_memory)

    async def _send_orders(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is dead; its end is told elsewhere
            while True:
                await loop.sock_sendall(self._control, await self._orders.get())

    async def _hear_facts(self) -> None:
        received = b""
        decoder = msgspec.json.Decoder(FromWorker)
        while piece := await self._facts.read():
            *lines, received = (received + piece).split(b"\n")
            for line in lines:
                await self._take(line, decoder)
            if len(received) > MAX_MESSAGE_BYTES:
                received = b""
                self._refuse("a line without an end")

    async def _take(self, line: bytes, decoder: msgspec.json.Decoder[FromWorker]) -> None:
        try:
            said = said_by(decoder.decode(line))
        except (msgspec.DecodeError, RunstateError) as exc:
            self._refuse(str(exc))
            return
        if not isinstance(said, Succeeded | Failed | Skipped):
            await self._tell(said)
        elif self._outcome is None:
            self._outcome = said

    async def _read_lines(self, reader: PipeReader, level: str) -> None:
        cutter = LineCutter()
        while piece := await reader.read():
            for text in cutter.feed(piece):
                await self._tell(LineLogged(level=level, text=text))
        for text in cutter.rest():
            await self._tell(LineLogged(level=level, text=text))

    async def _tell(self, fact: Fact) -> None:
        if self._failure is not None:
            return  # nobody takes facts any more; the worker is being killed, and its pipes are only emptied
        try:
            await self._report(fact)
        except Exception as exc:  # whatever the other side has, the attempt cannot go on unheard
            self._failure = exc
            self.kill()

    def _refuse(self, why: str) -> None:
        # The stage shares its process with our code and may have spoilt it, or written to its socket.
        self._outcome = Failed(error=f"PeerError: the worker broke the protocol: {why}", code="bad_output")
        self.kill()


def _go(task: StageTask, stage: Stage, heartbeat_s: float) -> Go:
    return Go(
        run_id=task.run_id,
        pipeline=task.pipeline,
        stage=task.stage,
        attempt=task.attempt,
        metadata=msgspec.Raw(task.metadata),
        outputs={name: msgspec.Raw(outputs) for name, outputs in task.outputs.items()},
        workdir=str(task.workdir),
        progress_interval_s=task.progress_interval_s,
        heartbeat_s=heartbeat_s,
        patience_s=stage.grace_s / 2,
        work=_work(task, stage),
    )


def _work(task: StageTask, stage: Stage) -> CallFunction | RunCommand:
    match stage.work:
        case PlainFunction(place):
            return CallFunction(place.module, place.file, place.qualname)
        case Command(text, env, cwd):
            values = {"workdir": str(task.workdir), "run_id": task.run_id, "attempt": str(task.attempt)}
            expanded = expand(text, {name: shlex.quote(value) for name, value in values.items()})
            return RunCommand(expanded, dict(env), cwd)
        case AsyncFunction():
            raise AssertionError("an async stage has a runner of its own")
